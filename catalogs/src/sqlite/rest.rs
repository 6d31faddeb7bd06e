//! The changes that are one statement: epochs, touches, uploads, tokens, journal.

use model::{Digest, Epoch, Name, NamespaceId, Outcome, Result, Time, TokenRow, UploadRow};
use rusqlite::Connection;

use super::codec::signed;
use super::fault;
use super::writer::Books;

pub(super) fn begin(books: &mut Books) -> Result<Outcome> {
    let doing = fault("begin an epoch");
    books.connection.execute("UPDATE epoch SET dead = 1 WHERE dead = 0", []).map_err(&doing)?;
    books.connection.execute("INSERT INTO epoch(dead) VALUES (0)", []).map_err(&doing)?;
    books.epoch = Epoch(u32::try_from(books.connection.last_insert_rowid()).unwrap_or(u32::MAX));
    Ok(Outcome::Epoch(books.epoch))
}

pub(super) fn touch(
    connection: &Connection,
    space: NamespaceId,
    leases: &[(Digest, Time)],
    names: &[(Name, Time)],
) -> Result<Outcome> {
    let doing = fault("record uses");
    let mut lease = connection
        .prepare_cached(
            "UPDATE lease SET used = max(used, ?3) WHERE space = ?1
             AND blob = (SELECT id FROM blob WHERE digest = ?2)",
        )
        .map_err(&doing)?;
    for (digest, at) in leases {
        lease.execute((space.0, digest.as_bytes(), at.0)).map_err(&doing)?;
    }
    let mut name = connection
        .prepare_cached("UPDATE name SET used = max(used, ?3) WHERE space = ?1 AND name = ?2")
        .map_err(&doing)?;
    for (text, at) in names {
        name.execute((space.0, text.as_str(), at.0)).map_err(&doing)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn park(connection: &Connection, row: &UploadRow) -> Result<Outcome> {
    connection
        .execute(
            "INSERT OR REPLACE INTO upload(space, id, epoch, counter, bytes, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (row.space.0, &row.id, row.stage.0.0, signed(row.stage.1)?, signed(row.offset)?, row.until.0),
        )
        .map_err(fault("park an upload"))?;
    Ok(Outcome::Done)
}

pub(super) fn take(connection: &Connection, space: NamespaceId, id: &str) -> Result<Outcome> {
    let taken = connection
        .execute("DELETE FROM upload WHERE space = ?1 AND id = ?2", (space.0, id))
        .map_err(fault("take an upload"))?;
    Ok(if taken == 1 { Outcome::Done } else { Outcome::Absent })
}

pub(super) fn token(connection: &Connection, token: &TokenRow, at: Time, by: &str) -> Result<Outcome> {
    connection
        .execute(
            "INSERT INTO token(id, hash, label, grants, made, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT(id) DO UPDATE SET until = excluded.until, grants = excluded.grants",
            (
                &token.id,
                token.hash.as_bytes(),
                &token.label,
                &token.grants,
                token.made.0,
                token.until.map(|until| until.0),
            ),
        )
        .map_err(fault("record a token"))?;
    journal(connection, at, None, "token", &token.id, None, by)?;
    Ok(Outcome::Done)
}

pub(super) fn journal(
    connection: &Connection,
    at: Time,
    space: Option<NamespaceId>,
    what: &str,
    name: &str,
    digest: Option<&Digest>,
    by: &str,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO journal(at, space, what, name, digest, by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .and_then(|mut insert| {
            let digest = digest.map(|digest| digest.as_bytes().as_slice());
            insert.execute((at.0, space.map(|space| space.0), what, name, digest, by))
        })
        .map_err(fault("write the journal"))?;
    Ok(())
}

pub(super) fn trim_journal(connection: &Connection, before: Time) -> Result<Outcome> {
    connection
        .execute(
            "DELETE FROM journal WHERE id IN (SELECT id FROM journal ORDER BY id LIMIT 1000) AND at < ?1",
            [before.0],
        )
        .map_err(fault("trim the journal"))?;
    Ok(Outcome::Done)
}
