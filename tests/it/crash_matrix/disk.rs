//! A disk whose power can be cut. `kill -9` leaves to the operating system what a process has written; a power cut does
//! not. So a library that is preloaded into the program (`tests/power_cut/journal.rs`) notes each write to the database and each
//! wait for the disk, and what may be on the disk afterwards is made from those notes: all that a finished wait covered,
//! and of the rest anything: each write whole, lost, or torn at the edges of sectors, in any order.
//!
//! What it does not simulate: disks that lie about having written, other than when a test asks for one, and disks that
//! damage what lies beside a write.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::LazyLock;

use tempfile::TempDir;
use tokio::process::Command;

use super::dice::Dice;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// The index of the log, which the first process after a power cut makes anew.
const INDEX: &str = "tollgate.db-shm";

/// The lock of the process that serves.
const LOCK: &str = "tollgate.db.lock";

/// What a journal says happened.
#[derive(Debug)]
enum Event {
    Written { offset: usize, data: Vec<u8> },
    Resized { length: usize },
    Removed,
    SyncBegan(u64),
    SyncEnded(u64),
}

/// Whether the disk keeps what it was waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Honesty {
    Honest,
    /// It says so at once, and writes nothing.
    Lying,
}

/// The files of a database by name, each with what is in it.
type Files = BTreeMap<String, Vec<u8>>;

/// The disk under the database of an installation.
pub struct Disk {
    folder: PathBuf,
    honesty: Honesty,
    /// What was there when the journal began.
    before: Files,
    /// How often somebody had waited for the disk when the power was cut.
    waits: usize,
}

impl Disk {
    /// The disk of a folder that holds no database yet.
    pub fn new(folder: &Path, honesty: Honesty) -> Self {
        Self { folder: folder.canonicalize().expect("a folder"), honesty, before: Files::new(), waits: 0 }
    }

    fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// Has a program note what it writes.
    pub fn watch(&self, program: &mut Command) {
        program.env("LD_PRELOAD", &*LIBRARY).env("POWER_CUT_JOURNAL", self.journal());
        program.env("POWER_CUT_FOLDER", &self.folder);
    }

    /// How often somebody has waited for the disk, up to the last power cut.
    pub fn waits(&self) -> usize {
        self.waits
    }

    /// Cuts the power, after every program has ended that writes there.
    pub fn cut(&mut self, dice: &mut Dice) {
        let events = self.events();
        self.waits += events.iter().filter(|(_, event)| matches!(event, Event::SyncEnded(_))).count();
        let files = self.left(&events, Some(dice));
        for name in self.on_disk().into_keys().chain(self.shared_memory()) {
            fs::remove_file(self.folder.join(name)).expect("a file");
        }
        for (name, content) in &files {
            fs::write(self.folder.join(name), content).expect("a file");
        }
        fs::remove_file(self.journal()).expect("a journal");
        self.before = files;
    }

    /// Fails if the journal does not tell all that was written. Nobody must be writing.
    #[track_caller]
    pub fn assert_told_everything(&self) {
        let told = self.left(&self.events(), None);
        for (name, content) in self.on_disk() {
            let same = told.get(&name).is_some_and(|told| *told == content);
            assert!(
                same,
                "{} bytes of {name}, and the journal knows {:?}",
                content.len(),
                told.get(&name).map(Vec::len)
            );
        }
    }

    /// What the operating system shows of the database.
    fn on_disk(&self) -> Files {
        let names = fs::read_dir(&self.folder).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        let ours = |name: &String| name.starts_with("tollgate.db") && ![INDEX, LOCK].contains(&name.as_str());
        names.filter(ours).map(|name| (name.clone(), fs::read(self.folder.join(name)).expect("a file"))).collect()
    }

    /// The index of the log, which the first process after a power cut makes anew.
    fn shared_memory(&self) -> Option<String> {
        let name = INDEX.to_owned();
        self.folder.join(&name).exists().then_some(name)
    }

    fn events(&self) -> Vec<(String, Event)> {
        match fs::read(self.journal()) {
            Ok(bytes) => parse(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("the journal: {error}"),
        }
    }

    /// What is left after a power cut; without one, if there are no dice.
    fn left(&self, events: &[(String, Event)], mut dice: Option<&mut Dice>) -> Files {
        if self.honesty == Honesty::Lying && dice.is_some() {
            return self.before.clone();
        }
        let safe = safe_until(events);
        let safe = |name: &str| safe.get(name).copied().unwrap_or_default();
        let (mut files, mut gone) = (self.before.clone(), HashSet::new());
        for (place, (name, event)) in events.iter().enumerate() {
            if gone.contains(name) {
                continue;
            }
            let fate = match &mut dice {
                Some(dice) if place >= safe(name) => Fate::draw(dice),
                Some(_) | None => Fate::Whole,
            };
            match event {
                Event::Written { offset, data } => {
                    if !files.contains_key(name) {
                        // A name is there for certain once the folder was waited for.
                        let Some(dice) = dice.as_mut().filter(|_| place >= safe(".")) else {
                            write(files.entry(name.clone()).or_default(), *offset, data, fate);
                            continue;
                        };
                        if dice.percent(50) {
                            gone.insert(name);
                            continue;
                        }
                    }
                    write(files.entry(name.clone()).or_default(), *offset, data, fate);
                }
                Event::Resized { length } if fate.is_kept() => {
                    if let Some(content) = files.get_mut(name) {
                        content.resize(*length, 0);
                    }
                }
                Event::Removed => {
                    if dice.as_mut().is_some_and(|dice| place >= safe(".") && dice.percent(50)) {
                        gone.insert(name); // it comes back, and what took its name is lost
                    } else {
                        files.remove(name);
                    }
                }
                Event::Resized { .. } | Event::SyncBegan(_) | Event::SyncEnded(_) => {}
            }
        }
        files
    }
}

/// What becomes of a write that nobody has waited for.
enum Fate {
    Whole,
    Lost,
    /// Each sector is there or not.
    Torn(Dice),
}

impl Fate {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(3) {
            0 => Self::Whole,
            1 => Self::Lost,
            _ => Self::Torn(dice.fork()),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

/// Writes as much as its fate says.
fn write(content: &mut Vec<u8>, offset: usize, data: &[u8], fate: Fate) {
    let mut put = |from: usize, to: usize| {
        content.resize(content.len().max(offset + to), 0);
        content[offset + from..offset + to].copy_from_slice(&data[from..to]);
    };
    match fate {
        Fate::Whole => put(0, data.len()),
        Fate::Lost => {}
        Fate::Torn(mut dice) => {
            let mut from = 0;
            while from < data.len() {
                let to = data.len().min(from + SECTOR - (offset + from) % SECTOR);
                if dice.percent(50) {
                    put(from, to);
                }
                from = to;
            }
        }
    }
}

/// For each file, and the folder, the place in the journal before which everything is on the disk: where the last sync
/// began that has ended.
fn safe_until(events: &[(String, Event)]) -> HashMap<&str, usize> {
    let ended = |(_, event): &(String, Event)| match event {
        Event::SyncEnded(number) => Some(*number),
        _ => None,
    };
    let ended: HashSet<_> = events.iter().filter_map(ended).collect();
    let mut safe = HashMap::new();
    for (place, (name, event)) in events.iter().enumerate() {
        if matches!(event, Event::SyncBegan(number) if ended.contains(number)) {
            safe.insert(name.as_str(), place);
        }
    }
    safe
}

/// Reads a journal, up to a note that was cut short.
fn parse(mut bytes: &[u8]) -> Vec<(String, Event)> {
    let mut events = Vec::new();
    while let Some((event, rest)) = parse_one(bytes) {
        events.push(event);
        bytes = rest;
    }
    events
}

fn parse_one(bytes: &[u8]) -> Option<((String, Event), &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let (data, rest) = rest.split_first_chunk()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).expect("32 bits");
    let (name, rest) = rest.split_at_checked(length(name))?;
    let (data, rest) = rest.split_at_checked(length(data))?;
    let number = u64::from_le_bytes(*number);
    let place = || usize::try_from(number).expect("64 bits");
    let event = match kind {
        b'W' => Event::Written { offset: place(), data: data.to_vec() },
        b'T' => Event::Resized { length: place() },
        b'U' => Event::Removed,
        b'B' => Event::SyncBegan(number),
        b'E' => Event::SyncEnded(number),
        other => panic!("the journal says {other}"),
    };
    Some(((String::from_utf8(name.to_vec()).expect("a name"), event), rest))
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
    library
});

#[cfg(test)]
mod tests {
    use super::{Dice, Disk, Event, Files, Honesty};

    fn written(offset: usize, byte: u8) -> (String, Event) {
        ("tollgate.db".to_owned(), Event::Written { offset, data: vec![byte; 1024] })
    }

    fn sync(name: &str, number: u64) -> [(String, Event); 2] {
        [(name.to_owned(), Event::SyncBegan(number)), (name.to_owned(), Event::SyncEnded(number))]
    }

    /// What is left of the file, in a hundred power cuts.
    fn left(disk: &Disk, events: &[(String, Event)]) -> Vec<Option<Vec<u8>>> {
        let one = |seed| disk.left(events, Some(&mut Dice::new(seed))).remove("tollgate.db");
        (0..100).map(one).collect()
    }

    #[test]
    fn what_was_waited_for_is_there_and_the_rest_is_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::new(folder.path(), Honesty::Honest);
        let mut events = vec![written(0, 1)];
        events.extend(sync("tollgate.db", 1));
        assert!(left(&disk, &events).contains(&None), "nobody has waited for the folder");
        events.extend(sync(".", 2));
        assert!(left(&disk, &events).iter().all(|file| *file == Some(vec![1; 1024])));

        events.push(written(0, 2));
        let torn = [vec![2; 512], vec![1; 512]].concat();
        for possible in [vec![1; 1024], vec![2; 1024], torn] {
            assert!(left(&disk, &events).contains(&Some(possible)));
        }
        let end = events.len();
        events.extend(sync("tollgate.db", 3));
        assert!(left(&disk, &events).iter().all(|file| *file == Some(vec![2; 1024])));
        events.truncate(end + 1); // the sync has begun
        assert!(left(&disk, &events).contains(&Some(vec![1; 1024])));

        disk.honesty = Honesty::Lying;
        disk.before = Files::from([("tollgate.db".to_owned(), vec![0; 1024])]);
        assert!(left(&disk, &events).iter().all(|file| *file == Some(vec![0; 1024])));
    }

    #[test]
    fn a_file_that_was_removed_may_come_back_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = Disk::new(folder.path(), Honesty::Honest);
        disk.before = Files::from([("tollgate.db".to_owned(), vec![0; 1024])]);
        let mut events = vec![("tollgate.db".to_owned(), Event::Removed)];
        assert!(left(&disk, &events).contains(&None));
        assert!(left(&disk, &events).contains(&Some(vec![0; 1024])));
        events.extend(sync(".", 1));
        assert!(left(&disk, &events).iter().all(Option::is_none));
    }
}
