//! Notices that files have changed: edited, replaced, or swapped behind a symbolic link, as Kubernetes does with a mounted
//! `ConfigMap` or `Secret`.
//!
//! It looks every half second instead of asking the kernel to be told: that works on every file system, through any number
//! of links, and for files that are not there yet. What counts is what the files hold; they are read again only where
//! their metadata say that there may be something new.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

use crate::secret::sha256;

/// How often it is looked. Files must be left alone for so long before they count: who writes several is given the time to.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How much of a file counts, in bytes; all that is read of any is less.
const FILE_LIMIT: u64 = 2 * 1024 * 1024;

/// How often a file is read again after its metadata changed: it may be written twice in one tick of the clock of its file
/// system.
const READ_AGAIN: u8 = 4;

/// Files that are watched.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// What the files held when that was last acted on.
    known: Vec<Held>,
}

/// What a file holds.
#[derive(Clone)]
struct Held {
    /// `None` if it is not there.
    stamp: Option<Stamp>,
    /// How often it is read again although its metadata are the same.
    read_again: u8,
    /// SHA-256 of its contents; of nothing, if it cannot be read.
    digest: [u8; 32],
}

/// Which file it is, how large, and when its contents and its metadata changed.
#[derive(Clone, Eq, PartialEq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches these files, as they are now.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let known = files.iter().map(|file| Held::look(file, None)).collect();
        Self { files, known }
    }

    /// The files.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Resolves when the files do not hold any more what they held when this value was made, and have been left alone for
    /// a moment. Make another one before they are read, so that no change in between is lost.
    pub(super) async fn changed(&mut self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = self.known.clone();
        loop {
            ticks.tick().await;
            let (files, earlier) = (self.files.clone(), last.clone());
            let look = move || files.iter().zip(&earlier).map(|(file, held)| Held::look(file, Some(held))).collect();
            let Ok(held): Result<Vec<Held>, _> = tokio::task::spawn_blocking(look).await else { continue };
            let (settled, as_known) = (is_same(&held, &last), is_same(&held, &self.known));
            last = held;
            if settled && !as_known {
                return;
            }
        }
    }
}

fn is_same(one: &[Held], two: &[Held]) -> bool {
    one.iter().zip(two).all(|(one, two)| one.digest == two.digest)
}

impl Held {
    /// Looks at a file; reads it, unless it is as it was.
    fn look(file: &Path, before: Option<&Self>) -> Self {
        let stamp = fs::metadata(file).ok().map(|metadata| Stamp::of(&metadata)); // of what a link leads to
        match before.filter(|before| before.stamp == stamp) {
            Some(before) if before.read_again == 0 => before.clone(),
            Some(before) => Self { stamp, read_again: before.read_again - 1, digest: sha256(&read(file)) },
            None => Self { stamp, read_again: READ_AGAIN, digest: sha256(&read(file)) },
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a file holds; nothing, if it is not there.
fn read(file: &Path) -> Zeroizing<Vec<u8>> {
    let mut held = Zeroizing::new(Vec::new());
    if file.is_file()
        && let Ok(file) = File::open(file)
    {
        let _ = file.take(FILE_LIMIT).read_to_end(&mut held); // what cannot be read is reported by who needs it
    }
    held
}
