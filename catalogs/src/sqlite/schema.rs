//! The tables, and how an older file becomes a current one.
//!
//! Small blobs cost sequential inserts and one random one (the digest's index). Links are integer ids. Totals
//! are rows, so that a start sums nothing. Names compare as bytes.

use model::{Error, Result};
use rusqlite::Connection;

use super::fault;

/// "entr": tells `file` and ourselves whose file this is.
const APPLICATION: i32 = 0x656e_7472;

/// Each released schema is the one before plus a step; `user_version` counts the steps taken.
const STEPS: [&str; 2] = [
    "
CREATE TABLE epoch(id INTEGER PRIMARY KEY, dead INTEGER NOT NULL) STRICT;
CREATE TABLE namespace(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    used INTEGER NOT NULL, leases INTEGER NOT NULL, lost INTEGER NOT NULL) STRICT;
-- state: 0 not here, 1 in `small`, 2 in the store at epoch.counter
CREATE TABLE blob(
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, state INTEGER NOT NULL,
    epoch INTEGER NOT NULL, counter INTEGER NOT NULL, leases INTEGER NOT NULL, doomed INTEGER NOT NULL) STRICT;
CREATE INDEX bare ON blob(id) WHERE leases = 0;
CREATE TABLE small(blob INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE alias(algorithm TEXT NOT NULL, bytes BLOB NOT NULL, blob INTEGER NOT NULL,
    PRIMARY KEY(algorithm, bytes)) STRICT, WITHOUT ROWID;
CREATE INDEX alias_blob ON alias(blob);
CREATE TABLE lease(
    space INTEGER NOT NULL, blob INTEGER NOT NULL, used INTEGER NOT NULL, holders INTEGER NOT NULL,
    held INTEGER NOT NULL, source TEXT, PRIMARY KEY(space, blob)) STRICT, WITHOUT ROWID;
-- children: blob ids, eight bytes each, little end first; the part with last = 1 opens the node
CREATE TABLE node(
    space INTEGER NOT NULL, blob INTEGER NOT NULL, kind INTEGER NOT NULL, part INTEGER NOT NULL,
    last INTEGER NOT NULL, children BLOB NOT NULL, PRIMARY KEY(space, blob, kind, part)) STRICT, WITHOUT ROWID;
-- keep: -1 loose, -2 firm, -3 weak, -4 with, else the microsecond at which it ends; roots: what it counts, as children
CREATE TABLE name(
    space INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, kind INTEGER NOT NULL,
    keep INTEGER NOT NULL, bound INTEGER NOT NULL, used INTEGER NOT NULL, note BLOB NOT NULL, also BLOB NOT NULL,
    roots BLOB NOT NULL, PRIMARY KEY(space, name)) STRICT, WITHOUT ROWID;
CREATE TABLE upload(
    space INTEGER NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, counter INTEGER NOT NULL,
    bytes INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(space, id)) STRICT, WITHOUT ROWID;
CREATE TABLE token(
    id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, label TEXT NOT NULL, grants TEXT NOT NULL,
    made INTEGER NOT NULL, until INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE journal(
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, space INTEGER, what TEXT NOT NULL, name TEXT NOT NULL,
    digest BLOB, by TEXT NOT NULL) STRICT;
",
    // Nothing changes but what `keep` may say, which an older program would take for a time that is over.
    "UPDATE name SET keep = keep WHERE 0;",
];

/// How many steps the file has taken. One of a newer version, or somebody else's, is refused before it is touched.
pub(super) fn recognise(connection: &Connection) -> Result<usize> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = number("application_id").map_err(fault("read the catalog's kind"))?;
    let version = number("user_version").map_err(fault("read the catalog's version"))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fault("read the catalog"))?;
    if application != APPLICATION && tables != 0 {
        return Err(Error::broken("the catalog file is another program's database: choose another data directory"));
    }
    let taken = usize::try_from(version).unwrap_or(usize::MAX);
    if taken > STEPS.len() {
        return Err(Error::broken(format!(
            "the catalog has format {version} and this program knows formats up to {}: run the newer program",
            STEPS.len()
        )));
    }
    Ok(taken)
}

/// Makes or upgrades the tables of a file that was recognised.
pub(super) fn prepare(connection: &mut Connection, taken: usize) -> Result<()> {
    for (step, sql) in STEPS.iter().enumerate().skip(taken) {
        let doing = fault("upgrade the catalog");
        let transaction = connection.transaction().map_err(&doing)?;
        transaction.execute_batch(sql).map_err(&doing)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(&doing)?;
        transaction.pragma_update(None, "user_version", i64::try_from(step + 1).unwrap_or(i64::MAX)).map_err(&doing)?;
        transaction.commit().map_err(&doing)?;
    }
    Ok(())
}
