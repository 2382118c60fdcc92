//! The client's end of a SPDY connection.

use super::frame::{Encoder, Frame, FrameError, decode};
use crate::{Error, Io, upgrade};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

pub const UPGRADE: &str = "SPDY/3.1";
/// Where client and server agree on the protocol above SPDY.
pub const PROTOCOL: &str = "x-stream-protocol-version";

/// What the server says, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A stream was accepted.
    Opened(u32),
    Data(u32, Bytes),
    /// The server sends no more on a stream, or reset it.
    Ended(u32),
    /// To be answered with the same frame.
    Ping(u32),
    /// Nothing will be accepted any more; open streams go on.
    GoAway,
}

/// Reads what the server sends.
pub struct Reader<R> {
    io: R,
    buffer: BytesMut,
    ended: Option<u32>,
}

/// Writes to the server.
pub struct Writer<W> {
    io: W,
    encoder: Encoder,
    buffer: BytesMut,
    next: u32,
}

type Halves<T> = (Reader<ReadHalf<T>>, Writer<WriteHalf<T>>);

/// A connection with SPDY on it, and the protocol the server chose.
pub struct Connected {
    pub reader: Reader<ReadHalf<TokioIo<Upgraded>>>,
    pub writer: Writer<WriteHalf<TokioIo<Upgraded>>>,
    pub protocol: String,
}

/// The server's refusal to switch.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    /// At most 64 KiB.
    pub body: Bytes,
}

/// Splits a connection that already speaks SPDY.
pub fn halves<T: Io>(io: T) -> Halves<T> {
    let (r, w) = tokio::io::split(io);
    (
        Reader { io: r, buffer: BytesMut::new(), ended: None },
        Writer { io: w, encoder: Encoder::default(), buffer: BytesMut::new(), next: 1 },
    )
}

/// Asks for an upgrade to SPDY with one of `protocols` on top. `request` carries the method, path and headers
/// otherwise wanted.
///
/// # Errors
/// The outer one where the connection fails; the inner one where the server answers but does not switch.
pub async fn connect(
    io: impl Io,
    mut request: Request<()>,
    protocols: &[&str],
) -> Result<Result<Connected, Refused>, Error> {
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(UPGRADE));
    headers.remove(PROTOCOL);
    for protocol in protocols {
        if let Ok(value) = HeaderValue::from_str(protocol) {
            headers.append(PROTOCOL, value);
        }
    }
    let mut answer = upgrade::send(io, request.map(|()| Empty::<Bytes>::new())).await?;
    let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upgraded = |v: &HeaderValue| v.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("spdy/3.1"));
    if !switched {
        let limited = http_body_util::Limited::new(answer.body_mut(), 64 << 10);
        let body = limited.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
        return Ok(Err(Refused { status: answer.status(), body }));
    }
    if !answer.headers().get(header::UPGRADE).is_some_and(upgraded) {
        return Err(Error::Headers);
    }
    let chosen = answer.headers().get(PROTOCOL).and_then(|v| v.to_str().ok()).unwrap_or_default().trim();
    let protocol = chosen.to_owned();
    let (reader, writer) = halves(TokioIo::new(hyper::upgrade::on(&mut answer).await?));
    Ok(Ok(Connected { reader, writer, protocol }))
}

fn broken(error: FrameError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: tokio::io::AsyncRead + Unpin> Reader<R> {
    /// The next thing said; `None` once the server has closed.
    ///
    /// # Errors
    /// Where the connection breaks or is no SPDY. Safe to drop and call again.
    pub async fn next(&mut self) -> io::Result<Option<Incoming>> {
        if let Some(stream) = self.ended.take() {
            return Ok(Some(Incoming::Ended(stream)));
        }
        loop {
            while let Some(frame) = decode(&mut self.buffer).map_err(broken)? {
                if let Some(said) = self.take(frame) {
                    return Ok(Some(said));
                }
            }
            if self.buffer.capacity() - self.buffer.len() < 4096 {
                self.buffer.reserve(16 << 10);
            }
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Option<Incoming> {
        match frame {
            Frame::Data { stream, fin, bytes } if bytes.is_empty() => fin.then_some(Incoming::Ended(stream)),
            Frame::Data { stream, fin, bytes } => {
                self.ended = fin.then_some(stream);
                Some(Incoming::Data(stream, bytes))
            }
            Frame::SynReply { stream, fin } => {
                self.ended = fin.then_some(stream);
                Some(Incoming::Opened(stream))
            }
            Frame::Headers { stream, fin } => fin.then_some(Incoming::Ended(stream)),
            Frame::Reset { stream, .. } => Some(Incoming::Ended(stream)),
            // Odd ones answer pings of ours, and we send none.
            Frame::Ping { id } => (id % 2 == 0).then_some(Incoming::Ping(id)),
            Frame::GoAway { .. } => Some(Incoming::GoAway),
            Frame::SynStream { .. } | Frame::Settings | Frame::WindowUpdate { .. } => None,
        }
    }
}

impl<W: tokio::io::AsyncWrite + Unpin> Writer<W> {
    /// Opens a stream and answers its number.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn open(&mut self, headers: &[(&str, &str)]) -> io::Result<u32> {
        let stream = self.next;
        self.next += 2;
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.write(&Frame::SynStream { stream, fin: false, headers }).await?;
        Ok(stream)
    }

    /// # Errors
    /// Where the connection is gone.
    pub async fn write(&mut self, frame: &Frame) -> io::Result<()> {
        self.buffer.clear();
        self.encoder.encode(frame, &mut self.buffer);
        self.io.write_all(&self.buffer).await?;
        self.io.flush().await
    }

    /// Says goodbye; what fails does not matter any more.
    pub async fn close(mut self) {
        let _ = self.write(&Frame::GoAway { last: 0, status: 0 }).await;
        let _ = self.io.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_follow_their_data() {
        let (a, mut b) = tokio::io::duplex(1024);
        let (mut reader, mut writer) = halves(a);
        assert_eq!(writer.open(&[("streamtype", "error")]).await.unwrap(), 1);
        assert_eq!(writer.open(&[("streamtype", "stdin")]).await.unwrap(), 3);
        let (mut encoder, mut out) = (Encoder::default(), BytesMut::new());
        for frame in [
            Frame::SynReply { stream: 1, fin: false },
            Frame::Settings,
            Frame::Ping { id: 2 },
            Frame::Data { stream: 1, fin: true, bytes: Bytes::from_static(b"x") },
            Frame::Data { stream: 3, fin: true, bytes: Bytes::new() },
            Frame::Reset { stream: 5, status: 1 },
            Frame::GoAway { last: 0, status: 0 },
        ] {
            encoder.encode(&frame, &mut out);
        }
        b.write_all(&out).await.unwrap();
        drop(b);
        let mut said = Vec::new();
        while let Some(s) = reader.next().await.unwrap() {
            said.push(s);
        }
        use Incoming::{Data, Ended, GoAway, Opened, Ping};
        let want =
            [Opened(1), Ping(2), Data(1, Bytes::from_static(b"x")), Ended(1), Ended(3), Ended(5), GoAway];
        assert_eq!(said, want);
    }
}
