//! The form of one change on disk, keyed by its revision.

use bytes::Bytes;
use gantry_storage::Revision;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    /// When the key was created; 0 for a deletion.
    pub create_revision: Revision,
    /// Seconds since the epoch after which the key goes; 0 for never.
    pub expires: u64,
    pub value: Bytes,
}

const HEAD: usize = 8 + 8 + 4;

impl Record {
    /// Layout: create revision (8 bytes), expiry (8), length of the key (4), key, value; little endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.key.len() + self.value.len());
        out.extend_from_slice(&self.create_revision.to_le_bytes());
        out.extend_from_slice(&self.expires.to_le_bytes());
        // Keys are far below 4 GiB: requests are limited to 1.5 MiB.
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.value);
        out
    }

    /// `None` where the bytes are not a record. Without `values`, the value stays empty.
    pub fn decode(bytes: &[u8], values: bool) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let length = u32::from_le_bytes(bytes.get(16..20)?.try_into().ok()?) as usize;
        let rest = bytes.get(HEAD..)?;
        let key = std::str::from_utf8(rest.get(..length)?).ok()?.to_owned();
        let value = if values { Bytes::copy_from_slice(rest.get(length..)?) } else { Bytes::new() };
        Some(Self { key, create_revision: number(0)?, expires: number(8)?, value })
    }
}

/// The second after which a key written now with `ttl` goes. Never early: rounded up.
pub fn expiry(ttl: Duration) -> u64 {
    now() + ttl.as_secs() + 1 + u64::from(ttl.subsec_nanos() > 0)
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let record = Record { key: "/a/b".into(), create_revision: 7, expires: 9, value: "v".into() };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes, true), Some(record.clone()));
        assert_eq!(Record::decode(&bytes, false), Some(Record { value: Bytes::new(), ..record }));
        for cut in 0..HEAD + 4 {
            assert_eq!(Record::decode(&bytes[..cut], true), None, "{cut}");
        }
    }
}
