//! The file: a SQLite database in WAL mode with the history keyed by revision.
//!
//! One connection writes; each reader takes a read-only one of a small pool and sees a snapshot, without
//! waiting for a write or holding one up. The file itself is locked, so that a second process is refused.

use crate::record::Record;
use bytes::Bytes;
use gantry_storage::{Result, Revision, StoreError};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};
use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Small pages, as a lone commit writes at least one; values beyond them go to pages of their own.
///
/// The log is carried over to the database every 2048 pages (4 MiB), and cut back to 16 MiB where a long read
/// let it grow. SQLite syncs it before a commit returns.
const WRITER: &str = "
    PRAGMA page_size = 2048;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 2048;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA cache_size = -1024;
";
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS history (
        revision INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        value BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS compacted (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
    INSERT OR IGNORE INTO compacted VALUES (0, 0);
    PRAGMA user_version = 1;
";
const FORMAT: i64 = 1;
/// The operating system's page cache holds what these do not.
const READER: &str = "PRAGMA cache_size = -256";
/// Connections for reading kept open.
const POOL: usize = 4;

pub struct Disk {
    // In the order they are closed: the writer carries the log over, the lock goes last.
    idle: Mutex<Vec<Connection>>,
    writer: Mutex<Connection>,
    path: PathBuf,
    _lock: File,
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

/// SQLite's integers are signed; a store does not live to see half of them used up.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0))
}

/// A consistent look at the history.
pub struct Reader {
    disk: Arc<Disk>,
    /// In a read transaction; `None` only while it is dropped.
    connection: Option<Connection>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if connection.prepare_cached("COMMIT").and_then(|mut s| s.execute(())).is_ok() {
            self.disk.put_back(connection);
        }
    }
}

impl Reader {
    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| failed("the reader has ended"))
    }

    /// The value written at a revision; `None` when it is not (or no longer) there.
    pub fn value(&self, revision: Revision) -> Result<Option<Bytes>> {
        value(self.connection()?, revision)
    }

    /// Calls `f` on each change after `after`, in order, while it answers true. Without `values`, which stay
    /// empty then, the pages of large values are not read.
    pub fn scan(
        &self,
        after: Revision,
        values: bool,
        mut f: impl FnMut(Revision, Record) -> bool,
    ) -> Result<()> {
        let sql = if values {
            "SELECT revision, key, created, expires, value FROM history WHERE revision > ?1 ORDER BY revision"
        } else {
            "SELECT revision, key, created, expires FROM history WHERE revision > ?1 ORDER BY revision"
        };
        let mut statement = self.connection()?.prepare_cached(sql).map_err(failed)?;
        let mut rows = statement.query([signed(after)]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let record = || -> rusqlite::Result<Record> {
                Ok(Record {
                    key: row.get(1)?,
                    create_revision: number(row, 2)?,
                    expires: number(row, 3)?,
                    value: if values { row.get::<_, Vec<u8>>(4)?.into() } else { Bytes::new() },
                })
            };
            if !f(number(row, 0).map_err(failed)?, record().map_err(failed)?) {
                break;
            }
        }
        Ok(())
    }
}

/// Locks the file, made where there is none; others than the owner may not read it.
fn lock(path: &Path) -> Result<File> {
    let made = !path.exists();
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| failed(format!("{}: {e}", path.display())))?;
    file.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => {
            StoreError::Unavailable(format!("{} is in use by another process", path.display()))
        }
        TryLockError::Error(e) => failed(e),
    })?;
    if made && let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        // The name has to outlive a power cut as well as what is written.
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(file)
}

impl Disk {
    /// Opens or makes the file. After a crash, takes in what the log holds up to its last whole transaction.
    pub fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.execute_batch(WRITER).map_err(failed)?;
        let mode: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
        if mode != "wal" {
            return Err(failed(format!("{} cannot have a log on this file system", path.display())));
        }
        match connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)? {
            0 => connection.execute_batch(SCHEMA).map_err(failed)?,
            FORMAT => {}
            newer => return Err(failed(format!("{} has unknown format {newer}", path.display()))),
        }
        Ok(Self { idle: Mutex::default(), writer: Mutex::new(connection), path: path.into(), _lock: lock })
    }

    /// A snapshot of everything written before this call.
    pub fn reader(self: &Arc<Self>) -> Result<Reader> {
        let connection = self.connection()?;
        connection.prepare_cached("BEGIN").and_then(|mut s| s.execute(())).map_err(failed)?;
        // The snapshot is of the time of the first read, not of BEGIN.
        compacted(&connection)?;
        Ok(Reader { disk: self.clone(), connection: Some(connection) })
    }

    /// The value written at a revision, as a read of its own: cheaper than a snapshot.
    pub fn value(&self, revision: Revision) -> Result<Option<Bytes>> {
        let connection = self.connection()?;
        let found = value(&connection, revision)?;
        self.put_back(connection);
        Ok(found)
    }

    /// A connection for reading.
    fn connection(&self) -> Result<Connection> {
        let idle = self.idle.lock().pop();
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.execute_batch(READER).map_err(failed)?;
        Ok(connection)
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < POOL {
            idle.push(connection);
        }
    }

    pub fn compacted(&self) -> Result<Revision> {
        compacted(&self.writer.lock())
    }

    /// Writes changes in one transaction; on disk when it returns. After an error nothing of it is visible;
    /// it may yet be found after a crash.
    pub fn append(&self, records: &[(Revision, Record)]) -> Result<()> {
        self.write(|connection| {
            let sql =
                "INSERT INTO history (revision, key, created, expires, value) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut insert = connection.prepare_cached(sql)?;
            for (revision, r) in records {
                let (created, expires) = (signed(r.create_revision), signed(r.expires));
                insert.execute((signed(*revision), &r.key, created, expires, &*r.value))?;
            }
            Ok(())
        })
    }

    /// Removes changes nobody may ask for any more, and notes how far history is forgotten.
    pub fn forget(&self, revisions: &[Revision], compacted: Revision) -> Result<()> {
        self.write(|connection| {
            let mut delete = connection.prepare_cached("DELETE FROM history WHERE revision = ?1")?;
            for revision in revisions {
                delete.execute([signed(*revision)])?;
            }
            connection
                .prepare_cached("UPDATE compacted SET revision = ?1 WHERE id = 0")?
                .execute([signed(compacted)])
                .map(|_| ())
        })
    }

    fn write(&self, f: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<()> {
        let mut connection = self.writer.lock();
        let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        // Dropped without a commit, it is rolled back.
        f(&txn).and_then(|()| txn.commit()).map_err(failed)
    }
}

fn compacted(connection: &Connection) -> Result<Revision> {
    let sql = "SELECT revision FROM compacted WHERE id = 0";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    statement.query_row((), |row| number(row, 0)).map_err(failed)
}

fn value(connection: &Connection, revision: Revision) -> Result<Option<Bytes>> {
    let sql = "SELECT value FROM history WHERE revision = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let value = statement.query_row([signed(revision)], |row| row.get::<_, Vec<u8>>(0));
    Ok(value.optional().map_err(failed)?.map(Into::into))
}
