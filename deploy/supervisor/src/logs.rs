//! Keeps the daemons' logs small: one that grew past a limit is copied aside and emptied.
//!
//! Copied, not renamed: a daemon holds its log open, outlives the supervisor, and cannot be told to open
//! another. It appends, so after emptying it writes on at the start. A line written between the end of the
//! copy and the emptying is lost; that is microseconds.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a log may grow to, about: as much as a container's.
const LIMIT: u64 = 10 << 20;
/// Older parts kept: `<daemon>.log.1` is the newest of them.
const KEPT: u32 = 2;
const LOOK: Duration = Duration::from_secs(60);

/// Looks at a folder's logs once a minute, for ever.
pub async fn watch(dir: &Path) {
    loop {
        if let Err(e) = look(dir, LIMIT) {
            eprintln!("cannot look at the logs in {}: {e}", dir.display());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Rotates each `*.log` of at least `limit` bytes; one that cannot be does not keep the others from it.
fn look(dir: &Path, limit: u64) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "log")
            && fs::metadata(&path)?.len() >= limit
            && let Err(e) = rotate(&path)
        {
            eprintln!("cannot rotate {}: {e}", path.display());
        }
    }
    Ok(())
}

fn rotate(log: &Path) -> io::Result<()> {
    let part = |n: u32| log.with_extension(format!("log.{n}"));
    // Copied before anything is moved: where it fails, nothing is lost.
    let copy = log.with_extension("log.new");
    put_aside(log, &copy, &part)?;
    for n in (1..KEPT).rev() {
        match fs::rename(part(n), part(n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::rename(&copy, part(1))?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

/// Copies a log. On a full disk its oldest parts make room.
fn put_aside(log: &Path, copy: &Path, part: &impl Fn(u32) -> PathBuf) -> io::Result<()> {
    for n in (0..=KEPT).rev() {
        match fs::copy(log, copy) {
            Ok(_) => return Ok(()),
            Err(e) => {
                // Half a copy, if any.
                let _ = fs::remove_file(copy);
                if n == 0 || e.kind() != io::ErrorKind::StorageFull {
                    return Err(e);
                }
            }
        }
        // It may not be there; then the next goes.
        let _ = fs::remove_file(part(n));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_is_put_aside_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        fs::write(dir.path().join("other.txt"), "not a log, and long").unwrap();
        let mut log = OpenOptions::new().create(true).append(true).open(dir.path().join("a.log")).unwrap();
        for round in ["first", "second", "third", "4th"] {
            writeln!(log, "{round}").unwrap();
            look(dir.path(), 4).unwrap();
        }
        assert_eq!(
            (at("a.log"), at("a.log.1"), at("a.log.2")),
            (String::new(), "4th\n".to_owned(), "third\n".to_owned())
        );
        assert!(!dir.path().join("a.log.3").exists());
        assert_eq!(at("other.txt"), "not a log, and long");
    }

    #[test]
    fn a_log_that_cannot_be_copied_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, text) in [("a.log", "now"), ("a.log.1", "one"), ("a.log.2", "two"), ("b.log", "other")] {
            fs::write(at(name), text).unwrap();
        }
        // A folder in the way of the copy.
        fs::create_dir_all(at("a.log.new/x")).unwrap();
        look(dir.path(), 1).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(
            (read("a.log"), read("a.log.1"), read("a.log.2")),
            ("now".into(), "one".into(), "two".into())
        );
        assert_eq!((read("b.log"), read("b.log.1")), (String::new(), "other".into()));
    }
}
