//! One change, as it is written.

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

/// The second after which a key written now with `ttl` goes. Never early: rounded up.
pub fn expiry(ttl: Duration) -> u64 {
    now() + ttl.as_secs() + 1 + u64::from(ttl.subsec_nanos() > 0)
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
