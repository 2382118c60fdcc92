//! The allocators as the pipeline calls them, on documents of `v1` Services.

use super::{Allocators, Reservation};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::{Document, Status, StatusResult};

fn typed(object: &Document) -> StatusResult<Service> {
    object.to_typed().map_err(|e| Status::bad_request(e.to_string()))
}

impl Allocators {
    /// [`Allocators::on_create`] on a defaulted document: after mutating admission, before the strategy.
    ///
    /// # Errors
    /// As there, and where the document is no Service.
    pub fn begin_create(&self, object: &mut Document, dry_run: bool) -> StatusResult<Reservation> {
        let mut service = typed(object)?;
        let reservation = self.on_create(&mut service, dry_run)?;
        *object = Document::from_typed(&service).map_err(Status::internal)?;
        Ok(reservation)
    }

    /// [`Allocators::on_update`] on documents, the main resource only (`/status` allocates nothing).
    ///
    /// # Errors
    /// As there, and where a document is no Service.
    pub fn begin_update(
        &self,
        object: &mut Document,
        old: &Document,
        dry_run: bool,
    ) -> StatusResult<Reservation> {
        let mut service = typed(object)?;
        let reservation = self.on_update(&mut service, &typed(old)?, dry_run)?;
        *object = Document::from_typed(&service).map_err(Status::internal)?;
        Ok(reservation)
    }

    /// [`Allocators::on_delete`] on the last state of a deleted object. An unreadable one held nothing that
    /// could be known; the next start does without it.
    pub fn deleted(&self, old: &Document) {
        if let Ok(service) = typed(old) {
            self.on_delete(&service);
        }
    }
}
