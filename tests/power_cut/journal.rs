//! A library to preload (`LD_PRELOAD`) into a program: notes what the program, or any process that it forks, does to files
//! and when it waits for the disk, so that a test can work out what a power cut would leave.
//! `tests/it/crash_matrix/disk.rs` compiles it and reads what it notes.
//!
//! Each note is one append, which the operating system does not mix with others, and follows what it tells. So all that a
//! note of a finished sync covers is before the note that the sync began. Files are told apart by their inodes: several
//! names may lead to one, and processes go on writing to what has no name any more.
//!
//! It is called in the middle of everything, in signal handlers even: about what is no file it asks the operating system
//! once, and does nothing else.

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::fs::{File, Metadata};
use std::mem::{ManuallyDrop, transmute};
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn lseek(descriptor: c_int, offset: i64, whence: c_int) -> i64;
    fn writev(descriptor: c_int, parts: *const Part, count: c_int) -> isize;
}

/// `RTLD_NEXT`: the function of that name that would have been called without this library.
const NEXT: *mut c_void = -1isize as *mut c_void;

// As on x86-64 and on aarch64.
const O_WRONLY: c_int = 0o1;
const O_CREAT: c_int = 0o100;
const O_TRUNC: c_int = 0o1000;
const O_APPEND: c_int = 0o2000;
const O_CLOEXEC: c_int = 0o2000000;
const SEEK_CUR: c_int = 1;

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Part {
    start: *const c_void,
    length: usize,
}

impl Part {
    fn of(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr().cast(), length: bytes.len() }
    }
}

macro_rules! next {
    ($name:ident as $signature:ty) => {{
        static ADDRESS: LazyLock<usize> =
            LazyLock::new(|| unsafe { dlsym(NEXT, concat!(stringify!($name), "\0").as_ptr().cast()) } as usize);
        unsafe { transmute::<usize, $signature>(*ADDRESS) }
    }};
}

/// Functions in the place of others that do the same under several names: they call those, and then tell of it.
macro_rules! instead_of {
    ($name:ident($($argument:ident: $type:ty),+) -> $result:ty, |$outcome:ident| $tell:expr) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),+) -> $result {
            let real = next!($name as unsafe extern "C" fn($($type),+) -> $result);
            let $outcome = unsafe { real($($argument),+) };
            $tell;
            $outcome
        }
    };
    ($name:ident $($others:ident)+ $arguments:tt -> $result:ty, |$outcome:ident| $tell:expr) => {
        instead_of!($name $arguments -> $result, |$outcome| $tell);
        instead_of!($($others)+ $arguments -> $result, |$outcome| $tell);
    };
}

struct Journal {
    descriptor: c_int,
    folder: PathBuf,
    /// The file system of the folder.
    device: u64,
}

static JOURNAL: LazyLock<Option<Journal>> = LazyLock::new(|| {
    let path = std::env::var_os("POWER_CUT_JOURNAL")?;
    let folder = PathBuf::from(std::env::var_os("POWER_CUT_FOLDER")?);
    let device = folder.metadata().ok()?.dev();
    let path = [path.as_bytes(), b"\0"].concat();
    let open = next!(open as unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
    let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    let descriptor = unsafe { open(path.as_ptr().cast(), flags, 0o600 as c_uint) };
    assert!(descriptor >= 0, "a journal");
    Some(Journal { descriptor, folder, device })
});

/// How many syncs this process has begun.
static SYNCS: AtomicU32 = AtomicU32::new(0);

impl Journal {
    /// The name of what is in the folder.
    fn name(&self, path: *const c_char) -> Option<Vec<u8>> {
        let path = OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes());
        let path = std::path::absolute(path).ok()?;
        Some(path.strip_prefix(&self.folder).ok()?.as_os_str().as_bytes().to_vec())
    }

    fn append(&self, kind: u8, inode: u64, number: u64, name: &[u8], data: &[Part]) {
        let length: usize = data.iter().map(|part| part.length).sum();
        let mut head = vec![kind];
        head.extend(inode.to_le_bytes());
        head.extend(number.to_le_bytes());
        head.extend((name.len() as u32).to_le_bytes());
        head.extend((length as u32).to_le_bytes());
        head.extend(name);
        let parts = [&[Part::of(&head)], data].concat();
        let appended = unsafe { writev(self.descriptor, parts.as_ptr(), parts.len() as c_int) };
        assert_eq!(appended, (head.len() + length) as isize, "room for the journal");
    }
}

/// The journal, and what is open there, if that may be a file or a folder that it tells of.
fn of(descriptor: c_int) -> Option<(&'static Journal, Metadata)> {
    let journal = JOURNAL.as_ref()?;
    let metadata = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) }).metadata().ok()?;
    let counts = metadata.dev() == journal.device && (metadata.is_file() || metadata.is_dir());
    counts.then_some((journal, metadata))
}

/// Tells of as much of the data as was written.
fn wrote(descriptor: c_int, offset: Option<i64>, data: &[Part], written: isize) {
    const STANDARD_STREAMS: c_int = 3;
    let Ok(mut left) = usize::try_from(written) else { return };
    if descriptor < STANDARD_STREAMS {
        return;
    }
    let Some((journal, metadata)) = of(descriptor) else { return };
    let start = offset.unwrap_or_else(|| unsafe { lseek(descriptor, 0, SEEK_CUR) } - written as i64);
    let mut told = Vec::new();
    for part in data {
        let length = part.length.min(left);
        left -= length;
        told.push(Part { length, ..*part });
    }
    journal.append(b'W', metadata.ino(), start as u64, b"", &told);
}

/// Tells that a file has got a length, or at least that length.
fn resized(kind: u8, descriptor: c_int, length: i64, result: c_int) {
    if let (0, Some((journal, metadata))) = (result, of(descriptor)) {
        journal.append(kind, metadata.ino(), length as u64, b"", &[]);
    }
}

fn opened(path: *const c_char, flags: c_int, descriptor: c_int) {
    if descriptor < 0 || flags & (O_CREAT | O_TRUNC) == 0 {
        return;
    }
    let Some((journal, metadata)) = of(descriptor) else { return };
    let Some(name) = journal.name(path) else { return };
    if flags & O_CREAT != 0 {
        journal.append(b'C', metadata.ino(), 0, &name, &[]);
    }
    if flags & O_TRUNC != 0 {
        journal.append(b'T', metadata.ino(), 0, b"", &[]);
    }
}

/// Tells of one name, and what is behind it if that is new.
fn named(kind: u8, path: *const c_char, result: c_int) {
    let (0, Some(journal)) = (result, JOURNAL.as_ref()) else { return };
    let Some(name) = journal.name(path) else { return };
    let inode = journal.folder.join(OsStr::from_bytes(&name)).metadata().map_or(0, |metadata| metadata.ino());
    journal.append(kind, inode, 0, &name, &[]);
}

/// Tells of two names.
fn moved(kind: u8, from: *const c_char, to: *const c_char, result: c_int) {
    let (0, Some(journal)) = (result, JOURNAL.as_ref()) else { return };
    if let (Some(from), Some(to)) = (journal.name(from), journal.name(to)) {
        journal.append(kind, 0, 0, &from, &[Part::of(&to)]);
    }
}

fn synced(descriptor: c_int, everything: bool, sync: impl FnOnce() -> c_int) -> c_int {
    let Some((journal, metadata)) = of(descriptor) else { return sync() };
    let inode = if everything { 0 } else { metadata.ino() };
    let number = u64::from(std::process::id()) << 32 | u64::from(SYNCS.fetch_add(1, Ordering::Relaxed));
    journal.append(b'B', inode, number, b"", &[]);
    let result = sync();
    if result == 0 {
        journal.append(b'E', inode, number, b"", &[]);
    }
    result
}

instead_of!(write(descriptor: c_int, data: *const c_void, length: usize) -> isize, |written| {
    wrote(descriptor, None, &[Part { start: data, length }], written)
});

instead_of!(pwrite pwrite64(descriptor: c_int, data: *const c_void, length: usize, offset: i64) -> isize, |written| {
    wrote(descriptor, Some(offset), &[Part { start: data, length }], written)
});

instead_of!(pwritev pwritev64(descriptor: c_int, parts: *const Part, count: c_int, offset: i64) -> isize, |written| {
    wrote(descriptor, Some(offset), unsafe { std::slice::from_raw_parts(parts, count as usize) }, written)
});

instead_of!(ftruncate ftruncate64(descriptor: c_int, length: i64) -> c_int, |result| {
    resized(b'T', descriptor, length, result)
});

instead_of!(posix_fallocate posix_fallocate64(descriptor: c_int, offset: i64, length: i64) -> c_int, |result| {
    resized(b'A', descriptor, offset + length, result)
});

instead_of!(truncate truncate64(path: *const c_char, length: i64) -> c_int, |result| {
    if let (0, Some(journal)) = (result, JOURNAL.as_ref())
        && let Some(name) = journal.name(path)
        && let Ok(metadata) = journal.folder.join(OsStr::from_bytes(&name)).metadata()
    {
        journal.append(b'T', metadata.ino(), length as u64, b"", &[]);
    }
});

instead_of!(unlink rmdir(path: *const c_char) -> c_int, |result| named(b'U', path, result));
instead_of!(mkdir(path: *const c_char, mode: c_uint) -> c_int, |result| named(b'D', path, result));
instead_of!(rename(from: *const c_char, to: *const c_char) -> c_int, |result| moved(b'R', from, to, result));
instead_of!(link(from: *const c_char, to: *const c_char) -> c_int, |result| moved(b'L', from, to, result));

/// `open` may leave out the mode, which then is whatever is in the register, and is not looked at.
macro_rules! open {
    ($($name:ident)+) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
            let real = next!($name as unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int);
            let descriptor = unsafe { real(path, flags, mode) };
            opened(path, flags, descriptor);
            descriptor
        }
    )+};
}

open!(open open64);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    let real = next!(fsync as unsafe extern "C" fn(c_int) -> c_int);
    synced(descriptor, false, || unsafe { real(descriptor) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    let real = next!(fdatasync as unsafe extern "C" fn(c_int) -> c_int);
    synced(descriptor, false, || unsafe { real(descriptor) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn syncfs(descriptor: c_int) -> c_int {
    let real = next!(syncfs as unsafe extern "C" fn(c_int) -> c_int);
    synced(descriptor, true, || unsafe { real(descriptor) })
}
