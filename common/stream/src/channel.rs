//! Channels of a remote command in WebSocket messages (`v5.channel.k8s.io`): the first byte of a binary message
//! is its channel. Pure.

use bytes::{BufMut, Bytes, BytesMut};

pub const V5: &str = "v5.channel.k8s.io";

/// Names a channel that its sender closes, in the byte after it.
const CLOSE: u8 = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

/// What a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Data(Channel, Bytes),
    /// No more will come on this channel.
    Close(Channel),
    /// Empty, or for a channel that clients do not write: ignored.
    Nothing,
}

/// Reads a client's message.
pub fn read(mut message: Bytes) -> Said {
    let channel = |n: u8| match n {
        0 => Some(Channel::Stdin),
        4 => Some(Channel::Resize),
        _ => None,
    };
    let Some(&first) = message.first() else { return Said::Nothing };
    if first == CLOSE {
        return message.get(1).and_then(|n| channel(*n)).map_or(Said::Nothing, Said::Close);
    }
    let bytes = message.split_off(1);
    channel(first).map_or(Said::Nothing, |c| Said::Data(c, bytes))
}

/// A message on a channel.
pub fn write(channel: Channel, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + bytes.len());
    out.put_u8(channel as u8);
    out.put_slice(bytes);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read() {
        let check = |bytes: &'static [u8], want: Said| assert_eq!(read(Bytes::from_static(bytes)), want);
        check(b"\x00ls\n", Said::Data(Channel::Stdin, Bytes::from_static(b"ls\n")));
        check(b"\x04{}", Said::Data(Channel::Resize, Bytes::from_static(b"{}")));
        check(b"\x00", Said::Data(Channel::Stdin, Bytes::new()));
        check(b"\xff\x00", Said::Close(Channel::Stdin));
        check(b"\xff\x01", Said::Nothing);
        check(b"\xff", Said::Nothing);
        check(b"\x01x", Said::Nothing);
        check(b"", Said::Nothing);
    }

    #[test]
    fn messages_write() {
        assert_eq!(write(Channel::Stderr, b"no").as_ref(), b"\x02no");
        assert_eq!(write(Channel::Stdout, b"").as_ref(), b"\x01");
    }
}
