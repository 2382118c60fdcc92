//! Frames as bytes. Pure.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The last frame of a stream in this direction.
const FIN: u8 = 1;
/// What a frame may claim; the format allows 16 MiB, nobody sends near that.
const MAX: usize = 4 << 20;
/// The largest stored block of a deflate stream.
const STORED: usize = 0xffff;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        fin: bool,
        bytes: Bytes,
    },
    /// `headers` are pairs of lower-case names and values.
    SynStream {
        stream: u32,
        fin: bool,
        headers: Vec<(String, String)>,
    },
    SynReply {
        stream: u32,
        fin: bool,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Settings,
    Ping {
        id: u32,
    },
    GoAway {
        last: u32,
        status: u32,
    },
    Headers {
        stream: u32,
        fin: bool,
    },
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("unsupported SPDY version {0}")]
    Version(u16),
    #[error("SPDY frame of {0} bytes is too large")]
    TooLarge(usize),
    #[error("SPDY frame of type {0} is malformed")]
    Malformed(u16),
}

/// Takes one frame off the front; `None` where it is not all there yet. A frame type that does not exist is
/// skipped, as the format demands.
///
/// # Errors
/// Where the bytes are no SPDY/3; the connection is of no more use then.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    loop {
        if buffer.len() < 8 {
            return Ok(None);
        }
        let word = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        let flags = buffer[4];
        let length = u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]]) as usize;
        if length > MAX {
            return Err(FrameError::TooLarge(length));
        }
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let body = buffer.split_to(length).freeze();
        if word & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { stream: word, fin: flags & FIN != 0, bytes: body }));
        }
        // Both halves fit: the word has 32 bits.
        let (version, kind) = ((word >> 16) as u16 & 0x7fff, word as u16);
        if version != 3 {
            return Err(FrameError::Version(version));
        }
        if let Some(frame) = control(kind, flags, body)? {
            return Ok(Some(frame));
        }
    }
}

fn control(kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, FrameError> {
    let fin = flags & FIN != 0;
    let need = match kind {
        1 => 10,
        3 | 7 | 9 => 8,
        2 | 4 | 6 | 8 => 4,
        _ => return Ok(None),
    };
    if body.len() < need {
        return Err(FrameError::Malformed(kind));
    }
    let first = body.get_u32();
    let stream = first & 0x7fff_ffff;
    Ok(Some(match kind {
        1 => {
            body.advance(6);
            let headers = stored_pairs(&body).unwrap_or_default();
            Frame::SynStream { stream, fin, headers }
        }
        2 => Frame::SynReply { stream, fin },
        3 => Frame::Reset { stream, status: body.get_u32() },
        4 => Frame::Settings,
        6 => Frame::Ping { id: first },
        7 => Frame::GoAway { last: stream, status: body.get_u32() },
        8 => Frame::Headers { stream, fin },
        _ => Frame::WindowUpdate { stream, delta: body.get_u32() & 0x7fff_ffff },
    }))
}

/// Writes frames. Keeps whether the one zlib stream of header blocks has begun.
#[derive(Debug, Default)]
pub struct Encoder {
    begun: bool,
}

impl Encoder {
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        let flag = |fin: bool| if fin { FIN } else { 0 };
        match frame {
            Frame::Data { stream, fin, bytes } => {
                out.reserve(8 + bytes.len());
                out.put_u32(stream & 0x7fff_ffff);
                head(out, flag(*fin), bytes.len());
                out.put_slice(bytes);
            }
            Frame::SynStream { stream, fin, headers } => {
                let block = self.block(headers);
                start(out, 1, flag(*fin), 10 + block.len());
                out.put_u32(*stream);
                // No associated stream; priority 0, slot 0.
                out.put_u32(0);
                out.put_u16(0);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, fin } | Frame::Headers { stream, fin } => {
                let kind = if matches!(frame, Frame::SynReply { .. }) { 2 } else { 8 };
                let block = self.block(&[]);
                start(out, kind, flag(*fin), 4 + block.len());
                out.put_u32(*stream);
                out.put_slice(&block);
            }
            Frame::Reset { stream, status } => pair(out, 3, *stream, *status),
            Frame::Settings => {
                start(out, 4, 0, 4);
                out.put_u32(0);
            }
            Frame::Ping { id } => {
                start(out, 6, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last, status } => pair(out, 7, *last, *status),
            Frame::WindowUpdate { stream, delta } => pair(out, 9, *stream, *delta),
        }
    }

    /// A header block: counted strings in stored deflate blocks.
    fn block(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        let mut plain = length(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(k, v)| [k, v]) {
            plain.extend_from_slice(&length(text.len()));
            plain.extend_from_slice(text.as_bytes());
        }
        let mut out = Vec::with_capacity(plain.len() + 16);
        if !self.begun {
            self.begun = true;
            out.extend_from_slice(&[0x78, 0x01]);
        }
        for chunk in plain.chunks(STORED) {
            let n = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
            out.push(0);
            out.extend_from_slice(&n.to_le_bytes());
            out.extend_from_slice(&(!n).to_le_bytes());
            out.extend_from_slice(chunk);
        }
        // An empty block: some inflaters hand out what they have only at one.
        out.extend_from_slice(&[0, 0, 0, 0xff, 0xff]);
        out
    }
}

fn start(out: &mut BytesMut, kind: u32, flags: u8, length: usize) {
    out.reserve(8 + length);
    out.put_u32(0x8003_0000 | kind);
    head(out, flags, length);
}

fn head(out: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    out.put_u32(u32::from(flags) << 24 | length);
}

fn pair(out: &mut BytesMut, kind: u32, a: u32, b: u32) {
    start(out, kind, 0, 8);
    out.put_u32(a);
    out.put_u32(b);
}

/// Headers of a block as [`Encoder`] writes it; deflated ones are not read.
fn stored_pairs(block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = block.strip_prefix(&[0x78, 0x01]).unwrap_or(block);
    let mut plain = Vec::new();
    while let [0, a, b, c, d, tail @ ..] = rest {
        let n = u16::from_le_bytes([*a, *b]);
        if !n != u16::from_le_bytes([*c, *d]) {
            return None;
        }
        plain.extend_from_slice(tail.get(..usize::from(n))?);
        rest = &tail[usize::from(n)..];
    }
    let mut at = plain.as_slice();
    let number = |at: &mut &[u8]| -> Option<usize> {
        let (head, tail) = at.split_first_chunk::<4>()?;
        *at = tail;
        usize::try_from(u32::from_be_bytes(*head)).ok()
    };
    let count = number(&mut at)?;
    let mut out = Vec::new();
    for _ in 0..count {
        let mut pair = [String::new(), String::new()];
        for text in &mut pair {
            let n = number(&mut at)?;
            *text = String::from_utf8(at.get(..n)?.to_vec()).ok()?;
            at = &at[n..];
        }
        let [k, v] = pair;
        out.push((k, v));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn frames_have_their_bytes() {
        let check = |frame: Frame, want: &str| {
            let mut out = BytesMut::new();
            Encoder::default().encode(&frame, &mut out);
            assert_eq!(hex(&out), want, "{frame:?}");
        };
        check(Frame::Data { stream: 3, fin: true, bytes: Bytes::from_static(b"hi") }, "00000003010000026869");
        check(Frame::Ping { id: 7 }, "800300060000000400000007");
        check(Frame::Reset { stream: 1, status: 5 }, "80030003000000080000000100000005");
        check(Frame::GoAway { last: 0, status: 0 }, "80030007000000080000000000000000");
        let headers = vec![("a".to_owned(), "b".to_owned())];
        check(
            Frame::SynStream { stream: 1, fin: false, headers },
            concat!(
                "80030001000000240000000100000000000078",
                "01000e00f1ff0000000100000001610000000162000000ffff"
            ),
        );
    }

    #[test]
    fn broken_frames_are_refused() {
        let check = |bytes: &[u8], want: Result<Option<Frame>, FrameError>| {
            assert_eq!(decode(&mut BytesMut::from(bytes)), want, "{bytes:?}");
        };
        check(&[0, 0, 0, 1, 0, 0, 0], Ok(None));
        check(&[0, 0, 0, 1, 0, 0, 0, 2, 9], Ok(None));
        check(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1], Err(FrameError::Version(2)));
        check(&[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0], Err(FrameError::Malformed(6)));
        check(&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff], Err(FrameError::TooLarge(0x00ff_ffff)));
        // An unknown type is skipped.
        let mut two =
            BytesMut::from(&[0x80, 3, 0, 99, 0, 0, 0, 1, 0, 0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 9][..]);
        assert_eq!(decode(&mut two), Ok(Some(Frame::Ping { id: 9 })));
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let id = 1_u32..0x7fff_ffff;
        let pairs = proptest::collection::vec(("[a-z]{1,8}", "[ -~]{0,20}"), 0..4);
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            (id.clone(), any::<bool>(), bytes).prop_map(|(stream, fin, b)| Frame::Data {
                stream,
                fin,
                bytes: b.into()
            }),
            (id.clone(), any::<bool>(), pairs).prop_map(|(stream, fin, headers)| Frame::SynStream {
                stream,
                fin,
                headers
            }),
            (id.clone(), any::<bool>()).prop_map(|(stream, fin)| Frame::SynReply { stream, fin }),
            (id.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status }),
            any::<u32>().prop_map(|id| Frame::Ping { id }),
            (id.clone(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            (id.clone(), id).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
            Just(Frame::Settings),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frames in proptest::collection::vec(any_frame(), 1..8), cut in 1_usize..50) {
            let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
            for frame in &frames {
                encoder.encode(frame, &mut bytes);
            }
            let (mut buffer, mut read) = (BytesMut::new(), Vec::new());
            for chunk in bytes.chunks(cut) {
                buffer.extend_from_slice(chunk);
                while let Some(frame) = decode(&mut buffer).unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn noise_does_not_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(noise.as_slice());
            while let Ok(Some(_)) = decode(&mut buffer) {}
        }
    }
}
