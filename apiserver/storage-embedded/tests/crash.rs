//! Killed in the middle of writing, the store keeps what it acknowledged and repeats no revision. Disk full,
//! it refuses cleanly and keeps reading.
//!
//! The test starts its own binary as the process that is killed: `child` does nothing unless told to.

use bytes::Bytes;
use gantry_storage::{Expect, Op, RangeRequest, Store, StoreError, Txn, TxnOutcome, prefix_end};
use gantry_storage_embedded::EmbeddedStore;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

fn create(key: String, size: usize) -> Txn {
    Txn { key, expect: Expect::Absent, op: Op::Put { value: Bytes::from(vec![b'v'; size]), ttl: None } }
}

/// Writes from several tasks and prints each acknowledged key with its revision, until killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(path) = std::env::var("GANTRY_CRASH_CHILD") else { return };
    let round = std::env::var("GANTRY_CRASH_ROUND").unwrap();
    let store = Arc::new(EmbeddedStore::open(&path).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for w in 0..8 {
        let (store, round) = (store.clone(), round.clone());
        tasks.spawn(async move {
            for i in 0.. {
                let key = format!("/k/{round}/{w}/{i}");
                match store.txn(create(key.clone(), 300 + i % 5000)).await {
                    Ok(TxnOutcome::Committed { revision }) => {
                        writeln!(std::io::stdout(), "ack {key} {revision}.").unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    let mut newest = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env("GANTRY_CRASH_CHILD", &path)
            .env("GANTRY_CRASH_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines.by_ref().map_while(Result::ok) {
            let Some((key, revision)) = acknowledgement(&line) else { continue };
            assert!(revision > newest, "revision {revision} came again after {newest}");
            let index: usize = key.rsplit('/').next().unwrap().parse().unwrap();
            acknowledged.insert(key, revision);
            if index > 30 + 17 * round {
                break;
            }
        }
        child.kill().unwrap();
        // What was printed before the end counts too.
        acknowledged.extend(lines.map_while(Result::ok).filter_map(|line| acknowledgement(&line)));
        child.wait().unwrap();
        newest = check(&path, &acknowledged).await;
    }
    assert!(acknowledged.len() > 500, "{}", acknowledged.len());
}

/// The key and revision of a whole line `ack <key> <revision>.`; the last line may be cut short.
fn acknowledgement(line: &str) -> Option<(String, u64)> {
    let (key, revision) = line.split_once("ack ")?.1.split_once(' ')?;
    Some((key.to_owned(), revision.strip_suffix('.')?.parse().ok()?))
}

async fn check(path: &Path, acknowledged: &HashMap<String, u64>) -> u64 {
    let store = EmbeddedStore::open(path).unwrap();
    let request = RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), ..RangeRequest::default() };
    let all = store.range(request).await.unwrap();
    let found: HashMap<String, u64> =
        all.kvs.iter().map(|kv| (kv.key.to_string(), kv.mod_revision)).collect();
    for (key, revision) in acknowledged {
        assert_eq!(found.get(key), Some(revision), "{key} was acknowledged");
    }
    store.current_revision().await.unwrap()
}

/// Fills the disk (a limit on the size of files) and reports what it met.
#[tokio::test]
async fn full_child() {
    let Ok(path) = std::env::var("GANTRY_FULL_CHILD") else { return };
    let store = EmbeddedStore::open(&path).unwrap();
    let mut written = 0;
    let error = loop {
        match store.txn(create(format!("/k/{written}"), 100_000)).await {
            Ok(TxnOutcome::Committed { .. }) => written += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        assert!(written < 1000, "the limit does not hold");
    };
    assert!(matches!(error, StoreError::Failed(_)), "{error:?}");
    assert!(store.healthy().await.is_err());
    // Once more, after the pause between two attempts.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let _ = store.txn(create("/again".into(), 300_000)).await;
    let request = RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), ..RangeRequest::default() };
    let kept = store.range(request).await.map(|r| r.kvs.len());
    // With room again the same store goes on.
    let room = ["--fsize=unlimited", "--pid", &std::process::id().to_string()].map(str::to_owned);
    assert!(Command::new("prlimit").args(room).status().unwrap().success());
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let outcome = store.txn(create("/room".into(), 300_000)).await;
    assert!(matches!(outcome, Ok(TxnOutcome::Committed { .. })), "{outcome:?}");
    assert!(store.healthy().await.is_ok());
    println!("full {written} {kept:?}");
}

#[tokio::test]
async fn a_full_disk_is_refused_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    // 16 MiB in units of 512 bytes; without the signal, writes beyond it fail with an error.
    let script = "trap '' XFSZ; ulimit -S -f 32768; exec \"$0\" --exact full_child --nocapture";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("GANTRY_FULL_CHILD", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find(|l| l.contains("full ")).unwrap();
    let words: Vec<&str> = line.split("full ").nth(1).unwrap().split(' ').collect();
    let written: usize = words[0].parse().unwrap();
    assert!(written > 20, "{line}");
    assert_eq!(words[1], format!("Ok({written})"), "reads go on: {line}");
    // Opened anew, everything acknowledged is there and writes work.
    let store = EmbeddedStore::open(&path).unwrap();
    let request = RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), ..RangeRequest::default() };
    assert!(store.range(request).await.unwrap().kvs.len() >= written);
    let outcome = store.txn(create("/more".into(), 500_000)).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Committed { .. }));
}

/// A power cut in the middle of a write leaves part of it. It was not acknowledged, is not taken in, and does
/// not keep the store from opening.
#[tokio::test]
async fn a_torn_write_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = EmbeddedStore::open(&path).unwrap();
    for i in 0..20 {
        store.txn(create(format!("/k/{i:02}"), 5000)).await.unwrap();
    }
    // What is on disk while the store runs: the twenty are in the log.
    let log = std::fs::read(dir.path().join("store.db-wal")).unwrap();
    for (torn, from_end) in [(100, 10), (100, 3000), (2000, 5000)] {
        let copy = dir.path().join(format!("{from_end}.db"));
        std::fs::copy(&path, &copy).unwrap();
        let mut log = log.clone();
        let at = log.len() - from_end;
        log[at..(at + torn).min(from_end + at)].fill(0);
        std::fs::write(dir.path().join(format!("{from_end}.db-wal")), log).unwrap();
        let store = EmbeddedStore::open(&copy).unwrap();
        let revision = store.current_revision().await.unwrap();
        let last = store.txn(create("/k/19".into(), 100)).await.unwrap();
        assert_eq!(last, TxnOutcome::Committed { revision: revision + 1 }, "the torn one is gone");
        let request = RangeRequest { start: "/k/".into(), end: prefix_end("/k/"), ..RangeRequest::default() };
        assert_eq!(store.range(request).await.unwrap().kvs.len(), 20, "the others stay");
    }
}

#[tokio::test]
async fn a_second_store_on_the_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = EmbeddedStore::open(&path).unwrap();
    assert!(
        matches!(EmbeddedStore::open(&path), Err(StoreError::Unavailable(why)) if why.contains("in use"))
    );
    store.txn(create("/k".into(), 10)).await.unwrap();
    drop(store);
    assert_eq!(EmbeddedStore::open(&path).unwrap().get("/k").await.unwrap().1, 2);
}
