//! What is in a folder, and what becomes of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use super::super::dice::Dice;
use super::notes::Note;
use super::{Role, Tenant};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// A file or a folder, by its place in [`Image::nodes`]. Inodes are used again, these are not.
type Id = usize;

#[derive(Clone, Debug)]
struct Node {
    inode: u64,
    /// `None` for a folder.
    content: Option<Vec<u8>>,
}

/// What is in a folder: names, and what is behind each; the folder itself has the empty name.
#[derive(Clone, Debug)]
pub struct Image {
    names: BTreeMap<String, Id>,
    /// Those too that have no name, or none yet.
    nodes: Vec<Node>,
}

/// Of how many notes how many are lost, or torn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    pub notes: usize,
    pub lost: usize,
}

/// What a note says was done.
enum Deed<'n> {
    Written {
        file: Id,
        offset: usize,
        data: &'n [u8],
    },
    Resized {
        file: Id,
        length: usize,
    },
    Extended {
        file: Id,
        length: usize,
    },
    Named(Entry<'n>),
    /// A wait that has ended began here; without a file or folder, one for everything.
    Synced(Option<Id>),
}

/// A change of names: what had one of them, or none, has the other, or none.
struct Entry<'n> {
    node: Id,
    from: Option<&'n str>,
    to: Option<&'n str>,
    /// The folders of these names.
    folders: Vec<Id>,
}

impl<'n> Entry<'n> {
    fn names(&self) -> impl Iterator<Item = &'n str> {
        self.from.into_iter().chain(self.to)
    }
}

impl Image {
    /// Reads what the operating system shows.
    pub fn read(folder: &Path, tenant: Tenant) -> Self {
        let mut image = Self { names: BTreeMap::new(), nodes: Vec::new() };
        image.enter(folder, "", tenant);
        image
    }

    fn enter(&mut self, path: &Path, name: &str, tenant: Tenant) {
        if tenant.role(name) != Role::State {
            return;
        }
        let metadata = path.metadata().expect("what is behind a name");
        let content = (!metadata.is_dir()).then(|| fs::read(path).expect("a file"));
        self.name_new(name, Node { inode: metadata.ino(), content });
        if metadata.is_dir() {
            for entry in path.read_dir().expect("a folder") {
                let entry = entry.expect("an entry").file_name().into_string().expect("a name");
                let name = if name.is_empty() { entry.clone() } else { format!("{name}/{entry}") };
                self.enter(&path.join(entry), &name, tenant);
            }
        }
    }

    fn name_new(&mut self, name: &str, node: Node) -> Id {
        self.nodes.push(node);
        self.names.insert(name.to_owned(), self.nodes.len() - 1);
        self.nodes.len() - 1
    }

    /// Makes a folder be so.
    pub fn write(&self, folder: &Path, tenant: Tenant) {
        let owner = folder.metadata().expect("a folder");
        self.clear(folder, "", tenant);
        for (name, id) in &self.names {
            let path = folder.join(name);
            let is_new = !path.exists();
            match &self.nodes[*id].content {
                None if is_new => fs::create_dir(&path).expect("a folder"),
                Some(content) if is_new || fs::read(&path).expect("a file") != *content => {
                    fs::write(&path, content).expect("a file");
                }
                None | Some(_) => {}
            }
            if is_new {
                chown(&path, Some(owner.uid()), Some(owner.gid())).expect("whoever may write it");
            }
        }
    }

    /// Removes what is not in the image from a folder.
    fn clear(&self, path: &Path, name: &str, tenant: Tenant) {
        let is_folder = path.is_dir();
        if is_folder {
            for entry in path.read_dir().expect("a folder") {
                let entry = entry.expect("an entry").file_name().into_string().expect("a name");
                let name = if name.is_empty() { entry.clone() } else { format!("{name}/{entry}") };
                self.clear(&path.join(entry), &name, tenant);
            }
        }
        let goes = match tenant.role(name) {
            Role::State => !self.names.contains_key(name),
            Role::Scratch => true,
            Role::Foreign => false,
        };
        if goes && is_folder {
            fs::remove_dir(path).expect("an empty folder");
        } else if goes {
            fs::remove_file(path).expect("a file");
        }
    }

    /// Fails if another image is not the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let names = |image: &Self| image.names.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other));
        for (name, id) in &self.names {
            let (told, shown) = (&self.nodes[*id].content, &other.nodes[other.names[name]].content);
            let length = |content: &Option<Vec<u8>>| content.as_ref().map(Vec::len);
            assert_eq!(length(told), length(shown), "{name}");
            let first = told.iter().flatten().zip(shown.iter().flatten()).position(|(told, shown)| told != shown);
            assert_eq!(first, None, "{name} is another from there on");
        }
    }

    /// What leads from it to another image.
    pub fn notes_to<'i>(&'i self, other: &'i Self) -> Vec<Note<'i>> {
        let gone = self.names.keys().filter(|name| !other.names.contains_key(*name));
        let mut notes: Vec<_> = gone.map(|name| Note::Removed { name }).collect();
        for (name, id) in &other.names {
            let Node { inode, content: Some(data) } = &other.nodes[*id] else { continue };
            let known = self.names.get(name).and_then(|id| self.nodes[*id].content.as_ref());
            if known != Some(data) {
                let (inode, length) = (*inode, data.len());
                notes.push(Note::Opened { inode, name });
                notes.push(Note::Resized { inode, length });
                notes.push(Note::Written { inode, offset: 0, data });
            }
        }
        notes
    }

    /// What is left of it after what was noted, if the power is cut then, and how much is lost of that; without dice, if it
    /// is not cut.
    pub fn after(mut self, notes: &[Note], tenant: Tenant, mut dice: Option<&mut Dice>) -> (Self, Loss) {
        let deeds = self.follow(notes, tenant);
        let safe = Safe::find(&deeds, self.nodes.len());
        let certain = safe.names(&deeds, tenant);
        let mut loss = Loss { notes: notes.len(), lost: 0 };
        // The names that changes were lost of.
        let mut lost = HashSet::new();
        for (place, deed) in deeds.iter().enumerate() {
            let mut fate = |file: Id| {
                let fate = match &mut dice {
                    Some(dice) if place >= safe.until(file) => Fate::draw(dice),
                    Some(_) | None => Fate::Whole,
                };
                loss.lost += usize::from(!fate.is_kept());
                fate
            };
            match deed {
                Deed::Written { file, offset, data } => write(self.content(*file), *offset, data, fate(*file)),
                Deed::Resized { file, length } if fate(*file).is_kept() => self.content(*file).resize(*length, 0),
                Deed::Extended { file, length } if fate(*file).is_kept() => {
                    let content = self.content(*file);
                    content.resize(content.len().max(*length), 0);
                }
                Deed::Named(entry) => {
                    let dice = dice.as_mut().filter(|_| !certain.contains(&place));
                    if dice.is_some_and(|dice| entry.names().any(|name| lost.contains(name)) || dice.percent(50)) {
                        lost.extend(entry.names());
                        loss.lost += 1;
                    } else {
                        apply(&mut self.names, entry);
                    }
                }
                Deed::Resized { .. } | Deed::Extended { .. } | Deed::Synced(_) => {}
            }
        }
        (self, loss)
    }

    fn content(&mut self, file: Id) -> &mut Vec<u8> {
        self.nodes[file].content.as_mut().expect("a folder has no content")
    }

    /// Finds out whom each note is about, and makes room for what is new. Of what is behind a name that does not count
    /// nothing is told.
    fn follow<'n>(&mut self, notes: &[Note<'n>], tenant: Tenant) -> Vec<Deed<'n>> {
        let ended = |note: &Note| if let Note::SyncEnded { number } = note { Some(*number) } else { None };
        let ended: HashSet<_> = notes.iter().filter_map(ended).collect();
        let mut names = self.names.clone();
        let mut ids: HashMap<_, _> = names.values().map(|id| (self.nodes[*id].inode, *id)).collect();
        let mut deeds = Vec::new();
        for note in notes {
            let deed = match *note {
                Note::Written { inode, offset, data } => {
                    ids.get(&inode).map(|file| Deed::Written { file: *file, offset, data })
                }
                Note::Resized { inode, length } => ids.get(&inode).map(|file| Deed::Resized { file: *file, length }),
                Note::Extended { inode, length } => ids.get(&inode).map(|file| Deed::Extended { file: *file, length }),
                Note::Opened { inode, name } | Note::FolderMade { inode, name } => {
                    let content = matches!(note, Note::Opened { .. }).then(Vec::new);
                    if tenant.role(name) != Role::State {
                        ids.remove(&inode);
                        None
                    } else if names.get(name).is_some_and(|id| self.nodes[*id].inode == inode) {
                        None // it was there before
                    } else {
                        self.nodes.push(Node { inode, content });
                        let id = self.nodes.len() - 1;
                        ids.insert(inode, id);
                        Some(entry(&names, id, None, Some(name)))
                    }
                }
                Note::Linked { from, to } => names.get(from).map(|id| entry(&names, *id, None, Some(to))),
                Note::Renamed { from, to } => {
                    let id = names.get(from).copied();
                    assert!(id.is_some() || tenant.role(to) != Role::State, "the journal does not know {from}");
                    id.map(|id| entry(&names, id, Some(from), Some(to)))
                }
                Note::Removed { name } => names.get(name).map(|id| entry(&names, *id, Some(name), None)),
                Note::SyncBegan { number, .. } if !ended.contains(&number) => None,
                Note::SyncBegan { inode: None, .. } => Some(Deed::Synced(None)),
                Note::SyncBegan { inode: Some(inode), .. } => ids.get(&inode).map(|id| Deed::Synced(Some(*id))),
                Note::SyncEnded { .. } => None,
            };
            if let Some(Deed::Named(entry)) = &deed {
                apply(&mut names, entry);
            }
            deeds.extend(deed);
        }
        deeds
    }
}

fn entry<'n>(names: &BTreeMap<String, Id>, node: Id, from: Option<&'n str>, to: Option<&'n str>) -> Deed<'n> {
    let folder = |name: &str| names[name.rsplit_once('/').map_or("", |(folder, _)| folder)];
    Deed::Named(Entry { node, from, to, folders: from.into_iter().chain(to).map(folder).collect() })
}

fn apply(names: &mut BTreeMap<String, Id>, entry: &Entry) {
    if let Some(from) = entry.from {
        names.remove(from);
    }
    if let Some(to) = entry.to {
        names.insert(to.to_owned(), entry.node);
    }
}

/// For each file and folder, the place among the deeds before which everything is on the disk: where the last wait for it
/// began that has ended.
struct Safe(Vec<usize>);

impl Safe {
    fn find(deeds: &[Deed], nodes: usize) -> Self {
        let mut safe = vec![0; nodes];
        for (place, deed) in deeds.iter().enumerate() {
            match deed {
                Deed::Synced(Some(id)) => safe[*id] = place,
                Deed::Synced(None) => safe.fill(place),
                Deed::Written { .. } | Deed::Resized { .. } | Deed::Extended { .. } | Deed::Named(_) => {}
            }
        }
        Self(safe)
    }

    fn until(&self, id: Id) -> usize {
        self.0[id]
    }

    /// The places of those changes of names that are on the disk: somebody has waited for their folders, or a later change
    /// of the same name is there.
    fn names(&self, deeds: &[Deed], tenant: Tenant) -> HashSet<usize> {
        let (mut certain, mut names) = (HashSet::new(), HashSet::new());
        for (place, deed) in deeds.iter().enumerate().rev() {
            let Deed::Named(entry) = deed else { continue };
            let is_new = entry.from.is_none() && tenant.names_new_files_with_their_content();
            if entry.folders.iter().all(|folder| place < self.until(*folder))
                || (is_new && place < self.until(entry.node))
                || entry.names().any(|name| names.contains(name))
            {
                certain.insert(place);
                names.extend(entry.names());
            }
        }
        certain
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

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Dice, Image, Node, Note, Tenant};

    const FOLDER: u64 = 1;
    const FILE: u64 = 2;
    const NAME: &str = "tollgate.db";
    const CREATED: Note = Note::Opened { inode: FILE, name: NAME };

    fn empty() -> Image {
        let nodes = vec![Node { inode: FOLDER, content: None }];
        Image { names: BTreeMap::from([(String::new(), 0)]), nodes }
    }

    /// With one file in it.
    fn full() -> Image {
        let mut image = empty();
        image.name_new(NAME, Node { inode: FILE, content: Some(vec![0; 1024]) });
        image
    }

    fn written(data: &[u8; 1024]) -> Note<'_> {
        Note::Written { inode: FILE, offset: 0, data }
    }

    fn sync(inode: Option<u64>, number: u64) -> [Note<'static>; 2] {
        [Note::SyncBegan { inode, number }, Note::SyncEnded { number }]
    }

    /// What may be left of a file.
    fn left_as(tenant: Tenant, name: &str, before: &Image, notes: &[Note]) -> Vec<Option<Vec<u8>>> {
        let one = |seed| {
            let (left, _) = before.clone().after(notes, tenant, Some(&mut Dice::new(seed)));
            left.names.get(name).and_then(|id| left.nodes[*id].content.clone())
        };
        (0..200).map(one).collect()
    }

    fn left(before: &Image, notes: &[Note]) -> Vec<Option<Vec<u8>>> {
        left_as(Tenant::Sqlite, NAME, before, notes)
    }

    #[test]
    fn what_was_waited_for_is_there_and_the_rest_is_anything() {
        let mut notes = vec![CREATED, written(&[1; 1024])];
        notes.extend(sync(Some(FILE), 1));
        assert!(left(&empty(), &notes).contains(&None), "nobody has waited for the folder");
        let on_postgres = left_as(Tenant::Postgres, NAME, &empty(), &notes);
        assert!(on_postgres.iter().all(|file| *file == Some(vec![1; 1024])), "the file is new");
        notes.extend(sync(Some(FOLDER), 2));
        assert!(left(&empty(), &notes).iter().all(|file| *file == Some(vec![1; 1024])));

        notes.push(written(&[2; 1024]));
        let torn = [vec![2; 512], vec![1; 512]].concat();
        for possible in [vec![1; 1024], vec![2; 1024], torn] {
            assert!(left(&empty(), &notes).contains(&Some(possible)));
        }
        let end = notes.len();
        notes.extend(sync(None, 3)); // for everything
        assert!(left(&empty(), &notes).iter().all(|file| *file == Some(vec![2; 1024])));
        notes.truncate(end + 1); // it has begun
        assert!(left(&empty(), &notes).contains(&Some(vec![1; 1024])));
    }

    #[test]
    fn a_length_is_content() {
        let notes = [Note::Resized { inode: FILE, length: 512 }, Note::Extended { inode: FILE, length: 1024 }];
        let lengths: Vec<_> = left(&full(), &notes).into_iter().flatten().map(|content| content.len()).collect();
        assert!(lengths.contains(&512) && lengths.contains(&1024));
        let notes = [&notes[..1], &sync(Some(FILE), 1)].concat();
        assert!(left(&full(), &notes).iter().all(|file| *file == Some(vec![0; 512])));
    }

    #[test]
    fn a_file_that_was_removed_may_come_back_as_it_was() {
        let mut notes = vec![Note::Removed { name: NAME }];
        assert!(left(&full(), &notes).contains(&None));
        assert!(left(&full(), &notes).contains(&Some(vec![0; 1024])));
        notes.extend([CREATED, written(&[1; 1024])]); // another one, which has got the same inode
        notes.extend(sync(Some(FILE), 1));
        for possible in [None, Some(vec![0; 1024]), Some(vec![1; 1024])] {
            assert!(left(&full(), &notes).contains(&possible));
        }
        notes.extend(sync(Some(FOLDER), 2));
        assert!(left(&full(), &notes).iter().all(|file| *file == Some(vec![1; 1024])));
    }

    #[test]
    fn a_name_leads_to_what_it_led_to_or_to_what_took_it() {
        let created = Note::Opened { inode: 3, name: "tollgate.db-new" };
        let data = Note::Written { inode: 3, offset: 0, data: &[1; 1024] };
        let mut notes = vec![created, data];
        notes.extend(sync(Some(3), 1));
        notes.push(Note::Renamed { from: "tollgate.db-new", to: NAME });
        for possible in [vec![0; 1024], vec![1; 1024]] {
            assert!(left(&full(), &notes).contains(&Some(possible)));
        }
        assert!(left(&full(), &notes).iter().all(Option::is_some));
        notes.extend(sync(Some(FOLDER), 2));
        assert!(left(&full(), &notes).iter().all(|file| *file == Some(vec![1; 1024])));
        assert!(left_as(Tenant::Sqlite, "tollgate.db-new", &full(), &notes).iter().all(Option::is_none));
    }
}
