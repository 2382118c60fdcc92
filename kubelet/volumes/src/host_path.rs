//! `hostPath`: the declared type against what is there.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks a host path, making what its type says may be made.
///
/// # Errors
/// In upstream's words.
pub fn check(path: &str, kind: &str) -> Result<(), String> {
    let at = Path::new(path);
    let meta = fs::metadata(at).ok();
    let failed = |what: &str| Err(format!("hostPath type check failed: {path} is not a {what}"));
    let is = |f: fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(f);
    let text = |e: std::io::Error| e.to_string();
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if meta.is_none() => {
            fs::create_dir_all(at).map_err(text)?;
            fs::set_permissions(at, fs::Permissions::from_mode(0o755)).map_err(text)
        }
        "Directory" | "DirectoryOrCreate" if !is(fs::Metadata::is_dir) => failed("directory"),
        "FileOrCreate" if meta.is_none() => {
            fs::write(at, "").map_err(text)?;
            fs::set_permissions(at, fs::Permissions::from_mode(0o644)).map_err(text)
        }
        "File" | "FileOrCreate" if !is(fs::Metadata::is_file) => failed("file"),
        "Socket" if !is(|m| m.file_type().is_socket()) => failed("socket file"),
        "CharDevice" if !is(|m| m.file_type().is_char_device()) => failed("character device"),
        "BlockDevice" if !is(|m| m.file_type().is_block_device()) => failed("block device"),
        "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" | "Socket" | "CharDevice"
        | "BlockDevice" => Ok(()),
        other => Err(format!("{other} is an invalid volume type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_hold() {
        let dir = tempfile::tempdir().unwrap();
        let path = |p: &str| dir.path().join(p).to_string_lossy().into_owned();
        assert_eq!(check(&path("d/e"), "DirectoryOrCreate"), Ok(()));
        assert_eq!(check(&path("f"), "FileOrCreate"), Ok(()));
        assert_eq!(check(&path("f"), "File"), Ok(()));
        let f = path("f");
        assert_eq!(
            check(&f, "Directory"),
            Err(format!("hostPath type check failed: {f} is not a directory"))
        );
        let none = path("none");
        assert_eq!(check(&none, "File"), Err(format!("hostPath type check failed: {none} is not a file")));
        assert_eq!(check("/dev/null", "CharDevice"), Ok(()));
        assert_eq!(check(&none, ""), Ok(()));
    }
}
