//! GVariant's types: what a type string says about sizes and alignment.

use std::fmt;
use std::str::FromStr;

use model::{Error, Result};

use super::DEPTH;

/// A definite type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `y n q i u x t h d`: a number of this many bytes. Which letter it was does not matter here, except for
    /// printing: only `y`, `q`, `u` and `t` are printed.
    Number(usize),
    /// `b`
    Bool,
    /// `s`
    Text,
    /// `o`
    Path,
    /// `g`
    Signature,
    /// `v`
    Variant,
    /// `m`
    Maybe(Box<Self>),
    /// `a`
    Array(Box<Self>),
    /// `( )`
    Tuple(Vec<Self>),
    /// `{ }`
    Entry(Box<[Self; 2]>),
}

impl Type {
    /// A byte.
    pub const Y: Self = Self::Number(1);
    /// 32 bits.
    pub const U: Self = Self::Number(4);
    /// 64 bits.
    pub const T: Self = Self::Number(8);

    /// An array.
    #[must_use]
    pub fn array(inner: Self) -> Self {
        Self::Array(Box::new(inner))
    }

    /// A dictionary entry.
    #[must_use]
    pub fn entry(key: Self, value: Self) -> Self {
        Self::Entry(Box::new([key, value]))
    }

    /// Bytes: `ay`.
    #[must_use]
    pub fn bytes() -> Self {
        Self::array(Self::Y)
    }

    /// `a{sv}`.
    #[must_use]
    pub fn dictionary() -> Self {
        Self::array(Self::entry(Self::Text, Self::Variant))
    }

    pub(super) fn is_tuple(&self) -> bool {
        matches!(self, Self::Tuple(_) | Self::Entry(_))
    }

    pub(super) fn is_maybe(&self) -> bool {
        matches!(self, Self::Maybe(_))
    }

    /// The type of a container's part; what has no such part stands for itself.
    pub(super) fn member(&self, index: usize) -> &Self {
        match self {
            Self::Maybe(inner) | Self::Array(inner) => inner,
            Self::Tuple(members) => members.get(index).unwrap_or(self),
            Self::Entry(pair) => pair.get(index).unwrap_or(self),
            _ => self,
        }
    }

    pub(super) fn alignment(&self) -> usize {
        match self {
            Self::Number(size) => *size,
            Self::Bool | Self::Text | Self::Path | Self::Signature => 1,
            Self::Variant => 8,
            Self::Maybe(inner) | Self::Array(inner) => inner.alignment(),
            Self::Tuple(members) => members.iter().map(Self::alignment).max().unwrap_or(1),
            Self::Entry(pair) => pair[0].alignment().max(pair[1].alignment()),
        }
    }

    /// The size, where all values have one size.
    pub(super) fn fixed(&self) -> Option<usize> {
        let members = |members: &[Self]| {
            let mut size = 0_usize;
            for member in members {
                size = size.next_multiple_of(member.alignment()) + member.fixed()?;
            }
            Some(size.next_multiple_of(self.alignment()).max(1))
        };
        match self {
            Self::Number(size) => Some(*size),
            Self::Bool => Some(1),
            Self::Tuple(list) => members(list),
            Self::Entry(pair) => members(&pair[..]),
            _ => None,
        }
    }

    /// Reads one type from the front.
    fn read(text: &[u8], depth: usize) -> Option<(Self, &[u8])> {
        if depth > DEPTH {
            return None;
        }
        let (first, rest) = text.split_first()?;
        let basic = |of| Some((of, rest));
        match first {
            b'y' => basic(Self::Number(1)),
            b'n' | b'q' => basic(Self::Number(2)),
            b'i' | b'u' | b'h' => basic(Self::Number(4)),
            b'x' | b't' | b'd' => basic(Self::Number(8)),
            b'b' => basic(Self::Bool),
            b's' => basic(Self::Text),
            b'o' => basic(Self::Path),
            b'g' => basic(Self::Signature),
            b'v' => basic(Self::Variant),
            b'm' => Self::read(rest, depth + 1).map(|(inner, rest)| (Self::Maybe(Box::new(inner)), rest)),
            b'a' => Self::read(rest, depth + 1).map(|(inner, rest)| (Self::array(inner), rest)),
            b'(' => {
                let (mut members, mut rest) = (Vec::new(), rest);
                while *rest.first()? != b')' {
                    let (member, after) = Self::read(rest, depth + 1)?;
                    members.push(member);
                    rest = after;
                }
                Some((Self::Tuple(members), &rest[1..]))
            }
            b'{' => {
                let basic = !matches!(rest.first()?, b'v' | b'm' | b'a' | b'(' | b'{');
                let (key, rest) = Self::read(rest, depth + 1).filter(|_| basic)?;
                let (value, rest) = Self::read(rest, depth + 1)?;
                Some((Self::entry(key, value), rest.strip_prefix(b"}")?))
            }
            _ => None,
        }
    }
}

impl FromStr for Type {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A type string of a thousand parts is no honest one.
        match Self::read(text.as_bytes(), 0) {
            Some((of, [])) if text.len() <= 1024 => Ok(of),
            _ => Err(Error::malformed("a GVariant has a type that is none")),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(1) => f.write_str("y"),
            Self::Number(2) => f.write_str("q"),
            Self::Number(4) => f.write_str("u"),
            Self::Number(_) => f.write_str("t"),
            Self::Bool => f.write_str("b"),
            Self::Text => f.write_str("s"),
            Self::Path => f.write_str("o"),
            Self::Signature => f.write_str("g"),
            Self::Variant => f.write_str("v"),
            Self::Maybe(inner) => write!(f, "m{inner}"),
            Self::Array(inner) => write!(f, "a{inner}"),
            Self::Tuple(members) => {
                f.write_str("(")?;
                members.iter().try_for_each(|member| write!(f, "{member}"))?;
                f.write_str(")")
            }
            Self::Entry(pair) => write!(f, "{{{}{}}}", pair[0], pair[1]),
        }
    }
}

/// An object path: `/`, or parts of letters, digits and underscores, each after a slash (D-Bus specification).
pub(super) fn is_path(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    path == "/" || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain))
}

/// A signature is any number of types one after the other.
pub(super) fn check_signature(text: &str) -> Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        rest = Type::read(rest, 0).ok_or_else(|| Error::malformed("a GVariant signature is not valid"))?.1;
    }
    Ok(())
}
