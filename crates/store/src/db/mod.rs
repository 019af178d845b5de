//! The state database: one SQLite file that any number of processes share.
//!
//! Write-ahead logging: readers never wait, and writers wait for each other for ten seconds at
//! most. Every change is one `BEGIN IMMEDIATE` transaction ([`Db::write`]), so what it has read
//! stays true until it commits. With `synchronous=NORMAL` a commit survives any killed process; a
//! power cut may take the last ones back, but leaves the database whole.
//!
//! A short-lived process opens this for one lookup, so opening does little: no DDL unless
//! `user_version` asks for it, no checkpoint at the end, and no pragmas: SQLite is compiled with the
//! settings that are wanted (`.cargo/config.toml`). Pages are small, a quarter
//! of SQLite's usual: a start copies and sums each page that it touches several times, and touches
//! few rows. After 192 pages of log a commit writes them back: who opens the database when no other
//! process has it open reads the whole log (0.5 µs a page), a commit adds five pages or so, and
//! writing back costs two syncs of the disk. The file is made by
//! [`Db::open`] itself, readable by its owner only: requests contain the workloads' environment.
//!
//! Reading is on [`Session`], which [`Db`] and [`Transaction`] both lead to; writing is on
//! [`Transaction`] only. Each family of tables has a file.

mod address;
mod attestations;
mod containers;
mod error;
mod images;
mod known_blobs;
mod layers;
mod lists;
mod networks;
mod pods;
mod ports;
mod schema;

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use rustix::fs::{FlockOperation, Mode, OFlags};

pub use address::{Mac, Subnet4, Subnet6, SubnetError};
pub use attestations::Attestation;
pub use containers::{Container, InPod};
pub use error::DbError;
pub use images::{Image, Tag};
pub use known_blobs::KnownBlob;
pub use networks::{Lease, LeaseRequest, Network, NetworkOptions};
pub use pods::Pod;
pub use ports::{Protocol, PublishedPort};

use crate::file_error::FileError;
use crate::pin;

/// How long a writer waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// From here on SQLite writes the log back: so many pages, each with its head (sqlite.org/fileformat2.html,
/// section 4).
const LONG_LOG_BYTES: u64 = 32 + 192 * (1024 + 24);

/// The database, open in this process. One connection, one thread.
#[derive(Debug)]
pub struct Db {
    session: Session,
    log: PathBuf,
}

/// Everything that can be read. See [`Db`] and [`Transaction`], which lead here.
#[derive(Debug)]
pub struct Session {
    connection: Connection,
}

/// Everything that can be changed, all of it or nothing. See [`Db::write`].
#[derive(Debug)]
pub struct Transaction<'d> {
    session: &'d Session,
    inner: rusqlite::Transaction<'d>,
}

impl Deref for Db {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl Db {
    /// Opens the database at `path`; makes it, or brings it up to date, where it must be. A newer
    /// version than this program knows is refused.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        match Self::connect(path) {
            Ok(db) if db.version()? == schema::VERSION => Ok(db),
            Ok(db) => {
                let _lock = lock_directory_of(path)?;
                db.migrate(path)
            }
            Err(error) if cannot_open(&error) => Self::create(path),
            Err(error) => Err(error),
        }
    }

    fn create(path: &Path) -> Result<Self, DbError> {
        let _lock = lock_directory_of(path)?;
        match Self::connect(path) {
            Err(error) if cannot_open(&error) => {
                create_file(path)?;
                Self::connect(path)?.migrate(path)
            }
            // Another process was quicker.
            other => other?.migrate(path),
        }
    }

    fn connect(path: &Path) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(64);
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(connection)
        };
        let connection = connect().map_err(DbError::at("open the state database"))?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            session: Session { connection },
            log: log.into(),
        })
    }

    /// Brings the tables up to date, under the directory's lock.
    fn migrate(self, path: &Path) -> Result<Self, DbError> {
        let found = self.version()?;
        if found > schema::VERSION {
            return Err(DbError::Newer {
                path: path.to_owned(),
                found,
                known: schema::VERSION,
            });
        }
        schema::migrate(&self.connection, found)
            .map_err(DbError::at("bring the state database up to date"))?;
        self.checkpoint()?;
        Ok(self)
    }

    /// Runs `change` in one transaction: committed if it succeeds, undone if it fails.
    pub fn write<T, E: From<DbError>>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let inner = rusqlite::Transaction::new_unchecked(
            &self.session.connection,
            TransactionBehavior::Immediate,
        )
        .map_err(DbError::at("begin a transaction"))?;
        let transaction = Transaction {
            session: &self.session,
            inner,
        };
        let result = change(&transaction)?;
        let committed = transaction.inner.commit();
        committed.map_err(DbError::at("commit a transaction"))?;
        self.empty_log();
        Ok(result)
    }

    /// SQLite writes a long log back, but begins it anew only for who commits again. Here that is mostly
    /// another process, which takes all of it for new: it would grow for ever, and be read at each opening.
    fn empty_log(&self) {
        let length = std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len());
        if length >= LONG_LOG_BYTES {
            // Somebody else is reading it: the next commit tries again.
            let _ = self.checkpoint();
        }
    }

    /// Writes the log back into the database and empties it, as far as nobody is in the way.
    fn checkpoint(&self) -> Result<(), DbError> {
        let checkpoint = || -> rusqlite::Result<()> {
            self.connection.busy_timeout(Duration::ZERO)?;
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let result = self.connection.query_row(sql, [], |_| Ok(()));
            self.connection.busy_timeout(BUSY_TIMEOUT)?;
            result
        };
        checkpoint().map_err(DbError::at("write the log back"))
    }
}

impl Session {
    fn version(&self) -> Result<u32, DbError> {
        self.connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(DbError::at("read the state database's version"))
    }

    /// All rows of a query.
    fn rows<T>(
        &self,
        action: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, DbError> {
        let query = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement
                .query_map(params, read)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        query().map_err(DbError::at(action))
    }

    /// The row of a query that has one at most.
    fn row<T>(
        &self,
        action: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, DbError> {
        Ok(self.rows(action, sql, params, read)?.into_iter().next())
    }
}

impl Transaction<'_> {
    /// Executes one statement; the number of rows it has changed.
    fn execute(
        &self,
        action: &'static str,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<usize, DbError> {
        let execute = || self.inner.prepare_cached(sql)?.execute(params);
        execute().map_err(DbError::at(action))
    }
}

fn cannot_open(error: &DbError) -> bool {
    matches!(error, DbError::Sqlite { error, .. }
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen))
}

/// One process at a time makes the database or changes its tables: switching to write-ahead
/// logging does not wait for locks. The database file itself must not be opened for that: closing
/// any descriptor of it would drop SQLite's own locks in this process (POSIX, fcntl).
fn lock_directory_of(path: &Path) -> Result<OwnedFd, DbError> {
    let directory = pin::open_directory(path.parent().unwrap_or(Path::new("/")))?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, FlockOperation::LockExclusive))
        .map_err(FileError::at("lock the directory of", path))?;
    Ok(directory)
}

/// An empty file is an empty database. Its mode is inherited by the log's files.
fn create_file(path: &Path) -> Result<(), DbError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(FileError::at("create", path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_stays_short_whoever_writes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state.db");
        let log =
            || std::fs::metadata(directory.path().join("state.db-wal")).map_or(0, |m| m.len());
        let mut longest = 0;
        for number in 0..300 {
            let mut db = Db::open(&path).expect("a database");
            let name = format!("example.org/image:{number}");
            db.write(|transaction| transaction.put_list(&name, "{}"))
                .expect("written");
            longest = longest.max(log());
        }
        assert!((1..2 * LONG_LOG_BYTES).contains(&longest), "{longest}");
        let db = Db::open(&path).expect("a database");
        assert_eq!(db.lists().expect("read").len(), 300);
    }

    /// The flags in `.cargo/config.toml` are in force.
    #[test]
    fn the_settings_are_compiled_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let db = Db::open(&directory.path().join("state.db")).expect("a database");
        let number = |pragma: &str| -> i64 {
            let sql = format!("PRAGMA {pragma}");
            let answer = db.connection.query_row(&sql, [], |row| row.get(0));
            answer.expect(pragma)
        };
        assert_eq!(number("synchronous"), 1, "NORMAL");
        assert_eq!(number("wal_autocheckpoint"), 192);
        assert_eq!(number("page_size"), 1024);
        assert_eq!(number("foreign_keys"), 1);
    }
}
