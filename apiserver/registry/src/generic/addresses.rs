//! `IPAddress` objects: who has one has the address. Made before the service that needs it is written and
//! removed after the service is; what a crash leaves between the two is mended by the apiserver's repair.

use super::options::{DeleteOptions, Preconditions, WriteOptions};
use super::{Endpoint, Registry, Request};
use crate::alloc::{Reservation, Taken};
use futures::future::BoxFuture;
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Document, Status, StatusResult, UserInfo};
use std::net::IpAddr;
use std::sync::Arc;

/// The label that says an address was given out here.
pub const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// What came of claiming the addresses of a write.
pub(crate) enum Claim {
    Made,
    /// Somebody else has an address that was chosen here: choose again.
    ChooseAgain,
}

/// The object that says a service has an address.
pub fn address_of(ip: IpAddr, namespace: &str, name: &str) -> Document {
    let mut object = Document::default();
    object.set_type("networking.k8s.io/v1", "IPAddress");
    object.set_at(&["metadata", "name"], ip.to_string());
    object.set_at(&["metadata", "labels", FAMILY], if ip.is_ipv4() { "IPv4" } else { "IPv6" });
    object.set_at(&["metadata", "labels", MANAGED_BY.0], MANAGED_BY.1);
    let parent = ["spec", "parentRef"];
    for (field, value) in [("resource", "services"), ("namespace", namespace), ("name", name)] {
        object.set_at(&[parent[0], parent[1], field], value);
    }
    object
}

/// Whether an address' object says that it is this service's.
pub fn belongs_to(address: &Document, namespace: &str, name: &str) -> bool {
    let parent = |field: &str| address.str_at(&["spec", "parentRef", field]).unwrap_or_default();
    (parent("group"), parent("resource"), parent("namespace"), parent("name"))
        == ("", "services", namespace, name)
}

fn options() -> WriteOptions {
    WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() }
}

fn request<'a>(user: &'a UserInfo, name: &'a str, options: &'a WriteOptions) -> Request<'a> {
    let (now, warnings) = (Timestamp::now(), Vec::new());
    Request { user, namespace: "", name, subresource: "", options, now, warnings }
}

impl Registry {
    /// The endpoint of `IPAddress` objects.
    pub fn addresses(&self) -> Option<&Arc<Endpoint>> {
        self.get("networking.k8s.io", "v1", "ipaddresses")
    }
}

impl Endpoint {
    /// Makes the object of an address a service has. Called on the endpoint of addresses.
    ///
    /// # Errors
    /// `AlreadyExists` where the address is taken.
    pub fn claim<'a>(
        &'a self,
        ip: IpAddr,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, StatusResult<()>> {
        Box::pin(async move {
            let (user, options) = (UserInfo::system_apiserver(), options());
            let mut rq = request(&user, "", &options);
            self.create(&mut rq, address_of(ip, namespace, name)).await.map(|_| ())
        })
    }

    /// Removes the object of an address where it is this service's. Called on the endpoint of addresses.
    ///
    /// # Errors
    /// The store's failures.
    pub fn disclaim<'a>(
        &'a self,
        ip: IpAddr,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, StatusResult<()>> {
        Box::pin(async move {
            let text = ip.to_string();
            // Of two services that were given one address the other keeps it.
            match self.current("", &text, true).await? {
                Some(present) if belongs_to(&present.document, namespace, name) => {
                    self.remove_address(&present.document).await
                }
                _ => Ok(()),
            }
        })
    }

    /// Removes exactly this object. Called on the endpoint of addresses.
    ///
    /// # Errors
    /// The store's failures.
    pub async fn remove_address(&self, address: &Document) -> StatusResult<()> {
        let (user, write) = (UserInfo::system_apiserver(), options());
        let mut rq = request(&user, address.name(), &write);
        let uid = Some(address.uid().to_owned());
        let only = Preconditions { uid, ..Preconditions::default() };
        let options = DeleteOptions { preconditions: Some(only), ..DeleteOptions::default() };
        match self.delete(&mut rq, &options).await {
            Err(status) if !(status.is_not_found() || status.is_conflict()) => Err(status),
            _ => Ok(()),
        }
    }

    fn addresses(&self) -> Option<Arc<Endpoint>> {
        self.shared.addresses.get()?.upgrade()
    }

    /// Makes the objects of the addresses a write has taken, all or none.
    ///
    /// # Errors
    /// Where an address asked for by name turns out to be taken, and the store's failures.
    pub(crate) async fn claim_all(
        &self,
        service: &Document,
        reservation: Option<&Reservation>,
    ) -> StatusResult<Claim> {
        let (Some(reservation), Some(addresses)) = (reservation, self.addresses()) else {
            return Ok(Claim::Made);
        };
        let (namespace, name) = (service.namespace(), service.name());
        for (i, taken) in reservation.taken().iter().enumerate() {
            let Err(status) = addresses.claim(taken.ip, namespace, name).await else { continue };
            self.disclaim_ips(service, reservation.taken()[..i].iter().map(|t| t.ip)).await;
            if status.reason() != "AlreadyExists" {
                return Err(status);
            }
            if let Some(allocators) = self.shared.allocators.get() {
                allocators.seen(taken.ip);
            }
            return if taken.chosen { Ok(Claim::ChooseAgain) } else { Err(taken_by_others(service, taken)) };
        }
        Ok(Claim::Made)
    }

    /// Gives back the objects of a write that came to nothing.
    pub(crate) async fn disclaim_all(&self, service: &Document, reservation: Option<&Reservation>) {
        if let Some(reservation) = reservation {
            self.disclaim_ips(service, reservation.taken().iter().map(|t| t.ip)).await;
        }
    }

    /// The write is stored: what it gave up is removed.
    pub(crate) async fn settle(&self, service: &Document, reservation: Option<Reservation>) {
        let Some(reservation) = reservation else { return };
        let released = reservation.released().to_vec();
        reservation.commit();
        self.disclaim_ips(service, released.into_iter()).await;
    }

    /// Removes addresses' objects; what fails is left to the repair.
    pub(crate) async fn disclaim_ips(&self, service: &Document, ips: impl Iterator<Item = IpAddr> + Send) {
        let Some(addresses) = self.addresses() else { return };
        for ip in ips {
            if let Err(error) = addresses.disclaim(ip, service.namespace(), service.name()).await {
                tracing::warn!(%ip, %error, "error releasing ip");
            }
        }
    }
}

/// The refusal of an address asked for, as the allocator itself words it.
fn taken_by_others(service: &Document, taken: &Taken) -> Status {
    use gantry_types::GroupKind;
    use gantry_types::field::{Error, Path};
    let ips = service.to_typed::<Service>().ok().and_then(|s| s.spec?.cluster_ips).unwrap_or_default();
    let why = format!("failed to allocate IP {}: provided IP is already allocated", taken.ip);
    let error = Error::invalid(&Path::new("spec").child("clusterIPs"), &ips, why);
    Status::invalid(&GroupKind { group: "".into(), kind: "Service".into() }, service.name(), vec![error])
}
