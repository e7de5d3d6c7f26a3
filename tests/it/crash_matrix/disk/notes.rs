//! What the library that is preloaded into a database has noted.

/// A note. A file or a folder is its inode; names are relative to the folder of the database.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    Written {
        inode: u64,
        offset: usize,
        data: &'a [u8],
    },
    /// It has this length now.
    Resized {
        inode: u64,
        length: usize,
    },
    /// It has this length at least, with zeros at its end.
    Extended {
        inode: u64,
        length: usize,
    },
    /// It was opened and would have been created, or was.
    Opened {
        inode: u64,
        name: &'a str,
    },
    FolderMade {
        inode: u64,
        name: &'a str,
    },
    Linked {
        from: &'a str,
        to: &'a str,
    },
    Renamed {
        from: &'a str,
        to: &'a str,
    },
    Removed {
        name: &'a str,
    },
    /// A wait for what is behind an inode; without one, for everything.
    SyncBegan {
        inode: Option<u64>,
        number: u64,
    },
    SyncEnded {
        number: u64,
    },
}

impl Note<'_> {
    /// As it stands in a journal.
    pub fn to_bytes(self) -> Vec<u8> {
        let number = |place: usize| u64::try_from(place).expect("64 bits");
        let (kind, inode, number, name, data) = match self {
            Self::Written { inode, offset, data } => (b'W', inode, number(offset), "", data),
            Self::Resized { inode, length } => (b'T', inode, number(length), "", &b""[..]),
            Self::Extended { inode, length } => (b'A', inode, number(length), "", &b""[..]),
            Self::Opened { inode, name } => (b'C', inode, 0, name, &b""[..]),
            Self::FolderMade { inode, name } => (b'D', inode, 0, name, &b""[..]),
            Self::Linked { from, to } => (b'L', 0, 0, from, to.as_bytes()),
            Self::Renamed { from, to } => (b'R', 0, 0, from, to.as_bytes()),
            Self::Removed { name } => (b'U', 0, 0, name, &b""[..]),
            Self::SyncBegan { inode, number } => (b'B', inode.unwrap_or(0), number, "", &b""[..]),
            Self::SyncEnded { number } => (b'E', 0, number, "", &b""[..]),
        };
        let length = |length: usize| u32::try_from(length).expect("32 bits").to_le_bytes();
        let numbers = [[kind].as_slice(), &inode.to_le_bytes(), &number.to_le_bytes()].concat();
        [&numbers, length(name.len()).as_slice(), &length(data.len()), name.as_bytes(), data].concat()
    }
}

/// Reads a journal, up to a note that was cut short.
pub fn parse(mut bytes: &[u8]) -> Vec<Note<'_>> {
    let mut notes = Vec::new();
    while let Some((note, rest)) = parse_one(bytes) {
        notes.push(note);
        bytes = rest;
    }
    notes
}

fn parse_one(bytes: &[u8]) -> Option<(Note<'_>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (inode, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let (data, rest) = rest.split_first_chunk()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).expect("32 bits");
    let (name, rest) = rest.split_at_checked(length(name))?;
    let (data, rest) = rest.split_at_checked(length(data))?;
    let (inode, number) = (u64::from_le_bytes(*inode), u64::from_le_bytes(*number));
    let place = || usize::try_from(number).expect("64 bits");
    let text = |bytes| std::str::from_utf8(bytes).expect("a name");
    let name = text(name);
    let note = match kind {
        b'W' => Note::Written { inode, offset: place(), data },
        b'T' => Note::Resized { inode, length: place() },
        b'A' => Note::Extended { inode, length: place() },
        b'C' => Note::Opened { inode, name },
        b'D' => Note::FolderMade { inode, name },
        b'L' => Note::Linked { from: name, to: text(data) },
        b'R' => Note::Renamed { from: name, to: text(data) },
        b'U' => Note::Removed { name },
        b'B' => Note::SyncBegan { inode: (inode != 0).then_some(inode), number },
        b'E' => Note::SyncEnded { number },
        other => panic!("the journal says {other}"),
    };
    Some((note, rest))
}
