//! `tollgate backup`: a copy of the database, made while the installation runs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::Diagnostic;

use super::{quote, validate};
use crate::app;
use crate::config::Store;
use crate::store::BackupError;

/// What to copy, and where to.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG", default_value = "tollgate.yaml")]
    config: PathBuf,
    /// The new file for the copy; nothing is ever overwritten
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(super) enum BackupVerbError {
    /// There is no file to copy.
    #[error("this installation has no database file")]
    #[diagnostic(help("only `store: {{ sqlite: ... }}` keeps one; a database server has its own tools for backups"))]
    NoFile,
    /// There is no store yet.
    #[error("there is no database at {} yet", .0.display())]
    #[diagnostic(help("the first `tollgate serve` makes it"))]
    NoStore(PathBuf),
    /// The copy failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
}

impl Backup {
    /// Copies it, and says how to use the copy.
    pub(super) fn run(self) -> Result<ExitCode, BackupVerbError> {
        let config = match validate::load(&self.config, &[]) {
            Ok(config) => config,
            Err(mistakes) => return Ok(validate::refuse(&mistakes)),
        };
        let path = match &config.store {
            Store::Sqlite { path } if path.exists() => path,
            Store::Sqlite { path } => return Err(BackupVerbError::NoStore(path.clone())),
            Store::Memory | Store::Postgres(_) => return Err(BackupVerbError::NoFile),
        };
        let size = app::back_up(&config.store, &self.to)?.ok_or(BackupVerbError::NoFile)?;
        println!("{}: {} KiB, checked", self.to.display(), size.div_ceil(1024));
        eprintln!("keep `signing.encryption_key_file` too, elsewhere: without it the copy is of no use");
        eprintln!("to go back: stop tollgate, remove `{0}-wal` and `{0}-shm`, then", path.display());
        eprintln!("next: cp {} {}", quote(&self.to.to_string_lossy()), quote(&path.to_string_lossy()));
        Ok(ExitCode::SUCCESS)
    }
}
