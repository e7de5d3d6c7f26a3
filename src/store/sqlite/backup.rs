//! A copy of the file while others read and write it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::NamedTempFile;

use super::OpenError;
use super::file;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be used.
    #[error(transparent)]
    Source(#[from] OpenError),
    /// There is something where the copy should go, and it stays as it is.
    #[error("`{}` exists already; it was left as it is", .0.display())]
    Exists(PathBuf),
    /// The copy cannot be written.
    #[error("the copy `{}` cannot be written", path.display())]
    Write {
        /// Where it should go.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// SQLite could not copy it.
    #[error("the database could not be copied to `{}`", path.display())]
    Copy {
        /// Where it should go.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The copy is damaged, most likely because the database is.
    #[error("the copy has faults, so the database has them too: {0}")]
    Damaged(String),
}

/// Copies the database at `from`, as of one moment, to the new file `to`; gives its size in bytes.
///
/// The copy appears at once and whole, is on disk when this returns, and is readable by its owner only. Writers do not
/// wait for it. Its free pages are left out.
pub(super) fn copy(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let failed = |source| BackupError::Copy { path: to.into(), source };
    let write = |source| BackupError::Write { path: to.into(), source };
    if to.try_exists().map_err(write)? {
        return Err(BackupError::Exists(to.into()));
    }
    let directory = to.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let copy = NamedTempFile::new_in(directory).map_err(write)?;
    let name = copy.path().to_str().ok_or_else(|| write(io::ErrorKind::InvalidFilename.into()))?;
    let source = file::open_to_copy(from)?;
    source.execute("VACUUM INTO ?1", [name]).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => file::sqlite(from, error).into(),
        _ => failed(error),
    })?;
    check(copy.path()).map_err(failed)?.map_or(Ok(()), |fault| Err(BackupError::Damaged(fault)))?;
    // SQLite had the file open by itself; what it wrote is the kernel's until somebody says otherwise.
    copy.as_file().sync_all().map_err(write)?;
    let size = copy.as_file().metadata().map_err(write)?.len();
    copy.persist_noclobber(to).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(to.into()),
        _ => write(error.error),
    })?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(write)?;
    Ok(size)
}

/// The first fault of a database, if it has one.
fn check(path: &Path) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copy = Connection::open_with_flags(path, flags)?;
    let found: String = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((found != "ok").then_some(found))
}
