//! GVariant, as far as OSTree needs it: splits serialised values into their parts and joins parts into values. Only
//! the normal form is taken (GVariant specification 1.0, section 2.7: "normal form"), because an object's name is
//! the hash of its bytes, and libostree refuses all other forms.
//!
//! Framing offsets are little-endian. Numbers are bytes here; who reads them knows their order.

mod types;

use model::{Error, Result};

pub use types::Type;

/// Values within values; GLib refuses deeper ones, too.
pub(crate) const DEPTH: usize = 64;

/// Bytes of a framing offset in a container of this many bytes (specification, section 2.3.3).
fn width(size: usize) -> usize {
    match size {
        0 => 0,
        1..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// The width with which a body and this many offsets describe themselves.
fn fitting(body: usize, offsets: usize) -> usize {
    [1, 2, 4].into_iter().find(|size| width(body + offsets * size) <= *size).unwrap_or(8)
}

fn padded(at: usize, alignment: usize) -> usize {
    at.next_multiple_of(alignment)
}

fn abnormal() -> Error {
    Error::malformed("a GVariant is not in normal form")
}

/// Makes a container of its serialised parts: a tuple or dictionary entry of its members, an array of its elements,
/// a maybe of nothing or one.
///
/// # Panics
/// Never; parts that are not of the type make a value that is not of the type.
#[must_use]
pub fn join(of: &Type, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.as_ref().len() + 8).sum());
    let mut offsets = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let part = part.as_ref();
        let member = of.member(index);
        bytes.resize(padded(bytes.len(), member.alignment()), 0);
        bytes.extend_from_slice(part);
        let last_of_tuple = of.is_tuple() && index + 1 == parts.len();
        if member.fixed().is_none() && !last_of_tuple && !of.is_maybe() {
            offsets.push(bytes.len());
        }
    }
    match of {
        Type::Maybe(inner) if inner.fixed().is_none() && !parts.is_empty() => bytes.push(0),
        _ if of.is_tuple() && of.fixed().is_some() => {
            // The empty tuple has a byte, too.
            bytes.resize(padded(bytes.len(), of.alignment()).max(1), 0);
        }
        _ => {}
    }
    if of.is_tuple() {
        offsets.reverse();
    }
    let width = if offsets.is_empty() { 0 } else { fitting(bytes.len(), offsets.len()) };
    for offset in offsets {
        bytes.extend_from_slice(&(offset as u64).to_le_bytes()[..width]);
    }
    bytes
}

/// The serialised form of a text.
#[must_use]
pub fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// The serialised form of a value within a variant, of the type that this string names.
#[must_use]
pub fn variant(of: &str, value: &[u8]) -> Vec<u8> {
    [value, &[0], of.as_bytes()].concat()
}

/// The serialised form of an `a{sv}`: keys, types, values.
#[must_use]
pub fn dictionary(entries: &[(&str, &str, Vec<u8>)]) -> Vec<u8> {
    let entry = Type::entry(Type::Text, Type::Variant);
    let parts: Vec<Vec<u8>> =
        entries.iter().map(|(key, of, value)| join(&entry, &[text(key), variant(of, value)])).collect();
    join(&Type::array(entry), &parts)
}

/// The parts of a container, as [`join`] takes them. Refuses a container whose own form is not normal; what is in the
/// parts is not looked at.
///
/// # Errors
/// `Malformed`.
pub fn split<'a>(of: &Type, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    let parts = match of {
        Type::Array(inner) => elements(inner, bytes)?,
        Type::Maybe(inner) => maybe(inner, bytes)?,
        Type::Tuple(members) => split_members(members, of, bytes)?,
        Type::Entry(pair) => split_members(&pair[..], of, bytes)?,
        _ => return Err(Error::malformed("only containers have parts")),
    };
    // The form is normal exactly if it is the one that these parts make: widths, order of offsets, zero padding.
    if join(of, &parts) == bytes { Ok(parts) } else { Err(abnormal()) }
}

fn maybe<'a>(inner: &Type, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    Ok(match (bytes, inner.fixed()) {
        ([], _) => Vec::new(),
        (bytes, Some(_)) => vec![bytes],
        ([value @ .., 0], None) => vec![value],
        _ => return Err(abnormal()),
    })
}

fn elements<'a>(inner: &Type, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(size) = inner.fixed() {
        let whole = bytes.len().is_multiple_of(size);
        return if whole { Ok(bytes.chunks_exact(size).collect()) } else { Err(abnormal()) };
    }
    let width = width(bytes.len());
    let table = offset(bytes, bytes.len().checked_sub(width).ok_or_else(abnormal)?, width).ok_or_else(abnormal)?;
    let count = bytes.len().checked_sub(table).filter(|size| size.is_multiple_of(width)).ok_or_else(abnormal)? / width;
    let mut parts = Vec::with_capacity(count);
    let mut at = 0;
    for index in 0..count {
        let end = offset(bytes, table + index * width, width).filter(|end| *end <= table).ok_or_else(abnormal)?;
        parts.push(bytes.get(padded(at, inner.alignment())..end).ok_or_else(abnormal)?);
        at = end;
    }
    Ok(parts)
}

fn split_members<'a>(members: &[Type], of: &Type, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>> {
    let width = if of.fixed().is_some() { 0 } else { width(bytes.len()) };
    let mut table = bytes.len();
    let mut parts = Vec::with_capacity(members.len());
    let mut at = 0;
    let offsets = members.iter().rev().skip(1).filter(|member| member.fixed().is_none()).count();
    let body = bytes.len().checked_sub(offsets * width).ok_or_else(abnormal)?;
    for (index, member) in members.iter().enumerate() {
        let begin = padded(at, member.alignment());
        let end = match member.fixed() {
            Some(size) => begin + size,
            None if index + 1 == members.len() => body,
            None => {
                table = table.checked_sub(width).ok_or_else(abnormal)?;
                offset(bytes, table, width).ok_or_else(abnormal)?
            }
        };
        if end > body {
            return Err(abnormal());
        }
        parts.push(bytes.get(begin..end).ok_or_else(abnormal)?);
        at = end;
    }
    Ok(parts)
}

/// A framing offset.
fn offset(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    let mut number = [0; 8];
    number.get_mut(..width)?.copy_from_slice(bytes.get(at..at.checked_add(width)?)?);
    usize::try_from(u64::from_le_bytes(number)).ok()
}

/// A text.
///
/// # Errors
/// `Malformed` when it is no UTF-8, has a NUL in it, or does not end with one.
pub fn as_text(bytes: &[u8]) -> Result<&str> {
    let text = bytes.strip_suffix(&[0]).and_then(|text| str::from_utf8(text).ok());
    text.filter(|text| !text.contains('\0')).ok_or_else(|| Error::malformed("a GVariant string is not valid"))
}

/// The value within a variant, and its type.
///
/// # Errors
/// `Malformed`.
pub fn as_variant(bytes: &[u8]) -> Result<(Type, &[u8])> {
    let nul = bytes.iter().rposition(|byte| *byte == 0).ok_or_else(abnormal)?;
    let of = str::from_utf8(&bytes[nul + 1..]).map_err(|_| abnormal())?.parse()?;
    Ok((of, &bytes[..nul]))
}

/// The entries of an `a{sv}`, in their order, each checked down to its bottom.
///
/// # Errors
/// `Malformed`.
pub fn as_dictionary(bytes: &[u8]) -> Result<Vec<(&str, Type, &[u8])>> {
    let entry = Type::entry(Type::Text, Type::Variant);
    let entries = split(&Type::array(entry.clone()), bytes)?;
    let mut found = Vec::with_capacity(entries.len());
    for part in entries {
        check(&entry, part)?;
        let pair = split(&entry, part)?;
        let (of, value) = as_variant(pair[1])?;
        found.push((as_text(pair[0])?, of, value));
    }
    Ok(found)
}

/// Checks that these bytes are a value of this type, in normal form down to its bottom.
///
/// # Errors
/// `Malformed`.
pub fn check(of: &Type, bytes: &[u8]) -> Result<()> {
    below(of, bytes, 0)
}

fn below(of: &Type, bytes: &[u8], depth: usize) -> Result<()> {
    if depth > DEPTH {
        return Err(Error::malformed("a GVariant is nested too deeply"));
    }
    if of.fixed().is_some_and(|size| size != bytes.len()) {
        return Err(abnormal());
    }
    match of {
        Type::Number(_) => Ok(()),
        Type::Bool if bytes[0] <= 1 => Ok(()),
        Type::Bool => Err(abnormal()),
        Type::Text => as_text(bytes).map(drop),
        Type::Path => as_text(bytes).and_then(|path| if types::is_path(path) { Ok(()) } else { Err(abnormal()) }),
        Type::Signature => as_text(bytes).and_then(types::check_signature),
        Type::Variant => {
            let (of, value) = as_variant(bytes)?;
            below(&of, value, depth + 1)
        }
        // Any bytes are numbers.
        Type::Array(inner) if matches!(**inner, Type::Number(size) if bytes.len().is_multiple_of(size)) => Ok(()),
        _ => {
            for (index, part) in split(of, bytes)?.into_iter().enumerate() {
                below(of.member(index), part, depth + 1)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
