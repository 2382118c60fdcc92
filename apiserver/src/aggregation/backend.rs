//! Connecting to the server behind a remote APIService.

use crate::assemble::Server;
use crate::config::KeyPair;
use crate::kubelet::{self, Io};
use gantry_aggregate::availability::{self, Address, Finding};
use gantry_aggregate::{backing, spec};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::api::discovery::v1::EndpointSlice;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use gantry_types::reader::ObjectReader;
use rustls::ClientConfig;
use std::sync::Arc;

/// Whom to believe, and as whom to come.
#[derive(Clone)]
pub(super) struct Backend {
    pub server_name: String,
    /// Why no connection can be made at all, otherwise.
    pub tls: Result<Arc<ClientConfig>, String>,
}

impl Backend {
    pub fn new(service: &APIService, client: Option<&KeyPair>) -> Self {
        let server_name = backing(service).map(availability::server_name).unwrap_or_default();
        let spec = spec(service).cloned().unwrap_or_default();
        // Without a bundle nobody is believed: there are no system authorities here.
        let bundle = String::from_utf8(spec.ca_bundle.map(|b| b.0).unwrap_or_default()).unwrap_or_default();
        let insecure = spec.insecure_skip_tls_verify.unwrap_or(false);
        let tls = kubelet::client((!insecure).then_some(bundle.as_str()), client).map_err(|e| e.to_string());
        Self { server_name, tls }
    }

    /// # Errors
    /// Why there is no connection, as Go says it.
    pub async fn connect(&self, address: &Address) -> Result<Box<dyn Io>, String> {
        let config = self.tls.clone()?;
        let stream = kubelet::dial(&address.host, address.port).await?;
        kubelet::over_tls(config, &self.server_name, stream).await
    }
}

/// A place as it stands in URLs.
pub(super) fn authority(address: &Address) -> String {
    if address.host.contains(':') {
        format!("[{}]:{}", address.host, address.port)
    } else {
        format!("{}:{}", address.host, address.port)
    }
}

fn state(server: &Server, service: &APIService) -> (Option<Service>, Vec<EndpointSlice>) {
    let Some(reference) = backing(service) else { return (None, Vec::new()) };
    let (namespace, name, _) = availability::parts(reference);
    let found = server.caches.get(&super::SERVICES, namespace, name).and_then(|o| o.typed().ok());
    let slices = server.caches.list(&super::ENDPOINT_SLICES, Some(namespace));
    let own = slices
        .iter()
        .filter(|o| o.meta().labels.get(availability::SERVICE_NAME).is_some_and(|label| **label == *name));
    (found, own.filter_map(|o| o.typed().ok()).collect())
}

/// Where requests may go.
///
/// # Errors
/// Why nowhere.
pub(super) fn addresses(server: &Server, service: &APIService) -> Result<Vec<Address>, String> {
    let reference = backing(service).ok_or_else(|| "served locally".to_owned())?;
    let (found, slices) = state(server, service);
    availability::resolve(reference, found.as_ref(), &slices)
}

/// The same, for a look at its availability.
///
/// # Errors
/// What the condition is to say.
pub(super) fn checked(server: &Server, service: &APIService) -> Result<Vec<Address>, Finding> {
    let reference = backing(service).ok_or_else(|| Finding::failed("served locally"))?;
    let (found, slices) = state(server, service);
    availability::check(reference, found.as_ref(), &slices)?;
    availability::resolve(reference, found.as_ref(), &slices).map_err(Finding::failed)
}
