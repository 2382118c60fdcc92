//! The folders themselves. Every step may be repeated.

use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes a volume's folder, open to whoever the pod runs as.
pub fn make(root: &Path, name: &str) -> Result<()> {
    let folder = below(root, name)?;
    fs::create_dir_all(root)?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o711))?;
    match fs::create_dir(&folder) {
        Ok(()) => {}
        // Made by an attempt that got no further.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.symlink_metadata()?.is_dir() => {}
        Err(e) => return Err(e),
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))
}

/// Removes a volume's folder with all that is in it. Links are removed, never followed.
pub fn remove(root: &Path, name: &str) -> Result<()> {
    match fs::remove_dir_all(below(root, name)?) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The folder of a name, which must be a single step below the root.
fn below(root: &Path, name: &str) -> Result<std::path::PathBuf> {
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        return Err(Error::new(ErrorKind::InvalidInput, format!("{name:?} is no folder's name")));
    }
    Ok(root.join(name))
}
