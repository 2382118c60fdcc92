//! Files that change all at once: visible names point through `..data` into a directory named by time.

use crate::payload::{File, Files};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` show exactly `files`; whether anything changed. Readers see the old set or the new, never a mix.
/// `prepare` runs on the new directory before it becomes visible.
///
/// # Errors
/// Where a path leaves the volume, or the file system refuses.
pub fn write(
    dir: &Path,
    files: &Files,
    now: Timestamp,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<bool> {
    for path in files.keys() {
        check_path(path)?;
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if old.is_some() && same(&dir.join(DATA), files)? {
        return Ok(false);
    }
    let stamp = format!("..{}.{:09}", now.strftime("%Y_%m_%d_%H_%M_%S"), now.subsec_nanosecond());
    let fresh = dir.join(&stamp);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        write_file(&fresh, path, file)?;
    }
    prepare(&fresh)?;
    let temporary = dir.join(DATA_NEW);
    if temporary.symlink_metadata().is_ok() {
        fs::remove_file(&temporary)?;
    }
    symlink(&stamp, &temporary)?;
    fs::rename(&temporary, dir.join(DATA))?;
    let wanted: BTreeSet<&str> = files.keys().map(|p| first(p)).collect();
    for name in &wanted {
        let at = dir.join(name);
        if at.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), at)?;
        }
    }
    for entry in fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) {
            fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old.filter(|o| o != Path::new(&stamp)) {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

fn check_path(path: &str) -> io::Result<()> {
    let invalid =
        |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path: {why}: {path}")));
    let p = Path::new(path);
    if path.is_empty() {
        return invalid("must not be empty");
    }
    if p.is_absolute() {
        return invalid("must be relative path");
    }
    if p.components().any(|c| !matches!(c, Component::Normal(_))) {
        return invalid("must not contain '..'");
    }
    if path.starts_with("..") {
        return invalid("must not start with '..'");
    }
    Ok(())
}

fn write_file(root: &Path, path: &str, file: &File) -> io::Result<()> {
    let at = root.join(path);
    if let Some(parent) = at.parent().filter(|p| *p != root) {
        fs::create_dir_all(parent)?;
    }
    fs::write(&at, &file.data)?;
    // Explicitly, because the umask took its part when the file was made.
    fs::set_permissions(&at, fs::Permissions::from_mode(file.mode))?;
    match file.owner {
        Some(uid) => chown(&at, Some(uid), None),
        None => Ok(()),
    }
}

/// Whether the directory shows these files already: names and contents. Modes never change in a pod's life.
fn same(data: &Path, files: &Files) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    list(data, "", &mut found)?;
    if found.len() != files.len() {
        return Ok(false);
    }
    for (path, file) in files {
        if !found.contains(path) || fs::read(data.join(path))? != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(dir: &Path, prefix: &str, out: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{path}/"), out)?;
        } else {
            out.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        text.split_whitespace()
            .map(|p| p.split_once('=').unwrap())
            .map(|(k, v)| (k.to_owned(), File { data: v.into(), mode: 0o640, owner: None }))
            .collect()
    }

    #[test]
    fn sets_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |s| Timestamp::from_second(s).unwrap();
        let put = |text: &str, s| write(dir.path(), &files(text), at(s), |_| Ok(())).unwrap();
        let read = |p: &str| fs::read_to_string(dir.path().join(p)).ok();
        assert!(put("a=1 d/b=2", 1));
        assert!(!put("a=1 d/b=2", 2));
        assert_eq!((read("a").as_deref(), read("d/b").as_deref()), (Some("1"), Some("2")));
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(put("c=3", 3));
        assert_eq!((read("a"), read("c").as_deref()), (None, Some("3")));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(put("", 4));
        assert_eq!(read("c"), None);
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["../x=1", "/x=1", "a/../../x=1", "..x=1"] {
            assert!(write(dir.path(), &files(path), Timestamp::UNIX_EPOCH, |_| Ok(())).is_err(), "{path}");
        }
    }
}
