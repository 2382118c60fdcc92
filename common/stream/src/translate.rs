//! Remote commands from a WebSocket of protocol 5 onto a SPDY connection to the kubelet or runtime.

use crate::channel::{self, Channel, Said};
use crate::remote::{self, Options, Status};
use crate::spdy::{self, Frame, Incoming, Refused};
use crate::{Error, Io, websocket};
use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use http::Request;
use hyper::upgrade::OnUpgrade;
use std::future::Future;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::{self, Message};

/// Newest first, as upstream offers them.
const PROTOCOLS: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// What may come on the error stream.
const MAX_ERROR: usize = 64 << 10;
/// Data frames waiting for the backend.
const WAITING: usize = 4;

/// The numbers of the streams of a command.
#[derive(Clone, Copy, Debug, Default)]
struct Streams {
    error: u32,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

/// Serves the WebSocket on `client` until the command ends or either side goes away. `connect` dials the
/// backend, which `request` is then sent to (as POST). What goes wrong is told on the error channel.
pub async fn run<I: Io>(
    client: OnUpgrade,
    connect: impl Future<Output = Result<I, Error>>,
    request: Request<()>,
    options: Options,
) {
    let upgraded = match client.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "the client left before its WebSocket opened"),
    };
    let (mut to_client, from_client) = websocket::open(upgraded).await.split();
    // Tells the client that the stream stands.
    let first = match options {
        Options { stdout: true, .. } => Channel::Stdout,
        Options { stderr: true, .. } => Channel::Stderr,
        _ => Channel::Error,
    };
    if to_client.send(message(first, b"")).await.is_err() {
        return;
    }
    let status = match open(connect, request).await {
        Err(status) => Some(status),
        Ok(spdy::Connected { reader, writer, protocol }) => {
            command(reader, writer, &protocol, &mut to_client, from_client, options).await
        }
    };
    // The client may be gone; then nobody wants to know.
    if let Some(status) = status {
        let _ = to_client.send(message(Channel::Error, &status.to_json())).await;
    }
    let _ = to_client.send(websocket::goodbye()).await;
    let _ = to_client.close().await;
}

fn message(channel: Channel, bytes: &[u8]) -> Message {
    Message::Binary(channel::write(channel, bytes))
}

async fn open<I: Io>(
    connect: impl Future<Output = Result<I, Error>>,
    mut request: Request<()>,
) -> Result<spdy::Connected, Status> {
    *request.method_mut() = http::Method::POST;
    let io = connect.await.map_err(Status::internal)?;
    spdy::connect(io, request, &PROTOCOLS).await.map_err(Status::internal)?.map_err(|r| refusal(&r))
}

/// A backend's answer other than the switch: its own `Status` where it is one.
fn refusal(refused: &Refused) -> Status {
    match serde_json::from_slice::<Status>(&refused.body) {
        Ok(status) if !status.status.is_empty() => status,
        _ => {
            let text = String::from_utf8_lossy(&refused.body);
            Status::internal(format!("unable to upgrade connection: {text}"))
        }
    }
}

/// `None` where the client went away.
async fn command<R, W, S, F>(
    mut reader: spdy::Reader<R>,
    mut writer: spdy::Writer<W>,
    protocol: &str,
    to_client: &mut S,
    from_client: F,
    options: Options,
) -> Option<Status>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Sink<Message> + Unpin,
    F: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    let (typed, resizable) = match protocol {
        "v5.channel.k8s.io" | "v4.channel.k8s.io" => (true, true),
        "v3.channel.k8s.io" => (false, true),
        _ => (false, false),
    };
    let streams = match streams(&mut writer, options, resizable).await {
        Ok(streams) => streams,
        Err(error) => return Some(Status::internal(error)),
    };
    let ended = relay(&mut reader, &mut writer, streams, to_client, from_client).await;
    // A backend that does not read must not hold us up.
    let _ = tokio::time::timeout(Duration::from_secs(1), writer.close()).await;
    let message = ended?;
    Some(remote::outcome(&message, typed))
}

/// Runs both directions; answers as [`output`].
async fn relay<R, W, S, F>(
    reader: &mut spdy::Reader<R>,
    writer: &mut spdy::Writer<W>,
    streams: Streams,
    to_client: &mut S,
    from_client: F,
) -> Option<BytesMut>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    S: Sink<Message> + Unpin,
    F: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    let (data, waiting) = mpsc::channel(WAITING);
    let (control, urgent) = mpsc::channel(16);
    let (opened, ready) = oneshot::channel();
    let client = async {
        // Whoever waits in vain waits for a backend that is gone.
        let _ = ready.await;
        input(from_client, streams, data).await;
    };
    let mut client = std::pin::pin!(client);
    let mut writing = std::pin::pin!(write(writer, waiting, urgent));
    let mut output = std::pin::pin!(output(reader, to_client, streams, control, opened));
    let mut written = false;
    loop {
        tokio::select! {
            ended = &mut output => return ended,
            () = &mut client => return None,
            () = &mut writing, if !written => written = true,
        }
    }
}

async fn streams<W: AsyncWrite + Unpin>(
    writer: &mut spdy::Writer<W>,
    options: Options,
    resizable: bool,
) -> std::io::Result<Streams> {
    let mut out = Streams { error: writer.open(&[("streamtype", "error")]).await?, ..Streams::default() };
    if options.stdin {
        out.stdin = Some(writer.open(&[("streamtype", "stdin")]).await?);
    }
    if options.stdout {
        out.stdout = Some(writer.open(&[("streamtype", "stdout")]).await?);
    }
    if options.stderr && !options.tty {
        out.stderr = Some(writer.open(&[("streamtype", "stderr")]).await?);
    }
    if options.tty && resizable {
        out.resize = Some(writer.open(&[("streamtype", "resize")]).await?);
    }
    Ok(out)
}

/// Turns the client's messages into frames until it leaves.
async fn input<F>(mut from: F, streams: Streams, to: mpsc::Sender<Frame>)
where
    F: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    while let Some(Ok(message)) = from.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => break,
            _ => continue,
        };
        let frame = match channel::read(bytes) {
            Said::Data(Channel::Stdin, bytes) if !bytes.is_empty() => data(streams.stdin, bytes, false),
            Said::Data(Channel::Resize, bytes) if !bytes.is_empty() => data(streams.resize, bytes, false),
            Said::Close(Channel::Stdin) => data(streams.stdin, Bytes::new(), true),
            _ => None,
        };
        // A backend that takes no more input may still send output.
        if let Some(frame) = frame {
            let _ = to.send(frame).await;
        }
    }
}

fn data(stream: Option<u32>, bytes: Bytes, fin: bool) -> Option<Frame> {
    stream.map(|stream| Frame::Data { stream, fin, bytes })
}

/// The one writer to the backend; answers to pings overtake data.
async fn write<W: AsyncWrite + Unpin>(
    writer: &mut spdy::Writer<W>,
    mut data: mpsc::Receiver<Frame>,
    mut urgent: mpsc::Receiver<Frame>,
) {
    loop {
        let frame = tokio::select! {
            biased;
            Some(frame) = urgent.recv() => frame,
            Some(frame) = data.recv() => frame,
            else => return,
        };
        if writer.write(&frame).await.is_err() {
            return;
        }
    }
}

/// Passes output on until the command is over; answers what came on the error stream, or `None` where the
/// client is gone.
async fn output<R, S>(
    reader: &mut spdy::Reader<R>,
    to: &mut S,
    streams: Streams,
    control: mpsc::Sender<Frame>,
    opened: oneshot::Sender<()>,
) -> Option<BytesMut>
where
    R: AsyncRead + Unpin,
    S: Sink<Message> + Unpin,
{
    let all = [Some(streams.error), streams.stdin, streams.stdout, streams.stderr, streams.resize];
    let mut unopened: Vec<u32> = all.into_iter().flatten().collect();
    let mut awaited: Vec<u32> =
        [Some(streams.error), streams.stdout, streams.stderr].into_iter().flatten().collect();
    let mut opened = Some(opened);
    let mut error = BytesMut::new();
    while !awaited.is_empty() {
        let said = match reader.next().await {
            Ok(Some(said)) => said,
            Ok(None) => break,
            Err(e) => {
                tracing::debug!(error = %e, "the backend's stream broke");
                break;
            }
        };
        match said {
            Incoming::Opened(stream) => {
                unopened.retain(|s| *s != stream);
                if unopened.is_empty()
                    && let Some(opened) = opened.take()
                {
                    let _ = opened.send(());
                }
            }
            Incoming::Data(stream, bytes) => {
                let channel = match Some(stream) {
                    s if s == streams.stdout => Channel::Stdout,
                    s if s == streams.stderr => Channel::Stderr,
                    _ => {
                        if stream == streams.error && error.len() + bytes.len() <= MAX_ERROR {
                            error.extend_from_slice(&bytes);
                        }
                        continue;
                    }
                };
                to.send(message(channel, &bytes)).await.ok()?;
            }
            Incoming::Ended(stream) => awaited.retain(|s| *s != stream),
            // A full queue means the backend does not read either.
            Incoming::Ping(id) => drop(control.try_send(Frame::Ping { id })),
            Incoming::GoAway => {}
        }
    }
    Some(error)
}

#[cfg(test)]
mod tests;
