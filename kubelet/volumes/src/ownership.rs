//! `fsGroup`: a volume's files belong to a group and are open to it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// Gives a tree to the group: readable (and writable unless `read_only`), directories enterable and set-gid.
///
/// # Errors
/// Where something cannot be changed.
pub fn apply(root: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(root)?;
    lchown(root, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(root)? {
            apply(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}

/// Whether the top of the tree is as [`apply`] leaves it, for `fsGroupChangePolicy: OnRootMismatch`.
///
/// # Errors
/// Where it cannot be looked at.
pub fn matches(root: &Path, group: u32, read_only: bool) -> io::Result<bool> {
    let meta = fs::metadata(root)?;
    let needed = 0o2110 | if read_only { 0o440 } else { 0o660 };
    Ok(meta.gid() == group && meta.permissions().mode() & needed == needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_opens_to_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let gid = fs::metadata(dir.path()).unwrap().gid();
        let file = dir.path().join("f");
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        apply(dir.path(), gid, true).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
        assert!(matches(dir.path(), gid, true).unwrap());
    }
}
