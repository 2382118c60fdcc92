//! Sub-paths of volumes, opened so that no symbolic link made in a container leads out of the volume.

use gantry_kubelet_host::mount;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};

/// Opens `path` below `root` as an anchor (`O_PATH`); links are followed as long as they stay below.
fn open_beneath(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let text = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let c = CString::new(text.as_os_str().as_bytes())?;
    // SAFETY: an open_how of zeroes is the documented neutral value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    let size = std::mem::size_of::<libc::open_how>();
    // SAFETY: the descriptor is open, the path is a valid C string, and `how` lives through the call with its
    // true size given.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, root.as_raw_fd(), c.as_ptr(), &raw mut how, size) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn make_dir(parent: &OwnedFd, name: &std::ffi::OsStr, mode: u32) -> io::Result<()> {
    // Through the descriptor, so that a parent replaced meanwhile does not matter.
    let at = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    match fs::create_dir(&at) {
        Ok(()) => fs::set_permissions(&at, fs::Permissions::from_mode(mode)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Opens a sub-path, making missing directories with the volume's own mode.
fn open_or_make(volume: &Path, sub: &Path) -> io::Result<OwnedFd> {
    let root: OwnedFd = fs::File::open(volume)?.into();
    match open_beneath(&root, sub) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let meta = fs::metadata(volume)?;
    let mode = meta.mode() & 0o7777;
    let mut at = root.try_clone()?;
    let mut walked = std::path::PathBuf::new();
    for part in sub.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "must not contain '..'"));
        };
        walked.push(name);
        at = match open_beneath(&root, &walked) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_dir(&at, name, mode)?;
                open_beneath(&root, &walked)?
            }
            Err(e) => return Err(e),
        };
    }
    Ok(at)
}

/// Shows `sub` of `volume` at `target` by a bind mount, and answers whether it was mounted anew.
///
/// # Errors
/// Where the sub-path leads out of the volume or cannot be made or mounted.
pub fn bind(volume: &Path, sub: &str, target: &Path) -> io::Result<bool> {
    if Path::new(sub).is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "must not be an absolute path"));
    }
    let source = open_or_make(volume, Path::new(sub))?;
    let through = Path::new("/proc/self/fd").join(source.as_raw_fd().to_string());
    let meta = fs::metadata(&through)?;
    if mount::is_mount_point(target)? {
        let there = fs::metadata(target)?;
        if (there.dev(), there.ino()) == (meta.dev(), meta.ino()) {
            return Ok(false);
        }
        mount::unmount(target)?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if meta.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mount::bind(&through, target)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_may_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        fs::create_dir_all(volume.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        std::os::unix::fs::symlink("in", volume.join("ok")).unwrap();
        let opens = |p: &str| open_or_make(&volume, Path::new(p)).is_ok();
        assert!(opens("in") && opens("ok") && opens("new/deep"));
        assert!(volume.join("new/deep").is_dir());
        assert!(!opens("out") && !opens("out/x") && !opens("../v") && !opens("ok/../../v"));
    }
}
