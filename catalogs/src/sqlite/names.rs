//! Names: bound all or none, unbound with a guard, each with its entry in the journal.

use model::{Binding, Digest, Name, NamespaceId, Outcome, Result, Retention, Time, When};
use rusqlite::{Connection, OptionalExtension};

use super::codec::{ids, ids_to_bytes, keep, keep_to_int, links_to_bytes, signed};
use super::{edges, fault, rest};

/// A name as far as guards need it.
struct Row {
    digest: Digest,
    used: i64,
    roots: Vec<i64>,
    keep: Retention,
}

fn name_row(connection: &Connection, space: NamespaceId, name: &Name) -> Result<Option<Row>> {
    let row: Option<(Vec<u8>, i64, Vec<u8>, i64)> = connection
        .prepare_cached("SELECT digest, used, roots, keep FROM name WHERE space = ?1 AND name = ?2")
        .and_then(|mut query| {
            let values = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            query.query_row((space.0, name.as_str()), values).optional()
        })
        .map_err(fault("look up a name"))?;
    row.map(|(digest, used, roots, number)| {
        Ok(Row { digest: Digest::try_from(&digest[..])?, used, roots: ids(&roots), keep: keep(number) })
    })
    .transpose()
}

fn allows(when: When, row: Option<&Row>) -> bool {
    match when {
        When::Always => true,
        When::Absent => row.is_none(),
        When::Is(digest) => row.is_some_and(|row| row.digest == digest),
    }
}

pub(super) fn bind(
    connection: &Connection,
    space: NamespaceId,
    list: &[Binding],
    at: Time,
    by: &str,
) -> Result<Outcome> {
    let mut counted = Vec::with_capacity(list.len());
    for binding in list {
        if !allows(binding.when, name_row(connection, space, &binding.name)?.as_ref()) {
            return Ok(Outcome::Conflict);
        }
        match edges::present(connection, space, &binding.roots)? {
            Ok(roots) => counted.push(roots),
            Err(missing) => return Ok(Outcome::Incomplete(missing)),
        }
    }
    let mut fallen = Vec::new();
    for (binding, roots) in list.iter().zip(counted) {
        // Raised before the old roots are lowered, so that a re-bind never lets go of anything in between.
        let roots = if binding.holds { roots } else { Vec::new() };
        edges::raise(connection, space, &roots)?;
        if let Some(old) = name_row(connection, space, &binding.name)? {
            fallen.extend(edges::lower(connection, space, &old.roots)?);
        }
        write(connection, space, binding, &roots, at)?;
        // A weak name says of a blob no more than its lease does, and like those it is not journalled.
        if binding.pointer.keep != Retention::Weak {
            let digest = Some(&binding.pointer.blob.digest);
            rest::journal(connection, at, Some(space), "bind", binding.name.as_str(), digest, by)?;
        }
    }
    Ok(Outcome::Fell(fallen))
}

fn write(connection: &Connection, space: NamespaceId, binding: &Binding, roots: &[i64], at: Time) -> Result<()> {
    let pointer = &binding.pointer;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO name(space, name, digest, size, kind, keep, bound, used, note, also, roots)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, ?10)",
        )
        .and_then(|mut insert| {
            insert.execute((
                space.0,
                binding.name.as_str(),
                pointer.blob.digest.as_bytes(),
                signed(pointer.blob.size).unwrap_or(i64::MAX),
                pointer.kind.0,
                keep_to_int(pointer.keep),
                at.0,
                pointer.note.as_ref(),
                links_to_bytes(&pointer.also),
                ids_to_bytes(roots),
            ))
        })
        .map_err(fault("bind a name"))?;
    Ok(())
}

pub(super) fn unbind(
    connection: &Connection,
    space: NamespaceId,
    name: &Name,
    when: When,
    unused_since: Option<Time>,
    at: Time,
    by: &str,
) -> Result<Outcome> {
    let Some(row) = name_row(connection, space, name)? else { return Ok(Outcome::Absent) };
    if !allows(when, Some(&row)) {
        return Ok(Outcome::Conflict);
    }
    if unused_since.is_some_and(|since| row.used > since.0) {
        return Ok(Outcome::Kept);
    }
    connection
        .prepare_cached("DELETE FROM name WHERE space = ?1 AND name = ?2")
        .and_then(|mut delete| delete.execute((space.0, name.as_str())))
        .map_err(fault("unbind a name"))?;
    let fallen = edges::lower(connection, space, &row.roots)?;
    if row.keep != Retention::Weak {
        rest::journal(connection, at, Some(space), "unbind", name.as_str(), Some(&row.digest), by)?;
    }
    Ok(Outcome::Fell(fallen))
}
