//! The protobuf wire format: reading fields, and writing back to front so that no length is ever guessed.

use super::ProtobufError;

/// One field off the wire.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Payload<'a> {
    pub fn varint(self) -> Result<u64, ProtobufError> {
        match self {
            Self::Varint(v) => Ok(v),
            _ => Err(ProtobufError::WireType),
        }
    }

    pub fn bytes(self) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(b) => Ok(b),
            _ => Err(ProtobufError::WireType),
        }
    }

    pub fn text(self) -> Result<String, ProtobufError> {
        self.bytes().map(|b| String::from_utf8_lossy(b).into_owned())
    }
}

/// Reads the fields of one message.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut out = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err(ProtobufError::Overflow)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], ProtobufError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next field's number and payload; `None` at the end of the message.
    pub fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| ProtobufError::Overflow)?;
        let payload = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                let mut raw = [0; 8];
                raw.copy_from_slice(self.take(8)?);
                Payload::Fixed64(u64::from_le_bytes(raw))
            }
            2 => {
                let n = usize::try_from(self.varint()?).map_err(|_| ProtobufError::Overflow)?;
                Payload::Bytes(self.take(n)?)
            }
            5 => {
                self.take(4)?;
                Payload::Fixed32
            }
            _ => return Err(ProtobufError::WireType),
        };
        Ok(Some((number, payload)))
    }
}

/// Writes a message from its last byte to its first. The buffer is reversed once, at the end.
#[derive(Default)]
pub struct Backwards(Vec<u8>);

impl Backwards {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().rev());
    }

    pub fn varint(&mut self, mut v: u64) {
        let mut bytes = [0u8; 10];
        let mut n = 0;
        loop {
            bytes[n] = (v & 0x7f) as u8 | if v > 0x7f { 0x80 } else { 0 };
            n += 1;
            v >>= 7;
            if v == 0 {
                break;
            }
        }
        self.raw(&bytes[..n]);
    }

    fn tag(&mut self, number: u32, wire: u64) {
        self.varint(u64::from(number) << 3 | wire);
    }

    pub fn varint_field(&mut self, number: u32, v: u64) {
        self.varint(v);
        self.tag(number, 0);
    }

    pub fn fixed64_field(&mut self, number: u32, v: u64) {
        self.raw(&v.to_le_bytes());
        self.tag(number, 1);
    }

    pub fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.raw(bytes);
        self.varint(bytes.len() as u64);
        self.tag(number, 2);
    }

    /// Ends (that is, begins) a nested message whose last byte was written at `mark`.
    pub fn close(&mut self, number: u32, mark: usize) {
        self.varint((self.0.len() - mark) as u64);
        self.tag(number, 2);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.reverse();
        self.0
    }
}
