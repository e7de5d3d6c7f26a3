//! A disk whose power can be cut. `kill -9` leaves to the operating system what a process has written; a power cut does
//! not. So a library that is preloaded into the program (`tests/power_cut/journal.rs`) notes each write to the database and each
//! wait for the disk, by any of its processes, and what may be on the disk afterwards is made from those notes: all that a
//! finished wait covered, and of the rest anything: each write whole, lost, or torn at the edges of sectors, in any order.
//!
//! Names are data of their folder: created, moved and removed files are certainly so once somebody has waited for the
//! folder. Until then each change of a name is there or not; only changes of the same name keep their order.
//!
//! What it does not simulate: disks that lie about having written, other than when a test asks for one, and disks that
//! damage what lies beside a write.

mod image;
mod notes;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::LazyLock;

use tempfile::TempDir;

use super::dice::Dice;
use image::{Image, Loss};
use notes::Note;

/// Whether the disk keeps what it was waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Honesty {
    Honest,
    /// It says so at once, and writes nothing.
    Lying,
}

/// Whose files are on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tenant {
    /// A file beside those of an installation. Its own waits for folders have to do for all names.
    Sqlite,
    /// The folder of a server. It takes for granted that who waits for a new file waits for its name as well, as ext4,
    /// XFS and Btrfs have it: it waits for no folder after it has created a file of a table.
    Postgres,
}

/// What a file is to a power cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// It is as the disk has kept it.
    State,
    /// It is gone: who starts next makes it anew, and looks at no old one.
    Scratch,
    /// It is none of the database's.
    Foreign,
}

impl Tenant {
    fn role(self, name: &str) -> Role {
        let last = name.rsplit('/').next().unwrap_or(name);
        match self {
            // The index of the log; and the lock of the process that serves.
            Self::Sqlite if name == "tollgate.db-shm" => Role::Scratch,
            Self::Sqlite if name == "tollgate.db.lock" => Role::Foreign,
            Self::Sqlite if name.is_empty() || name.starts_with("tollgate.db") => Role::State,
            Self::Sqlite => Role::Foreign,
            // Which process serves, and how it was called; statistics, and a cache of the catalogue, which recovery
            // drops. They are written by functions of C that the library does not see.
            Self::Postgres if ["postmaster.pid", "postmaster.opts"].contains(&name) => Role::Scratch,
            Self::Postgres if last.starts_with("pg_internal.init") => Role::Scratch,
            Self::Postgres if name.starts_with("pg_stat/") || name.starts_with("pg_stat_tmp/") => Role::Scratch,
            // Written by a test.
            Self::Postgres if name == "postgresql.auto.conf" => Role::Foreign,
            Self::Postgres => Role::State,
        }
    }

    /// Whether to wait for a new file is to wait for its name.
    fn names_new_files_with_their_content(self) -> bool {
        match self {
            Self::Sqlite => false,
            Self::Postgres => true,
        }
    }
}

/// The disk under a database.
pub struct Disk {
    tenant: Tenant,
    folder: PathBuf,
    journal: PathBuf,
    honesty: Honesty,
    /// What was there when the journal began.
    before: Image,
    /// How often somebody had waited for the disk when a journal ended.
    waits: usize,
}

impl Disk {
    /// The disk of a folder as it is. Nobody must be writing.
    pub fn new(tenant: Tenant, folder: &Path, journal: &Path, honesty: Honesty) -> Self {
        let folder = folder.canonicalize().expect("a folder");
        let before = Image::read(&folder, tenant);
        Self { tenant, folder, journal: journal.to_owned(), honesty, before, waits: 0 }
    }

    /// What has a program note what it writes.
    pub fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("LD_PRELOAD", LIBRARY.clone()),
            ("POWER_CUT_JOURNAL", self.journal.clone()),
            ("POWER_CUT_FOLDER", self.folder.clone()),
        ]
    }

    /// How often somebody has waited for the disk, up to the last end of a journal.
    pub fn waits(&self) -> usize {
        self.waits
    }

    /// How long the journal is.
    pub fn noted(&self) -> u64 {
        self.journal.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Cuts the power, after every program has ended that writes there.
    pub fn cut(&mut self, dice: &mut Dice) {
        let bytes = self.bytes();
        let (left, loss) = match self.honesty {
            Honesty::Honest => self.before.clone().after(&notes::parse(&bytes), self.tenant, Some(dice)),
            Honesty::Lying => (self.before.clone(), Loss::default()),
        };
        println!("a power cut: of {} notes {} are lost or torn", loss.notes, loss.lost);
        left.write(&self.folder, self.tenant);
        self.begin_again();
    }

    /// Notes what a process has done that was killed before it could.
    pub fn catch_up(&self) {
        let (bytes, shown) = (self.bytes(), Image::read(&self.folder, self.tenant));
        let (told, _) = self.before.clone().after(&notes::parse(&bytes), self.tenant, None);
        let missing: Vec<u8> = told.notes_to(&shown).into_iter().flat_map(Note::to_bytes).collect();
        let journal = fs::OpenOptions::new().append(true).create(true).open(&self.journal);
        journal.expect("a journal").write_all(&missing).expect("room for the journal");
    }

    /// All that the operating system shows is on the disk: whoever starts next waits for all of it before anything else.
    pub fn is_waited_for(&mut self) {
        self.begin_again();
    }

    /// Begins a journal with what there is.
    fn begin_again(&mut self) {
        let bytes = self.bytes();
        self.waits += notes::parse(&bytes).iter().filter(|note| matches!(note, Note::SyncEnded { .. })).count();
        self.before = Image::read(&self.folder, self.tenant);
        match fs::remove_file(&self.journal) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("the journal: {error}"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Fails if the journal does not tell all that was written. Nobody must be writing.
    #[track_caller]
    pub fn assert_told_everything(&self) {
        let bytes = self.bytes();
        let (told, _) = self.before.clone().after(&notes::parse(&bytes), self.tenant, None);
        told.assert_same(&Image::read(&self.folder, self.tenant));
    }

    fn bytes(&self) -> Vec<u8> {
        match fs::read(&self.journal) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("the journal: {error}"),
        }
    }
}

/// The library that takes notes, compiled once for all tests.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
    let library = FOLDER.path().join("libjournal.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cut/journal.rs");
    let mut compiler = Program::new("rustc");
    compiler.args(["--edition", "2024", "-C", "opt-level=2", "-C", "panic=abort", "--crate-type", "cdylib", "-o"]);
    let output = compiler.arg(&library).arg(source).output().expect("rustc is on the path");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A server of PostgreSQL is another user.
    fs::set_permissions(FOLDER.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    library
});

#[cfg(test)]
mod tests {
    use super::{Dice, Disk, Honesty, Tenant, fs};

    #[test]
    fn a_disk_that_lies_has_kept_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name| folder.path().join(name);
        let mut disk = Disk::new(Tenant::Sqlite, folder.path(), &path("journal"), Honesty::Lying);
        fs::write(path("tollgate.db"), "new").expect("a file");
        fs::write(path("tollgate.yaml"), "none of its own").expect("a file");
        disk.cut(&mut Dice::new(1));
        assert!(!path("tollgate.db").exists() && path("tollgate.yaml").exists());
    }

    #[test]
    fn what_nobody_could_note_any_more_is_noted_afterwards() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name| folder.path().join(name);
        fs::write(path("tollgate.db"), "old and long").expect("a file");
        fs::write(path("tollgate.db-wal"), "").expect("a file");
        let disk = Disk::new(Tenant::Sqlite, folder.path(), &path("journal"), Honesty::Honest);
        fs::write(path("tollgate.db"), "new").expect("a file");
        fs::remove_file(path("tollgate.db-wal")).expect("a file");
        fs::write(path("tollgate.db-journal"), "there").expect("a file");
        disk.catch_up();
        disk.assert_told_everything();
    }
}
