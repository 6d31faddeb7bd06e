//! The look-ups.

use model::{
    Blob, Digest, Epoch, KindId, LeaseRow, Location, Name, NameRow, NamespaceId, NamespaceRow, Pointer, Result, Time,
    TokenRow, UploadRow,
};
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{State, blob_column, bytes_column, digest_column, int, keep, links, location, signed, unsigned};
use super::fault;

pub(super) fn namespaces(connection: &Connection) -> Result<Vec<NamespaceRow>> {
    connection
        .prepare_cached("SELECT id, name, used, leases, lost FROM namespace ORDER BY id")
        .and_then(|mut query| {
            query
                .query_map([], |row| {
                    Ok(NamespaceRow {
                        id: NamespaceId(row.get(0)?),
                        name: row.get(1)?,
                        used: unsigned(row.get(2)?),
                        leases: unsigned(row.get(3)?),
                        lost: unsigned(row.get(4)?),
                    })
                })?
                .collect()
        })
        .map_err(fault("list the namespaces"))
}

/// Columns of a lease: digest, size, state, epoch, counter, used, holders, held, source, blob's id.
const LEASE: &str = "b.digest, b.size, b.state, b.epoch, b.counter, l.used, l.holders, l.held, l.source, b.id";

fn lease(row: &Row<'_>) -> Result<LeaseRow> {
    let digest = digest_column(row, 0)?;
    Ok(LeaseRow {
        blob: Blob { digest, size: unsigned(int(row, 1)?) },
        here: int(row, 2)? != State::AWAY,
        at: location(row, 2, digest)?,
        bytes: None,
        source: row.get(8).map_err(fault("read a lease"))?,
        held: int(row, 7)? == 1,
        holders: unsigned(int(row, 6)?),
        used: Time(int(row, 5)?),
    })
}

pub(super) fn leases(
    connection: &Connection,
    space: NamespaceId,
    digests: &[Digest],
    bytes: bool,
) -> Result<Vec<Option<LeaseRow>>> {
    let doing = fault("look up leases");
    let (column, join) = if bytes { (", s.bytes", "LEFT JOIN small s ON s.blob = b.id") } else { ("", "") };
    let mut query = connection
        .prepare_cached(&format!(
            "SELECT {LEASE}{column} FROM blob b JOIN lease l ON l.space = ?1 AND l.blob = b.id {join}
             WHERE b.digest = ?2"
        ))
        .map_err(&doing)?;
    let mut found = Vec::with_capacity(digests.len());
    for digest in digests {
        let mut rows = query.query((space.0, digest.as_bytes())).map_err(&doing)?;
        let Some(row) = rows.next().map_err(&doing)? else {
            found.push(None);
            continue;
        };
        let mut lease = lease(row)?;
        if bytes && int(row, 2)? == State::ROW {
            lease.bytes = Some(bytes_column(row, 10)?);
        }
        found.push(Some(lease));
    }
    Ok(found)
}

pub(super) fn page_leases(
    connection: &Connection,
    space: NamespaceId,
    after: i64,
    limit: usize,
) -> Result<(Vec<LeaseRow>, Option<i64>)> {
    let doing = fault("page the leases");
    let mut query = connection
        .prepare_cached(&format!(
            "SELECT {LEASE} FROM lease l JOIN blob b ON b.id = l.blob
             WHERE l.space = ?1 AND l.blob > ?2 ORDER BY l.blob LIMIT ?3"
        ))
        .map_err(&doing)?;
    let mut rows = query.query((space.0, after, signed(limit as u64)?)).map_err(&doing)?;
    let (mut page, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next().map_err(&doing)? {
        page.push(lease(row)?);
        last = Some(int(row, 9)?);
    }
    Ok((page, last))
}

/// Columns of a name.
const NAME: &str = "name, digest, size, kind, keep, bound, used, note, also";

fn name(row: &Row<'_>) -> Result<(Name, NameRow)> {
    let text: String = row.get(0).map_err(fault("read a name"))?;
    let kind = KindId(u16::try_from(int(row, 3)?).unwrap_or(0));
    let blob = Blob { digest: digest_column(row, 1)?, size: unsigned(int(row, 2)?) };
    let (note, also) = (bytes_column(row, 7)?, links(blob_column(row, 8)?)?);
    let pointer = Pointer { blob, kind, note, also, keep: keep(int(row, 4)?) };
    Ok((Name::new(text)?, NameRow { pointer, bound: Time(int(row, 5)?), used: Time(int(row, 6)?) }))
}

pub(super) fn names(connection: &Connection, space: NamespaceId, wanted: &[Name]) -> Result<Vec<Option<NameRow>>> {
    let doing = fault("look up names");
    let mut query = connection
        .prepare_cached(&format!("SELECT {NAME} FROM name WHERE space = ?1 AND name = ?2"))
        .map_err(&doing)?;
    wanted
        .iter()
        .map(|wanted| {
            let mut rows = query.query((space.0, wanted.as_str())).map_err(&doing)?;
            rows.next().map_err(&doing)?.map(|row| Ok(name(row)?.1)).transpose()
        })
        .collect()
}

pub(super) fn list(
    connection: &Connection,
    space: NamespaceId,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(Name, NameRow)>> {
    let doing = fault("list names");
    // The prefix is a range, so that the index answers: from it up to its successor.
    let end = successor(prefix);
    let from = after.filter(|after| *after >= prefix);
    let order = if from.is_some() { ">" } else { ">=" };
    let mut query = connection
        .prepare_cached(&format!(
            "SELECT {NAME} FROM name WHERE space = ?1 AND name {order} ?2 AND (?3 IS NULL OR name < ?3)
             ORDER BY name LIMIT ?4"
        ))
        .map_err(&doing)?;
    let mut rows = query.query((space.0, from.unwrap_or(prefix), end, signed(limit as u64)?)).map_err(&doing)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&doing)? {
        found.push(name(row)?);
    }
    Ok(found)
}

/// The least text that is beyond all texts with this prefix; `None` for no bound.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Code points compare as their UTF-8 bytes do; the surrogates' gap is stepped over.
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            return Some(characters.into_iter().chain([next]).collect());
        }
    }
    None
}

pub(super) fn bare(connection: &Connection, limit: usize) -> Result<Vec<Digest>> {
    let doing = fault("look for blobs that nobody leases");
    let mut query = connection.prepare_cached("SELECT digest FROM blob WHERE leases = 0 LIMIT ?1").map_err(&doing)?;
    let mut rows = query.query([signed(limit as u64)?]).map_err(&doing)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&doing)? {
        found.push(digest_column(row, 0)?);
    }
    Ok(found)
}

pub(super) fn placed(connection: &Connection, at: &[Location]) -> Result<Vec<bool>> {
    let doing = fault("look up locations");
    let mut query = connection
        .prepare_cached("SELECT 1 FROM blob WHERE digest = ?1 AND state = ?2 AND epoch = ?3 AND counter = ?4")
        .map_err(&doing)?;
    at.iter()
        .map(|at| {
            let counter = signed(at.counter)?;
            query.exists((at.digest.as_bytes(), State::STORED, at.epoch.0, counter)).map_err(&doing)
        })
        .collect()
}

pub(super) fn alias(connection: &Connection, algorithm: &str, bytes: &[u8]) -> Result<Option<Digest>> {
    let digest: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT b.digest FROM alias a JOIN blob b ON b.id = a.blob WHERE a.algorithm = ?1 AND a.bytes = ?2",
        )
        .and_then(|mut query| query.query_row((algorithm, bytes), |row| row.get(0)).optional())
        .map_err(fault("look up an alias"))?;
    digest.map(|digest| Digest::try_from(&digest[..])).transpose()
}

pub(super) fn uploads(
    connection: &Connection,
    one: Option<&(NamespaceId, String)>,
    before: Option<Time>,
) -> Result<Vec<UploadRow>> {
    connection
        .prepare_cached(
            "SELECT space, id, epoch, counter, bytes, until FROM upload
             WHERE (?1 IS NULL OR (space = ?1 AND id = ?2)) AND (?3 IS NULL OR until < ?3)",
        )
        .and_then(|mut query| {
            let values = (one.map(|(space, _)| space.0), one.map(|(_, id)| id), before.map(|before| before.0));
            query
                .query_map(values, |row| {
                    Ok(UploadRow {
                        space: NamespaceId(row.get(0)?),
                        id: row.get(1)?,
                        stage: (Epoch(row.get(2)?), unsigned(row.get(3)?)),
                        offset: unsigned(row.get(4)?),
                        until: Time(row.get(5)?),
                    })
                })?
                .collect()
        })
        .map_err(fault("look up uploads"))
}

pub(super) fn tokens(connection: &Connection, hash: Option<Digest>) -> Result<Vec<TokenRow>> {
    let doing = fault("look up tokens");
    let mut query = connection
        .prepare_cached(
            "SELECT hash, id, label, grants, made, until FROM token WHERE ?1 IS NULL OR hash = ?1 ORDER BY made",
        )
        .map_err(&doing)?;
    let mut rows = query.query([hash.map(|hash| *hash.as_bytes())]).map_err(&doing)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(&doing)? {
        found.push(TokenRow {
            hash: digest_column(row, 0)?,
            id: row.get(1).map_err(&doing)?,
            label: row.get(2).map_err(&doing)?,
            grants: row.get(3).map_err(&doing)?,
            made: Time(int(row, 4)?),
            until: row.get::<_, Option<i64>>(5).map_err(&doing)?.map(Time),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn a_prefix_is_a_range() {
        assert_eq!(successor("ac/").as_deref(), Some("ac0"));
        assert_eq!(successor("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }
}
