//! Blobs and leases: claim, hold, promise, demote, reap, doom, forget, lose.

use model::{Blob, Digest, Idle, Location, NamespaceId, Outcome, Place, Result, Time};
use rusqlite::{Connection, OptionalExtension};

use super::codec::{State, location, signed, unsigned};
use super::writer::Books;
use super::{edges, fault, rest};

/// A blob's row.
struct Row {
    id: i64,
    size: i64,
    here: bool,
    row: bool,
    at: Option<Location>,
    leases: i64,
    /// The mark of a doom, 0 for none. Every lease takes it away.
    doomed: i64,
}

fn blob_row(connection: &Connection, digest: &Digest) -> Result<Option<Row>> {
    let doing = fault("look up a blob");
    let mut query = connection
        .prepare_cached("SELECT id, size, leases, doomed, state, epoch, counter FROM blob WHERE digest = ?1")
        .map_err(&doing)?;
    let mut rows = query.query([digest.as_bytes()]).map_err(&doing)?;
    let Some(row) = rows.next().map_err(&doing)? else { return Ok(None) };
    let int = |at| row.get::<_, i64>(at).map_err(&doing);
    let state = int(4)?;
    Ok(Some(Row {
        id: int(0)?,
        size: int(1)?,
        here: state != State::AWAY,
        row: state == State::ROW,
        at: location(row, 4, *digest)?,
        leases: int(2)?,
        doomed: int(3)?,
    }))
}

/// The id of a blob, whatever its state.
pub(super) fn blob_id(connection: &Connection, digest: &Digest) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM blob WHERE digest = ?1")
        .and_then(|mut query| query.query_row([digest.as_bytes()], |row| row.get(0)).optional())
        .map_err(fault("look up a blob"))
}

pub(super) fn claim(
    books: &mut Books,
    space: NamespaceId,
    blob: Blob,
    place: &Place,
    (used, source): (Time, Option<&str>),
    limit: u64,
    aliases: &[(String, Vec<u8>)],
) -> Result<Outcome> {
    if matches!(place, Place::At(at) if at.epoch != books.epoch) {
        return Ok(Outcome::Dead);
    }
    let doing = fault("claim a blob");
    let known = blob_row(&books.connection, &blob.digest)?;
    let new = match lease(books, space, known.as_ref().map(|row| row.id), blob, limit)? {
        Some(new) => new,
        None => return Ok(Outcome::Full),
    };
    let spare = known.as_ref().is_some_and(|row| row.here);
    let (state, epoch, counter) = match place {
        Place::Row(_) => (State::ROW, 0, 0),
        Place::At(at) => (State::STORED, i64::from(at.epoch.0), signed(at.counter)?),
    };
    let size = signed(blob.size)?;
    let connection = &books.connection;
    let id = match &known {
        None => connection
            .prepare_cached(
                "INSERT INTO blob(digest, size, state, epoch, counter, leases, doomed)
                     VALUES (?1, ?2, ?3, ?4, ?5, 0, 0)",
            )
            .and_then(|mut insert| insert.insert((blob.digest.as_bytes(), size, state, epoch, counter)))
            .map_err(&doing)?,
        Some(row) if !row.here => {
            connection
                .prepare_cached(
                    "UPDATE blob SET size = ?2, state = ?3, epoch = ?4, counter = ?5, doomed = 0 WHERE id = ?1",
                )
                .and_then(|mut update| update.execute((row.id, size, state, epoch, counter)))
                .map_err(&doing)?;
            row.id
        }
        Some(row) => row.id,
    };
    if let (Place::Row(bytes), false) = (place, spare) {
        connection
            .prepare_cached("INSERT OR REPLACE INTO small(blob, bytes) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute((id, bytes.as_ref())))
            .map_err(&doing)?;
    }
    for (algorithm, bytes) in aliases {
        connection
            .prepare_cached("INSERT OR REPLACE INTO alias(algorithm, bytes, blob) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute((algorithm, bytes, id)))
            .map_err(&doing)?;
    }
    if known.as_ref().is_some_and(|row| !row.here) {
        healed(books, id)?;
    }
    write_lease(books, space, id, blob, new, (used, source))?;
    if known.as_ref().is_some_and(|row| row.doomed != 0) {
        undoom(&books.connection, id)?;
    }
    Ok(Outcome::Held { new: new != Lease::Held, spare })
}

/// What the namespace had before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lease {
    None,
    Promised,
    Held,
}

/// The lease's state, or `None` where the limit forbids a new one.
fn lease(books: &mut Books, space: NamespaceId, id: Option<i64>, blob: Blob, limit: u64) -> Result<Option<Lease>> {
    let held = match id {
        None => None,
        Some(id) => books
            .connection
            .prepare_cached("SELECT held FROM lease WHERE space = ?1 AND blob = ?2")
            .and_then(|mut query| query.query_row((space.0, id), |row| row.get::<_, i64>(0)).optional())
            .map_err(fault("look up a lease"))?,
    };
    let state = match held {
        None => Lease::None,
        Some(0) => Lease::Promised,
        Some(_) => Lease::Held,
    };
    let fits = unsigned(books.totals(space)?.used).saturating_add(blob.size) <= limit;
    Ok((state == Lease::Held || fits).then_some(state))
}

fn write_lease(
    books: &mut Books,
    space: NamespaceId,
    id: i64,
    blob: Blob,
    before: Lease,
    (used, source): (Time, Option<&str>),
) -> Result<()> {
    let doing = fault("write a lease");
    let size = signed(blob.size)?;
    match before {
        Lease::None => {
            books
                .connection
                .prepare_cached(
                    "INSERT INTO lease(space, blob, used, holders, held, source) VALUES (?1, ?2, ?3, 0, 1, ?4)",
                )
                .and_then(|mut insert| insert.execute((space.0, id, used.0, source)))
                .map_err(&doing)?;
            count_lease(&books.connection, id, 1)?;
            let totals = books.totals(space)?;
            totals.used += size;
            totals.leases += 1;
        }
        Lease::Promised | Lease::Held => {
            books
                .connection
                .prepare_cached(
                    "UPDATE lease SET used = max(used, ?3), held = 1, source = iif(held AND source IS NULL, NULL, ?4)
                     WHERE space = ?1 AND blob = ?2",
                )
                .and_then(|mut update| update.execute((space.0, id, used.0, source)))
                .map_err(&doing)?;
            if before == Lease::Promised {
                books.totals(space)?.used += size;
            }
        }
    }
    Ok(())
}

fn count_lease(connection: &Connection, id: i64, by: i64) -> Result<()> {
    connection
        .prepare_cached("UPDATE blob SET leases = leases + ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute((id, by)))
        .map_err(fault("count a lease"))?;
    Ok(())
}

fn undoom(connection: &Connection, id: i64) -> Result<()> {
    connection.execute("UPDATE blob SET doomed = 0 WHERE id = ?1", [id]).map_err(fault("keep a blob"))?;
    Ok(())
}

/// The namespaces that hold a blob.
fn holders_of(connection: &Connection, id: i64) -> Result<Vec<NamespaceId>> {
    connection
        .prepare_cached("SELECT n.id FROM namespace n JOIN lease l ON l.space = n.id AND l.blob = ?1 AND l.held = 1")
        .and_then(|mut query| query.query_map([id], |row| row.get(0).map(NamespaceId))?.collect())
        .map_err(fault("look up who has a blob"))
}

fn healed(books: &mut Books, id: i64) -> Result<()> {
    for space in holders_of(&books.connection, id)? {
        books.totals(space)?.lost -= 1;
    }
    Ok(())
}

pub(super) fn hold(books: &mut Books, space: NamespaceId, blob: Blob, used: Time, limit: u64) -> Result<Outcome> {
    let Some(row) = blob_row(&books.connection, &blob.digest)? else { return Ok(Outcome::Absent) };
    if !row.here || unsigned(row.size) != blob.size {
        return Ok(Outcome::Absent);
    }
    let Some(before) = lease(books, space, Some(row.id), blob, limit)? else { return Ok(Outcome::Full) };
    write_lease(books, space, row.id, blob, before, (used, None))?;
    if row.doomed != 0 {
        undoom(&books.connection, row.id)?;
    }
    Ok(Outcome::Held { new: before != Lease::Held, spare: false })
}

pub(super) fn promise(books: &mut Books, space: NamespaceId, blob: Blob, source: &str, used: Time) -> Result<Outcome> {
    let doing = fault("promise a blob");
    let id = match blob_row(&books.connection, &blob.digest)? {
        Some(row) => row.id,
        None => books
            .connection
            .prepare_cached(
                "INSERT INTO blob(digest, size, state, epoch, counter, leases, doomed) VALUES (?1, ?2, 0, 0, 0, 0, 0)",
            )
            .and_then(|mut insert| insert.insert((blob.digest.as_bytes(), signed(blob.size).unwrap_or(i64::MAX))))
            .map_err(&doing)?,
    };
    let new = books
        .connection
        .prepare_cached(
            "INSERT INTO lease(space, blob, used, holders, held, source) VALUES (?1, ?2, ?3, 0, 0, ?4)
             ON CONFLICT(space, blob) DO NOTHING",
        )
        .and_then(|mut insert| insert.execute((space.0, id, used.0, source)))
        .map_err(&doing)?;
    if new == 1 {
        count_lease(&books.connection, id, 1)?;
        undoom(&books.connection, id)?;
        books.totals(space)?.leases += 1;
    } else {
        books
            .connection
            .execute(
                "UPDATE lease SET source = iif(held, source, coalesce(source, ?3)), used = max(used, ?4)
                 WHERE space = ?1 AND blob = ?2",
                (space.0, id, source, used.0),
            )
            .map_err(&doing)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn demote(books: &mut Books, space: NamespaceId, digest: &Digest) -> Result<Outcome> {
    let Some(row) = blob_row(&books.connection, digest)? else { return Ok(Outcome::Absent) };
    let changed = books
        .connection
        .execute(
            "UPDATE lease SET held = 0 WHERE space = ?1 AND blob = ?2 AND held = 1 AND source IS NOT NULL",
            (space.0, row.id),
        )
        .map_err(fault("demote a lease"))?;
    if changed == 0 {
        return Ok(Outcome::Kept);
    }
    let totals = books.totals(space)?;
    totals.used -= row.size;
    totals.lost -= i64::from(!row.here);
    let mut gone = None;
    if row.here && holders_of(&books.connection, row.id)?.is_empty() {
        away(&books.connection, row.id)?;
        gone = row.at;
    }
    Ok(Outcome::Freed { bytes: unsigned(row.size), gone })
}

/// The blob is not Here any more: its row speaks of no bytes.
fn away(connection: &Connection, id: i64) -> Result<()> {
    for sql in ["UPDATE blob SET state = 0 WHERE id = ?1", "DELETE FROM small WHERE blob = ?1"] {
        connection
            .prepare_cached(sql)
            .and_then(|mut change| change.execute([id]))
            .map_err(fault("part with the bytes of a blob"))?;
    }
    Ok(())
}

pub(super) fn reap(books: &mut Books, space: NamespaceId, digest: &Digest, unused_since: Time) -> Result<Outcome> {
    let doing = fault("reap a lease");
    let Some(row) = blob_row(&books.connection, digest)? else { return Ok(Outcome::Absent) };
    let lease = books
        .connection
        .prepare_cached("SELECT used, holders, held FROM lease WHERE space = ?1 AND blob = ?2")
        .and_then(|mut query| {
            let values = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?));
            query.query_row((space.0, row.id), values).optional()
        })
        .map_err(&doing)?;
    let (used, holders, held): (i64, i64, i64) = match lease {
        Some(lease) => lease,
        None => return Ok(Outcome::Absent),
    };
    if holders != 0 || used > unused_since.0 {
        return Ok(Outcome::Kept);
    }
    let (closed, fallen) = edges::close(&books.connection, space, row.id)?;
    if !closed {
        return Ok(Outcome::More(fallen));
    }
    books
        .connection
        .prepare_cached("DELETE FROM lease WHERE space = ?1 AND blob = ?2")
        .and_then(|mut delete| delete.execute((space.0, row.id)))
        .map_err(&doing)?;
    count_lease(&books.connection, row.id, -1)?;
    let totals = books.totals(space)?;
    totals.leases -= 1;
    totals.used -= held * row.size;
    totals.lost -= i64::from(!row.here && held == 1);
    Ok(Outcome::Reaped { freed: unsigned(held * row.size), fallen, bare: row.leases == 1 })
}

pub(super) fn doom(connection: &Connection, digest: &Digest, mark: i64) -> Result<Outcome> {
    let Some(row) = blob_row(connection, digest)? else { return Ok(Outcome::Absent) };
    if row.leases != 0 {
        return Ok(Outcome::Kept);
    }
    connection
        .prepare_cached("UPDATE blob SET doomed = ?2 WHERE id = ?1")
        .and_then(|mut update| update.execute((row.id, mark)))
        .map_err(fault("doom a blob"))?;
    Ok(Outcome::Done)
}

pub(super) fn forget(connection: &Connection, digest: &Digest, mark: i64) -> Result<Outcome> {
    let Some(row) = blob_row(connection, digest)? else { return Ok(Outcome::Absent) };
    if row.doomed != mark || mark == 0 {
        return Ok(Outcome::Kept);
    }
    for sql in
        ["DELETE FROM small WHERE blob = ?1", "DELETE FROM alias WHERE blob = ?1", "DELETE FROM blob WHERE id = ?1"]
    {
        connection
            .prepare_cached(sql)
            .and_then(|mut delete| delete.execute([row.id]))
            .map_err(fault("forget a blob"))?;
    }
    Ok(Outcome::Forgot(row.at))
}

pub(super) fn lose(books: &mut Books, digest: &Digest, at: Option<Location>, now: Time) -> Result<Outcome> {
    let Some(row) = blob_row(&books.connection, digest)? else { return Ok(Outcome::Absent) };
    if !row.here || row.at != at || row.row != at.is_none() {
        return Ok(Outcome::Kept);
    }
    let connection = &books.connection;
    away(connection, row.id)?;
    rest::journal(connection, now, None, "lost", "", Some(digest), "store")?;
    for space in holders_of(connection, row.id)? {
        books.totals(space)?.lost += 1;
    }
    Ok(Outcome::Done)
}

/// A lease that nothing holds any more.
pub(super) fn idle(connection: &Connection, id: i64, used: i64) -> Result<Option<Idle>> {
    let doing = fault("look up a blob");
    let mut query = connection.prepare_cached("SELECT digest, size FROM blob WHERE id = ?1").map_err(&doing)?;
    let mut rows = query.query([id]).map_err(&doing)?;
    let Some(row) = rows.next().map_err(&doing)? else { return Ok(None) };
    let digest = super::codec::digest_column(row, 0)?;
    let size = unsigned(super::codec::int(row, 1)?);
    Ok(Some(Idle { used: Time(used), blob: Blob { digest, size } }))
}
