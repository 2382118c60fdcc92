//! The file: a redb database with the history keyed by revision.

use crate::record::Record;
use bytes::Bytes;
use gantry_storage::{Result, Revision, StoreError};
use redb::{Database, ReadableDatabase, TableDefinition};
use std::ops::Bound;
use std::path::Path;

const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const COMPACTED: &str = "compacted";

/// Pages kept by the database; the operating system's page cache holds the rest.
const CACHE: usize = 4 << 20;

pub struct Disk {
    database: Database,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string())
}

/// A consistent look at the history.
pub struct Reader {
    table: redb::ReadOnlyTable<u64, &'static [u8]>,
}

impl Reader {
    /// The value written at a revision; `None` when it is not (or no longer) there.
    pub fn value(&self, revision: Revision) -> Result<Option<Bytes>> {
        Ok(self.record(revision)?.map(|r| r.value))
    }

    pub fn record(&self, revision: Revision) -> Result<Option<Record>> {
        match self.table.get(revision).map_err(failed)? {
            Some(guard) => decode(revision, guard.value(), true).map(Some),
            None => Ok(None),
        }
    }

    /// Calls `f` on each change after `after`, in order, while it answers true.
    pub fn scan(
        &self,
        after: Revision,
        values: bool,
        mut f: impl FnMut(Revision, Record) -> bool,
    ) -> Result<()> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        for item in self.table.range::<u64>(range).map_err(failed)? {
            let (revision, bytes) = item.map_err(failed)?;
            if !f(revision.value(), decode(revision.value(), bytes.value(), values)?) {
                break;
            }
        }
        Ok(())
    }
}

fn decode(revision: Revision, bytes: &[u8], values: bool) -> Result<Record> {
    Record::decode(bytes, values)
        .ok_or_else(|| StoreError::Failed(format!("the record of revision {revision} is damaged")))
}

impl Disk {
    /// Opens or makes the file; repairs it after a crash.
    pub fn open(path: &Path) -> Result<Self> {
        let database = Database::builder().set_cache_size(CACHE).create(path).map_err(failed)?;
        let disk = Self { database };
        // Both tables exist from the start, so that readers need not ask.
        let txn = disk.database.begin_write().map_err(failed)?;
        let missing = {
            let has = txn.list_tables().map_err(failed)?.count();
            txn.open_table(HISTORY).map_err(failed)?;
            txn.open_table(META).map_err(failed)?;
            has < 2
        };
        if missing {
            txn.commit().map_err(failed)?
        } else {
            txn.abort().map_err(failed)?
        }
        Ok(disk)
    }

    pub fn reader(&self) -> Result<Reader> {
        let txn = self.database.begin_read().map_err(failed)?;
        Ok(Reader { table: txn.open_table(HISTORY).map_err(failed)? })
    }

    pub fn compacted(&self) -> Result<Revision> {
        let txn = self.database.begin_read().map_err(failed)?;
        let table = txn.open_table(META).map_err(failed)?;
        Ok(table.get(COMPACTED).map_err(failed)?.map_or(0, |v| v.value()))
    }

    /// Writes changes in one transaction; on disk when it returns.
    pub fn append(&self, records: &[(Revision, Record)]) -> Result<()> {
        let txn = self.database.begin_write().map_err(failed)?;
        {
            let mut table = txn.open_table(HISTORY).map_err(failed)?;
            for (revision, record) in records {
                table.insert(revision, record.encode().as_slice()).map_err(failed)?;
            }
        }
        txn.commit().map_err(failed)
    }

    /// Removes changes nobody may ask for any more, and notes how far history is forgotten.
    pub fn forget(&self, revisions: &[Revision], compacted: Revision) -> Result<()> {
        let txn = self.database.begin_write().map_err(failed)?;
        {
            let mut table = txn.open_table(HISTORY).map_err(failed)?;
            for revision in revisions {
                table.remove(revision).map_err(failed)?;
            }
            let mut meta = txn.open_table(META).map_err(failed)?;
            meta.insert(COMPACTED, compacted).map_err(failed)?;
        }
        txn.commit().map_err(failed)
    }
}
