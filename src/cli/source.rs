//! Where `tollgate serve` has its configuration from, and what it does when that changes.

use std::error::Error as _;
use std::path::PathBuf;

use super::validate::{self, Override};
use super::watch::Watch;
use crate::app::{ReloadError, Reloader};
use crate::config::{Config, Mistakes};
use crate::telemetry::Logging;

/// How many mistakes of one file the log names; the last line says how many there are.
const MISTAKES_LOGGED: usize = 20;

/// A file, what the command line says otherwise, and the files that are named there.
pub(super) struct Source {
    file: PathBuf,
    set: Vec<Override>,
    watch: Watch,
}

impl Source {
    /// A configuration that nobody has read yet.
    pub(super) fn new(file: PathBuf, set: Vec<Override>) -> Self {
        let watch = Watch::new(vec![file.clone()]);
        Self { file, set, watch }
    }

    /// Reads everything, and notices changes from now on.
    ///
    /// # Errors
    /// All [`Mistakes`] at once.
    pub(super) fn load(&mut self) -> Result<Config, Mistakes> {
        let mut watch = Watch::new(self.watch.files().to_vec());
        let (mut config, mut named) = validate::read(&self.file, &self.set);
        named.insert(0, self.file.clone());
        if watch.files() != named {
            // What changed before it was watched would not be noticed.
            watch = Watch::new(named);
            config = validate::read(&self.file, &self.set).0;
        }
        self.watch = watch;
        config
    }

    /// Resolves when something has changed since it was last read.
    pub(super) async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// Reads everything again, and puts it in force if nothing is wrong with it.
    pub(super) async fn reload(&mut self, cause: &'static str, reloader: &Reloader, log: Option<&Logging>) {
        match tokio::task::block_in_place(|| self.load()) {
            Err(mistakes) => {
                reloader.refuse(mistakes.to_string());
                report(cause, &mistakes);
            }
            Ok(config) => {
                let filter = config.log.clone();
                match reloader.reload(config).await {
                    Ok(()) => {
                        tracing::info!(cause, "the configuration was reloaded");
                        if let Some(log) = log {
                            log.filter_by(&filter);
                        }
                    }
                    Err(error) => refused(cause, &error),
                }
            }
        }
    }
}

/// Logs each mistake with its place, and what helps.
fn report(cause: &'static str, mistakes: &Mistakes) {
    for mistake in mistakes.places().take(MISTAKES_LOGGED) {
        tracing::error!(
            file = mistake.file,
            line = mistake.line,
            column = mistake.column,
            help = mistake.help,
            "{mistake}"
        );
    }
    tracing::error!(cause, "{mistakes}: the configuration before it stays in force");
}

/// Logs why a configuration without a mistake is not in force.
fn refused(cause: &'static str, error: &ReloadError) {
    let because = error.source().map(super::in_full);
    tracing::error!(cause, because, "{error}: the configuration before it stays in force");
}
