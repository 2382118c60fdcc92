//! Mounting and unmounting.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Mount points as `/proc/self/mountinfo` lists them, oldest first.
///
/// # Errors
/// Where the list cannot be read.
pub fn points() -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(text.lines().filter_map(|l| l.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p))).collect())
}

/// Undoes the octal escapes of the kernel's tables.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = bytes.get(i + 1..i + 4).filter(|d| bytes[i] == b'\\' && d.iter().all(u8::is_ascii_digit));
        match octal {
            Some(d) => {
                out.push(d.iter().fold(0_u8, |n, c| n.wrapping_mul(8).wrapping_add(c - b'0')));
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// # Errors
/// Where the list of mounts cannot be read.
pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(points()?.iter().any(|p| p == path))
}

/// Mounts a tmpfs. `size` in bytes, the kernel's default (half of memory) where absent.
///
/// # Errors
/// The kernel's.
pub fn tmpfs(at: &Path, size: Option<i64>) -> io::Result<()> {
    let options = size.map(|s| format!("size={s}"));
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), options.as_deref()).map_err(io::Error::from)
}

/// Shows `from` at `at`; `at` must exist.
///
/// # Errors
/// The kernel's.
pub fn bind(from: &Path, at: &Path) -> io::Result<()> {
    mount(Some(from), at, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(io::Error::from)
}

/// Unmounts, and detaches lazily what is busy. What is not mounted counts as unmounted.
///
/// # Errors
/// The kernel's.
pub fn unmount(at: &Path) -> io::Result<()> {
    match umount2(at, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(nix::errno::Errno::EBUSY) => {
            umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(io::Error::from)
        }
        Err(e) => Err(e.into()),
    }
}

/// Unmounts everything at or below `root`, newest first.
///
/// # Errors
/// The first that failed.
pub fn unmount_below(root: &Path) -> io::Result<()> {
    let below: Vec<PathBuf> = points()?.into_iter().filter(|p| p.starts_with(root)).collect();
    below.iter().rev().try_for_each(|p| unmount(p))
}

/// Removes a directory tree, unmounting first, so that nothing outside it is ever removed through a mount.
///
/// # Errors
/// Where something stays mounted or cannot be removed.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    unmount_below(root)?;
    if points()?.iter().any(|p| p.starts_with(root)) {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{} is still mounted", root.display()),
        ));
    }
    match fs::remove_dir_all(root) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("/a\\040b"), "/a b");
        assert_eq!(unescape("/a\\x"), "/a\\x");
        assert!(points().unwrap().contains(&PathBuf::from("/")));
    }
}
