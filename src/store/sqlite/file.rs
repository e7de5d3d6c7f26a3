//! Opening the file: its mode, its settings, its schema.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// Marks a SQLite file as ours: "TGAT" in ASCII.
const APPLICATION_ID: i32 = 0x5447_4154;

/// Every change of the schema, in order. Each only adds: two versions of the program may run side by side.
const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__state", include_str!("migrations/V1__state.sql")),
    ("V2__devices", include_str!("migrations/V2__devices.sql")),
    ("V3__grants_subject", include_str!("migrations/V3__grants_subject.sql")),
    ("V4__people", include_str!("migrations/V4__people.sql")),
    ("V5__account", include_str!("migrations/V5__account.sql")),
    ("V6__revocations", include_str!("migrations/V6__revocations.sql")),
    ("V7__ended_transactions", include_str!("migrations/V7__ended_transactions.sql")),
    ("V8__pushed_requests", include_str!("migrations/V8__pushed_requests.sql")),
    ("V9__nonces", include_str!("migrations/V9__nonces.sql")),
    ("V10__authorization_details", include_str!("migrations/V10__authorization_details.sql")),
    ("V12__access_tokens", include_str!("migrations/V12__access_tokens.sql")),
    ("V13__sessions_of_clients", include_str!("migrations/V13__sessions_of_clients.sql")),
    ("V15__revoked_at", include_str!("migrations/V15__revoked_at.sql")),
    ("V16__clients", include_str!("migrations/V16__clients.sql")),
    ("V18__status_blocks", include_str!("migrations/V18__status_blocks.sql")),
    ("V19__secrets", include_str!("migrations/V19__secrets.sql")),
];

/// How long to wait for another process, such as `tollgate keys rotate`, that writes to the same file.
const BUSY: Duration = Duration::from_secs(5);

/// After how many pages of 4 KiB the log is written back to the database: 16 MiB, so that the second wait for the disk
/// that this takes is a rare one.
const CHECKPOINT: u32 = 4_096;

/// So many prepared statements are kept, which is all of them.
const STATEMENTS: usize = 64;

/// Why a SQLite file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory does not exist; we do not make directories in places that may be misspelt.
    #[error("the directory `{}` of the database does not exist; create it, owned by the user that runs tollgate", .0.display())]
    DirectoryMissing(PathBuf),
    /// The file cannot be created or opened.
    #[error("the database `{}` cannot be opened for reading and writing", path.display())]
    File {
        /// Where it is or should be.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Another process serves from it.
    #[error(
        "another tollgate serves from the database `{}`; stop that one first, or give this one a database of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// The lock file beside it cannot be used.
    #[error("the lock file `{}` of the database cannot be used", path.display())]
    Lock {
        /// Where it is or should be.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It is not a SQLite database, or somebody else's.
    #[error("`{}` is not a database of tollgate; it was left as it is", .0.display())]
    Foreign(PathBuf),
    /// It was ours, and what is in it cannot be read any more.
    #[error("the database `{}` is damaged; restore a backup of it", path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A newer version of the program has changed its schema.
    #[error(
        "the database `{}` has schema {found}, and this version knows schemas up to {known}; run the newer version, or restore a backup that was made before the update",
        path.display()
    )]
    Newer {
        /// Where it is.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The file system cannot do what write-ahead logging needs.
    #[error("the file system of `{}` does not allow write-ahead logging; use a local disk", .0.display())]
    NoWriteAheadLog(PathBuf),
    /// Its schema could not be brought up to date.
    #[error("the schema of the database `{}` could not be brought up to date", path.display())]
    Schema {
        /// Where it is.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<refinery::Error>,
    },
    /// SQLite said no.
    #[error("the database `{}` cannot be used", path.display())]
    Sqlite {
        /// Where it is.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The operating system refused a thread.
    #[error("a thread for the database could not be started")]
    Thread(#[source] io::Error),
}

/// Takes the lock that only one process which serves may have, for as long as the value lives: the operating system lets
/// go of it with the process, however that ends. The lock file stays behind, since whoever removed it could remove that
/// of a successor. The database itself is not locked: SQLite has locks of its own there.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    create(path)?;
    let mut name = OsString::from(path.canonicalize().unwrap_or_else(|_| path.into())); // one lock, whatever the path
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name);
    let file = file.map_err(|source| OpenError::Lock { path: name.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.into())),
        Err(TryLockError::Error(source)) => Err(OpenError::Lock { path: name, source }),
    }
}

/// Opens the file for the writer: creates it if need be, checks that it is ours, and brings its schema up to date.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    if !create(path)? {
        warn_of_readers(path)?;
    }
    let mut connection = connect(path)?;
    let failed = |source| sqlite(path, source);
    claim(path, &connection)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog(path.into()));
    }
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -8_192).map_err(failed)?; // KiB, used as needed
    migrate(path, &mut connection)?;
    Ok(connection)
}

/// Opens the file, which exists by now, for a reader.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true).map_err(|source| sqlite(path, source))?;
    Ok(connection)
}

/// Opens a file that exists and is ours, whatever its schema, to copy it. SQLite takes `query_only` for a ban on that.
pub(super) fn open_to_copy(path: &Path) -> Result<Connection, OpenError> {
    let connection = connect(path)?;
    let id: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|source| sqlite(path, source))?;
    if id == APPLICATION_ID { Ok(connection) } else { Err(OpenError::Foreign(path.into())) }
}

/// Makes an empty file that nobody else may read, unless there is a file; whether it did. SQLite gives its log the same
/// mode.
fn create(path: &Path) -> Result<bool, OpenError> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        return Err(OpenError::DirectoryMissing(directory.into()));
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(true),
        // It is not opened here: closing it would drop the locks that SQLite holds elsewhere in this process.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(OpenError::File { path: path.into(), source }),
    }
}

/// Says so if others may read the file.
fn warn_of_readers(path: &Path) -> Result<(), OpenError> {
    let metadata = path.metadata().map_err(|source| OpenError::File { path: path.into(), source });
    let mode = metadata?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the database");
    }
    Ok(())
}

/// Opens a connection with what readers and the writer have in common.
fn connect(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |source| sqlite(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Marks an empty file as ours; refuses any other that is not.
fn claim(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let failed = |source| sqlite(path, source);
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let entries = "SELECT count(*) FROM sqlite_schema";
    let entries: i64 = connection.query_row(entries, [], |row| row.get(0)).map_err(failed)?;
    match (id, entries) {
        (APPLICATION_ID, _) => Ok(()),
        (0, 0) => connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed),
        _ => Err(OpenError::Foreign(path.into())),
    }
}

/// Applies what is missing of [`MIGRATIONS`]; leaves a file alone that is ahead of them.
fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let failed = |source| OpenError::Schema { path: path.into(), source: Box::new(source) };
    let migrations: Result<Vec<_>, _> = MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    let runner = Runner::new(&migrations.map_err(failed)?);
    let version = |migration: &Migration| i64::from(migration.version());
    let known = runner.get_migrations().iter().map(version).max().unwrap_or_default();
    let found = schema(connection).map_err(|source| sqlite(path, source))?;
    if found > known {
        return Err(OpenError::Newer { path: path.into(), found, known });
    }
    runner.run(connection).map_err(failed).map(drop)
}

/// The number of the newest migration that was applied to the file; 0 if none was.
fn schema(connection: &Connection) -> rusqlite::Result<i64> {
    if !connection.table_exists(None, "refinery_schema_history")? {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    connection.query_row(newest, [], |row| row.get(0))
}

/// Tells a file that is no database, or no longer a whole one, from other failures.
pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path.into()),
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path: path.into(), source },
        _ => OpenError::Sqlite { path: path.into(), source },
    }
}
