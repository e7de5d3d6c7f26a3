//! A Unix socket that takes over its name, and gives up no other's.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process;

use tokio::net::UnixListener;

/// Who may connect to a Unix socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// Its owner.
    Owner,
    /// Its owner and its group.
    Group,
    /// Whoever can reach its directory.
    Everybody,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
            Self::Everybody => 0o666,
        }
    }
}

/// A listening socket and its file.
pub(super) struct Socket {
    /// Where connections arrive.
    listener: UnixListener,
    /// Its name in the file system.
    file: SocketFile,
}

impl Socket {
    /// Binds a temporary name beside `path`, sets its mode, and renames it into place: there is no moment at which the
    /// name is missing, or refers to a socket that is not ready.
    pub(super) fn bind(path: &Path, access: Access) -> io::Result<Self> {
        let mut temporary = path.to_owned().into_os_string();
        temporary.push(format!(".{}", process::id()));
        let temporary = PathBuf::from(temporary);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&temporary)?;
        let placed = fs::set_permissions(&temporary, Permissions::from_mode(access.mode()))
            .and_then(|()| fs::symlink_metadata(&temporary))
            .and_then(|metadata| fs::rename(&temporary, path).map(|()| metadata));
        match placed {
            Ok(metadata) => {
                let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
                Ok(Self { listener, file })
            }
            Err(error) => {
                // Best effort: the first error is the one to report.
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// Its name in the file system.
    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    /// The listener, and the file that goes with it.
    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// The file of a socket; removed when dropped, unless another process has put its own socket in its place.
pub(super) struct SocketFile {
    /// Where it is.
    path: PathBuf,
    /// Which file system it is in.
    device: u64,
    /// Which file of that it is.
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours {
            // Nobody is left to tell; a stale file is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_successor_takes_the_name_and_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authz.sock");
        let first = Socket::bind(&path, Access::Owner).expect("a socket");
        let mode = || fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        let second = Socket::bind(&path, Access::Group).expect("the same name again");
        assert_eq!(mode(), 0o660);
        drop(first);
        assert!(path.exists(), "the first one removed the file of the second");
        drop(second);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }
}
