//! API aggregation: group versions other servers of the cluster serve, reached through this one.
//!
//! One task a remote APIService ([`check`]) looks at it when it, its service or its endpoints change, and every
//! half minute besides; it alone writes the status and learns what the backend serves. Requests only read.

mod backend;
mod check;
mod discovery;
pub mod proxy;
pub mod register;

use crate::assemble::Server;
use crate::config::KeyPair;
use crate::cx::Cx;
use backend::Backend;
use discovery::Known;
use gantry_aggregate::availability::{Finding, SERVICE_NAME, conditions};
use gantry_aggregate::registration::OWN_GROUP;
use gantry_aggregate::{backing, group_version, is_available};
use gantry_auth::follow;
use gantry_types::GroupResource;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

const API_SERVICES: GroupResource = GroupResource::new("apiregistration.k8s.io", "apiservices");
const SERVICES: GroupResource = GroupResource::new("", "services");
const ENDPOINT_SLICES: GroupResource = GroupResource::new("discovery.k8s.io", "endpointslices");

/// What stays the same while an APIService changes.
struct Watched {
    wake: Arc<Notify>,
    /// What is known of the backend's API.
    known: Mutex<Known>,
    /// Ends the task that looks.
    _end: DropGuard,
}

/// A remote APIService as requests see it.
pub struct Route {
    service: APIService,
    available: bool,
    backend: Backend,
    watched: Arc<Watched>,
}

type Key = (String, String);
type Routes = BTreeMap<Key, Arc<Route>>;

/// The remote group versions.
pub struct Aggregation {
    /// What this server shows backends it is by.
    client: Option<KeyPair>,
    /// By group and version.
    routes: RwLock<Arc<Routes>>,
    /// Held while discovery is put together, so that what was there last is shown last.
    publishing: Mutex<()>,
}

impl Aggregation {
    pub fn new(client: Option<KeyPair>) -> Self {
        Self { client, routes: RwLock::default(), publishing: Mutex::default() }
    }

    fn routes(&self) -> Arc<Routes> {
        self.routes.read().clone()
    }

    fn route(&self, key: &Key) -> Option<Arc<Route>> {
        self.routes.read().get(key).cloned()
    }

    /// Who serves a request, where it is not this server. Discovery of groups stays here.
    pub fn route_of(&self, cx: &Cx) -> Option<Arc<Route>> {
        let routes = self.routes.read();
        if routes.is_empty() {
            return None;
        }
        let path = cx.path.strip_prefix("/openapi/v3").unwrap_or(&cx.path);
        let mut parts = path.strip_prefix("/apis/")?.split('/');
        let key = (parts.next()?.to_owned(), parts.next()?.to_owned());
        routes.get(&key).cloned()
    }

    /// Wakes whoever looks at services of this name.
    fn wake(&self, namespace: &str, name: &str) {
        for route in self.routes.read().values() {
            let fits = |r: &&_| gantry_aggregate::availability::parts(r).0 == namespace;
            if let Some(reference) = backing(&route.service).filter(fits)
                && reference.name.as_deref() == Some(name)
            {
                route.watched.wake.notify_one();
            }
        }
    }

    /// Takes in an APIService; whether the list of remote ones changed.
    fn set(&self, weak: &Weak<Server>, service: APIService) -> bool {
        let (group, version) = group_version(&service);
        let key = (group.to_owned(), version.to_owned());
        if backing(&service).is_none() {
            let found = Finding::local();
            if conditions(&service, &found, Timestamp::now()).is_some() {
                let name = service.metadata.name.unwrap_or_default();
                tokio::spawn(check::localize(weak.clone(), name));
            }
            return self.remove(&key);
        }
        // The core group and APIServices themselves are nobody else's.
        if group.is_empty() || group == OWN_GROUP {
            return self.remove(&key);
        }
        let before = self.route(&key);
        let unchanged = before.as_ref().is_some_and(|b| b.service.spec == service.spec);
        let watched = match &before {
            Some(route) => route.watched.clone(),
            None => {
                let gone = CancellationToken::new();
                let wake = Arc::new(Notify::new());
                tokio::spawn(check::keep(weak.clone(), key.clone(), wake.clone(), gone.clone()));
                Arc::new(Watched { wake, known: Mutex::default(), _end: gone.drop_guard() })
            }
        };
        let backend = match &before {
            Some(route) if unchanged => route.backend.clone(),
            _ => Backend::new(&service, self.client.as_ref()),
        };
        let available = is_available(&service);
        let shown = before.is_some_and(|b| unchanged && b.available == available);
        if !unchanged {
            watched.wake.notify_one();
        }
        let route = Arc::new(Route { service, available, backend, watched });
        Arc::make_mut(&mut *self.routes.write()).insert(key, route);
        !shown
    }

    fn remove(&self, key: &Key) -> bool {
        let mut routes = self.routes.write();
        routes.contains_key(key) && Arc::make_mut(&mut *routes).remove(key).is_some()
    }

    fn clear(&self) -> bool {
        let mut routes = self.routes.write();
        let any = !routes.is_empty();
        *routes = Arc::default();
        any
    }
}

fn apply(server: &Server, weak: &Weak<Server>, resource: usize, event: ObjectEvent) {
    let this = &server.aggregation;
    let changed = match (resource, event) {
        (0, ObjectEvent::Reset) => this.clear(),
        (0, ObjectEvent::Applied(o)) => match o.typed::<APIService>() {
            Ok(service) => this.set(weak, service),
            Err(error) => {
                tracing::warn!(name = o.name(), %error, "cannot read an APIService");
                false
            }
        },
        (0, ObjectEvent::Deleted(o)) => o.typed::<APIService>().is_ok_and(|service| {
            let (group, version) = group_version(&service);
            this.remove(&(group.to_owned(), version.to_owned()))
        }),
        (1, ObjectEvent::Applied(o) | ObjectEvent::Deleted(o)) => {
            this.wake(o.namespace(), o.name());
            false
        }
        (2, ObjectEvent::Applied(o) | ObjectEvent::Deleted(o)) => {
            if let Some(name) = o.meta().labels.get(SERVICE_NAME) {
                this.wake(o.namespace(), name);
            }
            false
        }
        _ => false,
    };
    if changed {
        discovery::publish(server);
    }
}

/// Every APIService by name, and whether it is available.
pub fn availabilities(server: &Server) -> Vec<(String, bool)> {
    let all = server.caches.list(&API_SERVICES, None);
    all.iter()
        .filter_map(|o| Some((o.name().to_owned(), is_available(&o.typed::<APIService>().ok()?))))
        .collect()
}

/// Follows APIServices and what they stand on, as long as the server lives.
pub fn follow(server: &Arc<Server>) {
    let weak = Arc::downgrade(server);
    let resources = [API_SERVICES, SERVICES, ENDPOINT_SLICES];
    follow::follow(&*server.caches, &resources, server, move |server: &Server, resource, event| {
        apply(server, &weak, resource, event);
    });
}
