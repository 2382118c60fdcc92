//! Waiting for a directory to change, without polling it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// An inotify watch on one directory.
pub struct DirWatch(AsyncFd<OwnedFd>);

impl DirWatch {
    /// Watches entries appearing, vanishing and being written. Needs a runtime around it.
    ///
    /// # Errors
    /// Where the directory does not exist or the kernel refuses.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Self::with(dir, libc::IN_CLOSE_WRITE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM | libc::IN_DELETE)
    }

    /// Watches files of a directory being appended to as well, and new ones appearing.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_writes(dir: &Path) -> io::Result<Self> {
        Self::with(dir, libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_MOVED_FROM)
    }

    fn with(dir: &Path, mask: u32) -> io::Result<Self> {
        // SAFETY: takes flags only; the result is checked before it becomes an owned descriptor.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = CString::new(dir.as_os_str().as_bytes())?;
        // SAFETY: the descriptor is an open inotify one and the path a valid C string for the call.
        if unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), mask) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is owned by the result and nothing closes or replaces it while registered.
        Ok(Self(unsafe { AsyncFd::register(fd)? }))
    }

    /// Resolves once something changed; several changes at once count as one.
    ///
    /// # Errors
    /// Where the watch is broken.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let mut guard = self.0.readable().await?;
            let read = guard.try_io(|fd| {
                // SAFETY: the buffer is valid for its length and the descriptor is open.
                let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
                usize::try_from(n).map_err(|_| io::Error::last_os_error())
            });
            match read {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(e)) => return Err(e),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_file_wakes() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = DirWatch::new(dir.path()).unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), watch.changed()).await.unwrap().unwrap();
    }
}
