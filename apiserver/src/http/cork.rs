//! Writes of one wake-up, sent together.
//!
//! HTTP/2 flushes after every DATA frame, and below it TLS makes a record and a system call of every flush. A
//! connection with many streams (watches above all) then pays for each small frame alone. A [`Cork`] keeps
//! what a connection's task writes while it is polled, and [`together`] sends it when the poll ends.

use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is kept at most before it is sent in any case.
pub const KEEP: usize = 128 << 10;
/// Writes from here on gain nothing by being copied.
const LARGE: usize = 16 << 10;
/// Buffers at rest, ready for the next connection with something to send: growing one anew for each burst costs
/// more than the burst. An idle connection holds none.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const MOST_SPARE: usize = 8;

fn spare() -> Vec<u8> {
    SPARE.lock().pop().unwrap_or_else(|| Vec::with_capacity(KEEP))
}

fn put_back(mut buffer: Vec<u8>) {
    buffer.clear();
    let mut spare = SPARE.lock();
    if spare.len() < MOST_SPARE {
        spare.push(buffer);
    }
}

struct State<S> {
    stream: S,
    /// Without capacity while there is nothing to send.
    kept: Vec<u8>,
    /// How much of `kept` has been sent.
    sent: usize,
}

/// A stream whose flushes wait for [`together`].
pub struct Cork<S>(Arc<Mutex<State<S>>>);

/// The other end of a [`Cork`]: sends what it keeps.
pub struct Sender<S>(Arc<Mutex<State<S>>>);

impl<S> Cork<S> {
    pub fn new(stream: S) -> (Self, Sender<S>) {
        let state = Arc::new(Mutex::new(State { stream, kept: Vec::new(), sent: 0 }));
        (Self(state.clone()), Sender(state))
    }
}

impl<S: AsyncWrite + Unpin> State<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.kept.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.kept[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.sent = 0;
        if self.kept.capacity() > 0 {
            put_back(std::mem::take(&mut self.kept));
        }
        Poll::Ready(Ok(()))
    }

    fn keep(&mut self, buf: &[u8]) -> usize {
        let n = buf.len().min(KEEP.saturating_sub(self.kept.len()));
        if self.kept.capacity() == 0 {
            self.kept = spare();
        }
        self.kept.extend_from_slice(&buf[..n]);
        n
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cork<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cork<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        let total: usize = bufs.iter().map(|b| b.len()).sum();
        if state.kept.len() >= KEEP || (total >= LARGE && !state.kept.is_empty()) {
            ready!(state.poll_send(cx))?;
        }
        if total >= LARGE {
            return Pin::new(&mut state.stream).poll_write_vectored(cx, bufs);
        }
        let mut n = 0;
        for buf in bufs {
            let taken = state.keep(buf);
            n += taken;
            if taken < buf.len() {
                break;
            }
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done by [`together`], once for all that one poll wrote.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        ready!(state.poll_send(cx))?;
        Pin::new(&mut state.stream).poll_shutdown(cx)
    }
}

/// Runs a connection over a [`Cork`]; what it wrote is sent after one more poll, behind the tasks that are ready
/// now: the frames they are about to add go out in the same record.
///
/// # Errors
/// The connection's own. A stream that cannot be written to any more fails the connection's next write.
pub async fn together<C, S, E>(mut connection: Pin<&mut C>, sender: &Sender<S>) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
    S: AsyncWrite + Unpin,
{
    let mut waited = false;
    std::future::poll_fn(|cx| {
        let outcome = connection.as_mut().poll(cx);
        let mut state = sender.0.lock();
        if outcome.is_pending() && !state.kept.is_empty() && !waited {
            waited = true;
            // A task that wakes itself comes last in its runtime's queue.
            cx.waker().wake_by_ref();
            return outcome;
        }
        waited = false;
        if matches!(state.poll_send(cx), Poll::Ready(Ok(()))) {
            // Records TLS could not hand over at once; whatever is wrong with them shows at the next write.
            let _ = Pin::new(&mut state.stream).poll_flush(cx);
        }
        outcome
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn small_writes_arrive_together_and_in_order() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut cork, sender) = Cork::new(near);
        let mut want = Vec::new();
        for i in 0..100u8 {
            want.extend(vec![i; 100]);
        }
        want.extend(vec![200; 3 * LARGE]);
        want.extend(vec![201; 10]);
        let expected = want.clone();
        let connection = async move {
            for i in 0..100u8 {
                cork.write_all(&[i; 100]).await.unwrap();
                cork.flush().await.unwrap();
            }
            let mut first = [0; 1];
            // Nothing is sent before the poll ends.
            assert!(futures::poll!(Box::pin(far.read(&mut first))).is_pending());
            tokio::task::yield_now().await;
            cork.write_all(&vec![200; 3 * LARGE]).await.unwrap();
            cork.write_all(&[201; 10]).await.unwrap();
            cork.shutdown().await.unwrap();
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, expected);
            Ok::<_, io::Error>(())
        };
        together(std::pin::pin!(connection), &sender).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_peer_holds_the_writer_back() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut cork, sender) = Cork::new(near);
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.map(|_| got.len())
        });
        let connection = async move {
            for _ in 0..500 {
                cork.write_all(&[7; 1000]).await?;
            }
            cork.shutdown().await
        };
        together(std::pin::pin!(connection), &sender).await.unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 500_000);
    }
}
