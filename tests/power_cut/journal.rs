//! A library to preload (`LD_PRELOAD`) into a program: notes what the program writes to its database and when it waits for
//! the disk, so that a test can work out what a power cut would leave. `tests/it/crash_matrix/disk.rs` compiles it and
//! reads what it notes.
//!
//! Each note is one append, which the operating system does not mix with others, and follows what it tells. So all that a
//! note of a finished sync covers is before the note that the sync began.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::mem::transmute;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// `RTLD_NEXT`: the function of that name that would have been called without this library.
const NEXT: *mut c_void = -1isize as *mut c_void;

macro_rules! next {
    ($name:literal as $signature:ty) => {{
        static ADDRESS: LazyLock<usize> = LazyLock::new(|| unsafe { dlsym(NEXT, $name.as_ptr()) } as usize);
        unsafe { transmute::<usize, $signature>(*ADDRESS) }
    }};
}

struct Journal {
    file: File,
    folder: PathBuf,
}

static JOURNAL: LazyLock<Option<Journal>> = LazyLock::new(|| {
    let path = std::env::var_os("POWER_CUT_JOURNAL")?;
    let folder = PathBuf::from(std::env::var_os("POWER_CUT_FOLDER")?);
    let file = OpenOptions::new().append(true).create(true).open(path).ok()?;
    Some(Journal { file, folder })
});

/// How many syncs this process has begun.
static SYNCS: AtomicU32 = AtomicU32::new(0);

impl Journal {
    /// The name of a file of the database, or `.` for the folder itself.
    fn name(&self, path: &Path) -> Option<Vec<u8>> {
        if path == self.folder {
            return Some(b".".to_vec());
        }
        let name = path.strip_prefix(&self.folder).ok()?.as_os_str().as_bytes();
        let is_ours = name.starts_with(b"tollgate.db") && !name.ends_with(b"-shm") && !name.ends_with(b".lock");
        is_ours.then(|| name.to_vec())
    }

    fn append(&self, kind: u8, number: u64, name: &[u8], data: &[u8]) {
        let mut note = vec![kind];
        note.extend(number.to_le_bytes());
        note.extend((name.len() as u32).to_le_bytes());
        note.extend((data.len() as u32).to_le_bytes());
        note.extend(name);
        note.extend(data);
        (&self.file).write_all(&note).expect("room for the journal");
    }
}

fn of(descriptor: c_int) -> Option<(&'static Journal, Vec<u8>)> {
    let journal = JOURNAL.as_ref()?;
    let path = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    Some((journal, journal.name(&path)?))
}

fn wrote(descriptor: c_int, offset: u64, data: *const c_void, written: isize) {
    let Ok(length) = usize::try_from(written) else { return };
    if let Some((journal, name)) = of(descriptor) {
        journal.append(b'W', offset, &name, unsafe { std::slice::from_raw_parts(data.cast(), length) });
    }
}

fn synced(descriptor: c_int, sync: impl FnOnce() -> c_int) -> c_int {
    let Some((journal, name)) = of(descriptor) else { return sync() };
    let number = u64::from(std::process::id()) << 32 | u64::from(SYNCS.fetch_add(1, Ordering::Relaxed));
    journal.append(b'B', number, &name, b"");
    let result = sync();
    if result == 0 {
        journal.append(b'E', number, &name, b"");
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(descriptor: c_int, data: *const c_void, length: usize, offset: i64) -> isize {
    let real = next!(c"pwrite64" as unsafe extern "C" fn(c_int, *const c_void, usize, i64) -> isize);
    let written = unsafe { real(descriptor, data, length, offset) };
    wrote(descriptor, offset as u64, data, written);
    written
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(descriptor: c_int, length: i64) -> c_int {
    let real = next!(c"ftruncate64" as unsafe extern "C" fn(c_int, i64) -> c_int);
    let result = unsafe { real(descriptor, length) };
    if let (0, Some((journal, name))) = (result, of(descriptor)) {
        journal.append(b'T', length as u64, &name, b"");
    }
    result
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    let real = next!(c"fsync" as unsafe extern "C" fn(c_int) -> c_int);
    synced(descriptor, || unsafe { real(descriptor) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    let real = next!(c"fdatasync" as unsafe extern "C" fn(c_int) -> c_int);
    synced(descriptor, || unsafe { real(descriptor) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let real = next!(c"unlink" as unsafe extern "C" fn(*const c_char) -> c_int);
    let result = unsafe { real(path) };
    if let (0, Some(journal)) = (result, JOURNAL.as_ref()) {
        let path = Path::new(std::ffi::OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
        if let Some(name) = journal.name(path) {
            journal.append(b'U', 0, &name, b"");
        }
    }
    result
}
