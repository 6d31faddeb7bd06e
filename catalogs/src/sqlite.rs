//! The embedded catalog: SQLite in WAL mode, one writer thread that commits in groups, a few readers.
//!
//! Invariants: only the writer changes rows; a group is one durable transaction (`synchronous = FULL`); a
//! refused change writes nothing, so its neighbours in the group are untouched; reads are short.

mod ballast;
mod codec;
mod edges;
mod leases;
mod names;
mod readers;
mod reads;
mod rest;
mod schema;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    Catalog, Change, Digest, Error, KindId, LeaseRow, Location, Meaning, Name, NameRow, NamespaceId, NamespaceRow,
    Outcome, Result, Time, TokenRow, UploadRow,
};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use readers::Readers;
use writer::Writer;

/// Where and how the embedded catalog is opened.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The database file.
    pub file: PathBuf,
    /// Reading connections.
    pub readers: usize,
    /// Use one connection for all and no shared memory, for file systems without it. Slower.
    pub exclusive: bool,
}

impl Plan {
    /// The usual way to open this file.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), readers: 4, exclusive: false }
    }

    /// Opens or makes the catalog. The caller holds the data directory's lock.
    ///
    /// # Errors
    /// `Broken` when the file cannot be opened, is of a newer version, or is somebody else's.
    pub fn open(&self) -> Result<Sqlite> {
        let mut connection = connect(&self.file, false)?;
        if self.exclusive {
            let doing = fault("lock the catalog for one connection");
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(doing)?;
        }
        let taken = schema::recognise(&connection)?;
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(fault("set the catalog's journal"))?;
        if mode != "wal" {
            return Err(Error::broken(format!("the catalog's file system does not take a write-ahead log ({mode})")));
        }
        schema::prepare(&mut connection, taken)?;
        let writer = Writer::start(connection, ballast::Ballast::beside(&self.file))?;
        let readers = if self.exclusive { None } else { Some(Readers::open(&self.file, self.readers)?) };
        Ok(Sqlite { writer, readers })
    }
}

/// The embedded catalog.
pub struct Sqlite {
    writer: Writer,
    readers: Option<Readers>,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sqlite")
    }
}

impl Sqlite {
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.readers {
            Some(readers) => readers.run(query).await,
            None => self.writer.read(query).await,
        }
    }
}

#[async_trait]
impl Catalog for Sqlite {
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Outcome>> {
        self.writer.apply(changes).await
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceRow> {
        self.writer.namespace(name.to_owned()).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>> {
        self.read(reads::namespaces).await
    }

    async fn leases(&self, space: NamespaceId, digests: Vec<Digest>, bytes: bool) -> Result<Vec<Option<LeaseRow>>> {
        self.read(move |connection| reads::leases(connection, space, &digests, bytes)).await
    }

    async fn page_leases(&self, space: NamespaceId, after: i64, limit: usize) -> Result<(Vec<LeaseRow>, Option<i64>)> {
        self.read(move |connection| reads::page_leases(connection, space, after, limit)).await
    }

    async fn names(&self, space: NamespaceId, names: Vec<Name>) -> Result<Vec<Option<NameRow>>> {
        self.read(move |connection| reads::names(connection, space, &names)).await
    }

    async fn list(
        &self,
        space: NamespaceId,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(Name, NameRow)>> {
        self.read(move |connection| reads::list(connection, space, &prefix, after.as_deref(), limit)).await
    }

    async fn bare(&self, limit: usize) -> Result<Vec<Digest>> {
        self.read(move |connection| reads::bare(connection, limit)).await
    }

    async fn placed(&self, at: Vec<Location>) -> Result<Vec<bool>> {
        self.read(move |connection| reads::placed(connection, &at)).await
    }

    async fn alias(&self, algorithm: &str, bytes: &[u8]) -> Result<Option<Digest>> {
        let (algorithm, bytes) = (algorithm.to_owned(), bytes.to_vec());
        self.read(move |connection| reads::alias(connection, &algorithm, &bytes)).await
    }

    async fn uploads(&self, one: Option<(NamespaceId, String)>, before: Option<Time>) -> Result<Vec<UploadRow>> {
        self.read(move |connection| reads::uploads(connection, one.as_ref(), before)).await
    }

    async fn tokens(&self, hash: Option<Digest>) -> Result<Vec<TokenRow>> {
        self.read(move |connection| reads::tokens(connection, hash)).await
    }

    async fn whole(&self, space: NamespaceId, name: Name) -> Result<bool> {
        self.read(move |connection| edges::whole(connection, space, &name)).await
    }

    async fn open_nodes(&self, space: NamespaceId, nodes: Vec<(Digest, KindId)>) -> Result<Vec<bool>> {
        self.read(move |connection| edges::open_nodes(connection, space, &nodes)).await
    }

    async fn backup(&self, to: PathBuf) -> Result<()> {
        self.read(move |connection| {
            let to = to.to_str().ok_or_else(|| Error::malformed("the backup's path is not UTF-8"))?;
            connection.execute("VACUUM INTO ?1", [to]).map_err(fault("copy the catalog"))?;
            Ok(())
        })
        .await
    }

    async fn holders(&self, space: NamespaceId, digest: Digest) -> Result<(Vec<Name>, Vec<Digest>)> {
        self.read(move |connection| edges::holders(connection, space, digest)).await
    }
}

/// A connection with our settings.
fn connect(file: &Path, read_only: bool) -> Result<Connection> {
    let flags = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    };
    let doing = fault("open the catalog");
    // Each connection stays in one thread at a time, so SQLite needs no lock of its own.
    let connection = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|cause| Error::broken(format!("open the catalog {}", file.display())).because(cause))?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(&doing)?;
    connection.set_prepared_statement_cache_capacity(64);
    // 8 MiB of pages each: what is hot is also in the kernel's caches.
    connection.pragma_update(None, "cache_size", -8192).map_err(&doing)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(&doing)?;
    if !read_only {
        connection.pragma_update(None, "synchronous", "FULL").map_err(&doing)?;
        // After a burst the log shrinks again.
        connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(&doing)?;
    }
    Ok(connection)
}

/// Turns SQLite's error into ours: what we were doing, `Full` for a full disk.
fn fault(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |cause| {
        let meaning = match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Meaning::Full,
            _ => Meaning::Broken,
        };
        Error::new(meaning, doing).because(cause)
    }
}

/// Bytes of a change that wait in the writer's queue.
fn weight(change: &Change) -> usize {
    match change {
        Change::Claim { place: model::Place::Row(bytes), .. } => 256 + Bytes::len(bytes),
        Change::Open { children, .. } => 256 + 64 * children.len(),
        Change::Touch { leases, names, .. } => 256 + 48 * leases.len() + 128 * names.len(),
        Change::Bind { list, .. } => list.iter().map(|one| 512 + 64 * one.roots.len() + one.pointer.note.len()).sum(),
        _ => 256,
    }
}
