use super::*;
use crate::spdy::frame::{Encoder, decode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The kubelet's end: frames in and out.
struct Backend {
    io: DuplexStream,
    buffer: BytesMut,
    encoder: Encoder,
}

impl Backend {
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn write(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        self.encoder.encode(&frame, &mut out);
        self.io.write_all(&out).await.unwrap();
    }

    async fn send(&mut self, stream: u32, bytes: &'static str, fin: bool) {
        self.write(Frame::Data { stream, fin, bytes: Bytes::from_static(bytes.as_bytes()) }).await;
    }

    /// Takes the opening of `n` streams and answers their kinds.
    async fn accept(&mut self, n: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        for _ in 0..n {
            let Some(Frame::SynStream { stream, headers, .. }) = self.read().await else {
                panic!("no stream")
            };
            assert_eq!(headers[0].0, "streamtype");
            kinds.push(headers[0].1.clone());
            self.write(Frame::SynReply { stream, fin: false }).await;
        }
        kinds
    }
}

type Client = tokio_tungstenite::WebSocketStream<DuplexStream>;

async fn start(
    options: Options,
    protocol: &str,
) -> (Client, Backend, tokio::task::JoinHandle<Option<Status>>) {
    use tokio_tungstenite::tungstenite::protocol::Role;
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let (near, far) = tokio::io::duplex(64 << 10);
    let client = Client::from_raw_socket(theirs, Role::Client, None).await;
    let (reader, writer) = spdy::session::halves(near);
    let protocol = protocol.to_owned();
    let task = tokio::spawn(async move {
        let (mut to, from) = websocket::on(ours).await.split();
        command(reader, writer, &protocol, &mut to, from, options).await
    });
    (client, Backend { io: far, buffer: BytesMut::new(), encoder: Encoder::default() }, task)
}

const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

#[tokio::test]
async fn a_command_runs_both_ways() {
    let (mut client, mut backend, task) = start(ALL, "v4.channel.k8s.io").await;
    assert_eq!(backend.accept(4).await, ["error", "stdin", "stdout", "stderr"]);
    client.send(Message::Binary(Bytes::from_static(b"\x00in"))).await.unwrap();
    client.send(Message::Binary(Bytes::from_static(b"\xff\x00"))).await.unwrap();
    let data = |bytes: &'static [u8], fin| Frame::Data { stream: 3, fin, bytes: Bytes::from_static(bytes) };
    assert_eq!(backend.read().await, Some(data(b"in", false)));
    assert_eq!(backend.read().await, Some(data(b"", true)));
    backend.write(Frame::Ping { id: 4 }).await;
    assert_eq!(backend.read().await, Some(Frame::Ping { id: 4 }));
    backend.send(5, "out", false).await;
    backend.send(7, "err", true).await;
    for want in [&b"\x01out"[..], b"\x02err"] {
        assert_eq!(client.next().await.unwrap().unwrap().into_data().as_ref(), want);
    }
    let failed = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
    backend.send(1, failed, true).await;
    backend.send(5, "", true).await;
    let status = task.await.unwrap().unwrap();
    assert_eq!((status.reason.as_str(), status.code), ("NonZeroExitCode", 0));
    assert!(matches!(backend.read().await, Some(Frame::GoAway { .. })));
}

#[tokio::test]
async fn a_terminal_has_sizes_and_no_stderr() {
    let options = Options { tty: true, ..ALL };
    let (mut client, mut backend, task) = start(options, "v5.channel.k8s.io").await;
    assert_eq!(backend.accept(4).await, ["error", "stdin", "stdout", "resize"]);
    client.send(Message::Binary(Bytes::from_static(b"\x04{\"Width\":80}"))).await.unwrap();
    let want = Frame::Data { stream: 7, fin: false, bytes: Bytes::from_static(b"{\"Width\":80}") };
    assert_eq!(backend.read().await, Some(want));
    // The client leaves: the backend hears of it, nobody is told a status.
    client.close(None).await.unwrap();
    assert_eq!(task.await.unwrap(), None);
    assert!(matches!(backend.read().await, Some(Frame::GoAway { .. })));
    assert_eq!(backend.read().await, None);
}

#[tokio::test]
async fn old_protocols_tell_in_plain_text() {
    let options = Options { stdout: true, ..Options::default() };
    let (_client, mut backend, task) = start(options, "").await;
    assert_eq!(backend.accept(2).await, ["error", "stdout"]);
    backend.send(1, "bad", true).await;
    backend.write(Frame::Reset { stream: 3, status: 5 }).await;
    let status = task.await.unwrap().unwrap();
    assert_eq!(status.message, "Internal error occurred: error executing remote command: bad");
}

#[test]
fn refusals_are_told_as_they_are() {
    let check = |body: &'static str, want: &str| {
        let refused =
            Refused { status: http::StatusCode::FORBIDDEN, body: Bytes::from_static(body.as_bytes()) };
        assert_eq!(refusal(&refused).message, want);
    };
    check(r#"{"status":"Failure","message":"m","reason":"NotFound","code":404}"#, "m");
    check("pod does not exist", "Internal error occurred: unable to upgrade connection: pod does not exist");
}
