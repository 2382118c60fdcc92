//! What is special about services: a write holds the addresses and ports it takes until it is stored.

use super::{Endpoint, Request};
use crate::alloc::{Allocators, Reservation};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::{Document, Status, StatusResult};

fn typed(object: &Document) -> StatusResult<Service> {
    object.to_typed().map_err(|e| Status::bad_request(e.to_string()))
}

/// Writes back what allocation filled in.
fn filled(object: &mut Document, service: &Service) -> StatusResult<()> {
    let filled = Document::from_typed(service).map_err(Status::internal)?;
    object.map_mut().extend(filled.into_map());
    Ok(())
}

impl Endpoint {
    fn allocators(&self) -> Option<&Allocators> {
        let services = self.kind.kind == "Service" && self.kind.group.is_empty();
        services.then(|| self.shared.allocators.get()).flatten()
    }

    /// Allocates for a new service; for other kinds nothing.
    pub(crate) fn reserve_new(
        &self,
        rq: &Request<'_>,
        object: &mut Document,
    ) -> StatusResult<Option<Reservation>> {
        let Some(allocators) = self.allocators() else { return Ok(None) };
        let mut service = typed(object)?;
        let reservation = allocators.on_create(&mut service, rq.options.dry_run)?;
        filled(object, &service)?;
        Ok(Some(reservation))
    }

    /// Allocates for a changed service; for other kinds, and for `status`, nothing.
    pub(crate) fn reserve_change(
        &self,
        rq: &Request<'_>,
        object: &mut Document,
        old: &Document,
    ) -> StatusResult<Option<Reservation>> {
        let Some(allocators) = self.allocators().filter(|_| rq.subresource.is_empty()) else {
            return Ok(None);
        };
        let mut service = typed(object)?;
        let reservation = allocators.on_update(&mut service, &typed(old)?, rq.options.dry_run)?;
        filled(object, &service)?;
        Ok(Some(reservation))
    }

    /// Whether writes through this endpoint take addresses.
    pub(crate) fn allocates(&self) -> bool {
        self.allocators().is_some()
    }

    /// Gives back what a removed service held.
    pub(crate) async fn release(&self, object: &Document) {
        if let (Some(allocators), Ok(service)) = (self.allocators(), typed(object)) {
            allocators.on_delete(&service);
            self.disclaim_ips(object, crate::alloc::addresses_of(&service).into_iter()).await;
        }
    }
}
