//! Refusals in upstream's words.

use gantry_storage::{Revision, StoreError};
use gantry_types::Status;

pub fn too_old(requested: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {requested} ({oldest})"))
}

pub fn too_large(requested: Revision, current: Revision) -> Status {
    Status::timeout(format!("Too large resource version: {requested}, current: {current}"), 1).add_cause(
        "ResourceVersionTooLarge",
        "Too large resource version",
        "",
    )
}

pub fn initializing() -> Status {
    Status::too_many_requests("storage is (re)initializing", 1)
}

/// A continue token whose revision is gone; `next` continues without consistency.
pub fn inconsistent(next: String) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - \
         objects that were created, modified, or deleted between the time the first chunk was returned and \
         now may show up in the list.",
    );
    status.body_mut().metadata.continue_token = next;
    status
}

pub fn store(error: StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        StoreError::FutureRevision { requested, current } => too_large(requested, current),
        StoreError::TooLarge => Status::too_large("limit is 1572864"),
        StoreError::Unavailable(why) | StoreError::Failed(why) => Status::internal(why),
    }
}
