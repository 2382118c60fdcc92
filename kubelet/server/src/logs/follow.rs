//! Sending a log, and what is added to it while its container runs.

use super::line::{Emitter, Flow};
use super::{Options, tail};
use bytes::{Buf, Bytes, BytesMut};
use gantry_kubelet_host::watch::DirWatch;
use gantry_stream::{Body, BoxError};
use http_body_util::{BodyExt, StreamBody};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// Chunks on their way to the connection.
const WAITING: usize = 4;
const READ: usize = 32 << 10;
/// A line may be this long; runtimes cut theirs at 16 KiB.
const LONGEST: usize = 1 << 20;
/// How long silence lasts before we look whether the container is still there. Only while somebody follows.
const LOOK: Duration = Duration::from_secs(1);

/// A log file and its container.
pub struct Source {
    pub path: PathBuf,
    /// Whether the container still runs. Answers from memory.
    pub running: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Opens the log and answers a body that carries it.
///
/// # Errors
/// In upstream's words, where the file cannot be opened or searched.
pub async fn stream(source: Source, options: Options) -> Result<Body, String> {
    let path = tokio::fs::canonicalize(&source.path)
        .await
        .map_err(|e| format!("failed to try resolving symlinks in path {:?}: {e}", source.path))?;
    let (opened, lines) = (path.clone(), options.tail);
    let file = tokio::task::spawn_blocking(move || open(&opened, lines))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| format!("failed to open log file {path:?}: {e}"))?;
    let (to, from) = mpsc::channel(WAITING);
    let pump = Pump { path, source, emitter: Emitter::new(&options), follow: options.follow, to };
    tokio::spawn(pump.run(tokio::fs::File::from_std(file)));
    let frames = futures::stream::unfold(from, |mut from| async move {
        let bytes: Bytes = from.recv().await?;
        Some((Ok::<_, BoxError>(http_body::Frame::data(bytes)), from))
    });
    Ok(StreamBody::new(frames).boxed_unsync())
}

fn open(path: &Path, lines: Option<u64>) -> io::Result<File> {
    let mut file = File::open(path)?;
    if let Some(lines) = lines {
        let start = tail::start(&file, lines)?;
        file.seek(SeekFrom::Start(start))?;
    }
    Ok(file)
}

struct Pump {
    path: PathBuf,
    source: Source,
    emitter: Emitter,
    follow: bool,
    to: mpsc::Sender<Bytes>,
}

impl Pump {
    async fn run(mut self, mut file: tokio::fs::File) {
        file.set_max_buf_size(READ);
        let mut buffer = BytesMut::with_capacity(READ);
        let mut watch: Option<DirWatch> = None;
        let mut last_look = false;
        while !self.emitter.done() {
            buffer.reserve(READ);
            match file.read_buf(&mut buffer).await {
                Ok(0) => {}
                Ok(_) => {
                    if !self.emit(&mut buffer).await {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    return tracing::warn!(%error, path = %self.path.display(), "failed to read log");
                }
            }
            if !self.follow {
                // What is left has no newline.
                let mut out = BytesMut::new();
                if !buffer.is_empty() {
                    self.emitter.line(&buffer, &mut out);
                    let _ = self.to.send(out.freeze()).await;
                }
                return;
            }
            if let Some(next) = self.rotated(&file).await {
                (file, last_look) = (next, false);
                buffer.clear();
                continue;
            }
            if last_look {
                return;
            }
            if watch.is_none() {
                watch = self.path.parent().and_then(|dir| DirWatch::of_writes(dir).ok());
                // Something may have come before the watch stood.
                if watch.is_some() {
                    continue;
                }
            }
            if !(self.source.running)() {
                last_look = true;
                continue;
            }
            let changed = async {
                match &mut watch {
                    Some(w) => drop(w.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.to.closed() => return,
                () = changed => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Sends the whole lines in the buffer; false where nothing more is wanted.
    async fn emit(&mut self, buffer: &mut BytesMut) -> bool {
        let mut out = BytesMut::with_capacity(buffer.len());
        let (mut flow, mut used) = (Flow::Continue, 0);
        while flow == Flow::Continue
            && let Some(end) = memchr::memchr(b'\n', &buffer[used..])
        {
            flow = self.emitter.line(&buffer[used..=used + end], &mut out);
            used += end + 1;
        }
        buffer.advance(used);
        if buffer.len() > LONGEST {
            buffer.clear();
        }
        let sent = out.is_empty() || self.to.send(out.freeze()).await.is_ok();
        sent && flow == Flow::Continue
    }

    /// The file now under the name, where it is another one: the runtime has opened a new one after a rotation.
    async fn rotated(&self, file: &tokio::fs::File) -> Option<tokio::fs::File> {
        let (old, new) = (file.metadata().await.ok()?, tokio::fs::metadata(&self.path).await.ok()?);
        if (old.dev(), old.ino()) == (new.dev(), new.ino()) {
            return None;
        }
        tokio::fs::File::open(&self.path).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Log {
        dir: tempfile::TempDir,
        running: Arc<AtomicBool>,
    }

    impl Log {
        fn new(text: &str) -> Self {
            let log = Self { dir: tempfile::tempdir().unwrap(), running: Arc::new(AtomicBool::new(true)) };
            log.append(text);
            log
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("0.log")
        }

        fn append(&self, text: &str) {
            let mut file = File::options().create(true).append(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        async fn read(&self, query: &str) -> Body {
            let options = Options::parse(&Query::parse(query), jiff::Timestamp::now()).unwrap();
            let running = self.running.clone();
            let running = Box::new(move || running.load(Ordering::SeqCst));
            stream(Source { path: self.path(), running }, options).await.unwrap()
        }
    }

    async fn next(body: &mut Body) -> String {
        let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.unwrap();
        frame.map_or_else(String::new, |f| {
            String::from_utf8(f.unwrap().into_data().unwrap().to_vec()).unwrap()
        })
    }

    fn line(text: &str) -> String {
        format!("2026-01-01T00:00:00Z stdout F {text}\n")
    }

    #[tokio::test]
    async fn whole_logs_and_their_ends() {
        let log = Log::new(&(line("a") + &line("b") + "2026-01-01T00:00:00Z stdout F c"));
        for (query, want) in
            [("", "a\nb\nc"), ("tailLines=2", "b\nc"), ("tailLines=0", ""), ("limitBytes=3", "a\nb")]
        {
            let body = log.read(query).await.collect().await.unwrap().to_bytes();
            assert_eq!(String::from_utf8_lossy(&body), want, "{query}");
        }
    }

    #[tokio::test]
    async fn followed_logs_grow_rotate_and_end() {
        let log = Log::new(&(line("a") + &line("b")));
        let mut body = log.read("follow=true&tailLines=1").await;
        assert_eq!(next(&mut body).await, "b\n");
        // A line in two writes comes whole.
        let text = line("c");
        log.append(&text[..10]);
        log.append(&text[10..]);
        assert_eq!(next(&mut body).await, "c\n");
        std::fs::rename(log.path(), log.dir.path().join("0.log.1")).unwrap();
        log.append(&line("d"));
        assert_eq!(next(&mut body).await, "d\n");
        log.append(&line("e"));
        log.running.store(false, Ordering::SeqCst);
        assert_eq!(next(&mut body).await, "e\n");
        assert_eq!(next(&mut body).await, "");
    }

    #[tokio::test]
    async fn followers_may_leave() {
        let log = Log::new(&line("a"));
        let running = Arc::downgrade(&log.running);
        let mut body = log.read("follow=true").await;
        assert_eq!(next(&mut body).await, "a\n");
        drop(body);
        tokio::time::sleep(Duration::from_millis(200)).await;
        // The pump held the other reference.
        assert_eq!(running.strong_count(), 1);
    }

    #[tokio::test]
    async fn a_missing_file_is_told() {
        let log = Log::new("");
        std::fs::remove_file(log.path()).unwrap();
        let options = Options::parse(&Query::parse(""), jiff::Timestamp::now()).unwrap();
        let error =
            stream(Source { path: log.path(), running: Box::new(|| true) }, options).await.err().unwrap();
        assert!(error.starts_with("failed to try resolving symlinks in path"), "{error}");
    }
}
