//! The cluster as DNS sees it: lookups over the informers' stores.

use gantry_client::informer::Scope;
use gantry_client::{Client, Informer, Key};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the zone asks.
pub trait Cluster: Send + Sync + 'static {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>>;
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>>;
    fn namespace(&self, name: &str) -> bool;
    fn services_with_ip(&self, ip: IpAddr) -> Vec<Arc<Service>>;
    fn slices_with_ip(&self, ip: IpAddr) -> Vec<Arc<EndpointSlice>>;
}

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "service";
const BY_IP: &str = "ip";

/// The live cluster.
pub struct Informed {
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    namespaces: Informer<Namespace>,
}

impl Informed {
    pub fn start(client: &Client, stop: &CancellationToken) -> Self {
        let all = Self {
            services: Informer::new(client.clone(), Scope::default()),
            slices: Informer::new(client.clone(), Scope::default()),
            namespaces: Informer::new(client.clone(), Scope::default()),
        };
        all.services
            .index(BY_IP, |s| s.spec.iter().flat_map(|s| s.cluster_ips.iter().flatten()).cloned().collect());
        all.slices.index(BY_SERVICE, |s| {
            service_of(s).map(|(ns, name)| format!("{ns}/{name}")).into_iter().collect()
        });
        all.slices.index(BY_IP, |s| {
            s.endpoints.iter().flatten().flat_map(|e| e.addresses.iter()).cloned().collect()
        });
        all.namespaces.transform(|n| (n.spec, n.status) = (None, None));
        all.services.start(stop);
        all.slices.start(stop);
        all.namespaces.start(stop);
        all
    }

    pub fn has_synced(&self) -> bool {
        self.services.has_synced() && self.slices.has_synced() && self.namespaces.has_synced()
    }
}

/// Namespace and name of the Service a slice belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<(&str, &str)> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
    Some((slice.metadata.namespace.as_deref()?, name))
}

impl Cluster for Informed {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.store().get(&Key::new(namespace, name))
    }

    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_SERVICE, &format!("{namespace}/{service}"))
    }

    fn namespace(&self, name: &str) -> bool {
        self.namespaces.store().get(&Key::new("", name)).is_some()
    }

    fn services_with_ip(&self, ip: IpAddr) -> Vec<Arc<Service>> {
        self.services.store().by_index(BY_IP, &ip.to_string())
    }

    fn slices_with_ip(&self, ip: IpAddr) -> Vec<Arc<EndpointSlice>> {
        self.slices.store().by_index(BY_IP, &ip.to_string())
    }
}
