//! What can go wrong in a store.

use crate::Revision;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for is older than what is kept.
    #[error("the requested revision {requested} has been compacted (oldest kept: {oldest})")]
    Compacted { requested: Revision, oldest: Revision },
    /// The revision asked for has not been reached.
    #[error("the requested revision {requested} is in the future (current: {current})")]
    FutureRevision { requested: Revision, current: Revision },
    /// The value or request exceeds what the store takes.
    #[error("the request is too large")]
    TooLarge,
    /// The store cannot be reached; the outcome of a write in flight is unknown.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The disk is full, or the store failed in a way that stops writes.
    #[error("the store failed: {0}")]
    Failed(String),
}
