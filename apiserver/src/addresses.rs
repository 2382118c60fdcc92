//! Keeping services, their `IPAddress` objects and what the allocators know of both in agreement.
//!
//! [`follow`] tells the allocators which ranges there are and which addresses are taken. [`keep`] mends what
//! a crash or a hand left behind: a service's address without its object, and an object nobody's service has.

use crate::assemble::Server;
use futures::StreamExt;
use gantry_auth::follow::{self, Synced};
use gantry_registry::alloc::{Allocators, IpRange, addresses_of};
use gantry_registry::generic::addresses::{MANAGED_BY, belongs_to};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::api::networking::v1::ServiceCIDR;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{Document, GroupResource, Object};
use ipnet::IpNet;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

pub const SERVICE_CIDRS: GroupResource = GroupResource::new("networking.k8s.io", "servicecidrs");
const IP_ADDRESSES: GroupResource = GroupResource::new("networking.k8s.io", "ipaddresses");
const SERVICES: GroupResource = GroupResource::new("", "services");

/// How long an address may wait for the service it was taken for.
const GRACE: Duration = Duration::from_secs(60);
/// How long a look waits, so that a write in progress is done.
const SETTLE: Duration = Duration::from_secs(5);

/// The name of the ServiceCIDR made from `--service-cluster-ip-range`.
pub const DEFAULT: &str = "kubernetes";

/// What feeds the allocators. Lives as long as it is held.
pub struct Follower {
    allocators: Allocators,
    /// The usable ranges of each ServiceCIDR.
    ranges: Mutex<BTreeMap<String, Vec<IpNet>>>,
}

/// The ranges of a ServiceCIDR addresses may be taken from: none while it is not ready or going.
fn usable(cidr: &ServiceCIDR) -> Vec<IpNet> {
    let conditions = cidr.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|c| c.type_ == "Ready").is_none_or(|c| c.status == "True");
    if !ready || cidr.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let all = cidr.spec.iter().flat_map(|s| s.cidrs.iter().flatten());
    all.filter_map(|c| c.parse().ok()).collect()
}

/// All ranges, each once, those of the default ServiceCIDR first.
fn ranges(all: &BTreeMap<String, Vec<IpNet>>) -> Vec<IpRange> {
    let others = all.iter().filter(|(name, _)| *name != DEFAULT).flat_map(|(_, nets)| nets);
    let mut out: Vec<IpRange> = Vec::new();
    for net in all.get(DEFAULT).into_iter().flatten().chain(others) {
        let range = IpRange::new(net.addr(), net.prefix_len());
        if !out.contains(&range) {
            out.push(range);
        }
    }
    out
}

impl Follower {
    fn apply(&self, resource: usize, event: ObjectEvent) {
        match (resource, event) {
            (0, ObjectEvent::Reset) => self.ranges.lock().clear(),
            (0, ObjectEvent::Applied(o)) => {
                if let Ok(cidr) = o.typed::<ServiceCIDR>() {
                    let mut all = self.ranges.lock();
                    all.insert(o.name().to_owned(), usable(&cidr));
                    self.allocators.set_ranges(ranges(&all));
                }
            }
            (0, ObjectEvent::Deleted(o)) => {
                let mut all = self.ranges.lock();
                all.remove(o.name());
                self.allocators.set_ranges(ranges(&all));
            }
            (0, ObjectEvent::Synced) => {}
            (_, ObjectEvent::Reset) => self.allocators.reset(),
            (_, ObjectEvent::Applied(o)) => {
                o.name().parse().into_iter().for_each(|ip| self.allocators.seen(ip))
            }
            (_, ObjectEvent::Deleted(o)) => {
                o.name().parse().into_iter().for_each(|ip| self.allocators.gone(ip))
            }
            (_, ObjectEvent::Synced) => {}
        }
    }
}

/// Follows ranges and addresses. Until a ServiceCIDR is seen, the allocators keep the ranges they have.
pub fn follow(reader: &dyn ObjectReader, allocators: Allocators) -> (Arc<Follower>, Synced) {
    let this = Arc::new(Follower { allocators, ranges: Mutex::default() });
    let synced = follow::follow(reader, &[SERVICE_CIDRS, IP_ADDRESSES], &this, |this, resource, event| {
        this.apply(resource, event);
    });
    (this, synced)
}

/// What is to be done about an address given out here.
#[derive(Debug, PartialEq)]
enum Verdict {
    Keep,
    Later,
    Remove,
}

/// Judges an address' object by the service it names.
fn judge(address: &Document, service: Option<&Service>, now: Timestamp) -> Verdict {
    if address.label(MANAGED_BY.0) != Some(MANAGED_BY.1) {
        return Verdict::Keep;
    }
    let parent = |field: &str| address.str_at(&["spec", "parentRef", field]).unwrap_or_default();
    if !belongs_to(address, parent("namespace"), parent("name")) {
        return Verdict::Remove;
    }
    let has = service.is_some_and(|s| addresses_of(s).iter().any(|ip| ip.to_string() == address.name()));
    if has {
        return Verdict::Keep;
    }
    let born: Option<Timestamp> = address.meta_str("creationTimestamp").parse().ok();
    let age = born.map_or(i64::MAX, |b| now.as_second() - b.as_second());
    if age > GRACE.as_secs().cast_signed() { Verdict::Remove } else { Verdict::Later }
}

/// A look to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    Address(String),
    Service(String, String),
}

/// Where an address' object points to.
fn parent_of(address: &Document) -> (String, String) {
    let parent = |field: &str| address.str_at(&["spec", "parentRef", field]).unwrap_or_default().to_owned();
    (parent("namespace"), parent("name"))
}

fn document(object: &Object) -> Option<Document> {
    Document::from_json(object.body()).ok()
}

struct Keeper {
    server: Arc<Server>,
}

impl Keeper {
    fn service(&self, namespace: &str, name: &str) -> Option<Service> {
        self.server.caches.get(&SERVICES, namespace, name)?.typed().ok()
    }

    fn address(&self, ip: &str) -> Option<Document> {
        document(&self.server.caches.get(&IP_ADDRESSES, "", ip)?)
    }

    /// Whether another look is needed.
    async fn look_at_address(&self, ip: &str) -> bool {
        let Some(address) = self.address(ip) else { return false };
        let (namespace, name) = parent_of(&address);
        match judge(&address, self.service(&namespace, &name).as_ref(), Timestamp::now()) {
            Verdict::Keep => false,
            Verdict::Later => true,
            Verdict::Remove => {
                tracing::warn!(ip, namespace, name, "IPAddress appears to have leaked: cleaning up");
                self.remove(&address).await;
                false
            }
        }
    }

    async fn remove(&self, address: &Document) {
        let Some(endpoint) = self.server.registry.addresses() else { return };
        if let Err(error) = endpoint.remove_address(address).await {
            tracing::warn!(ip = address.name(), %error, "cannot remove an IPAddress");
        }
    }

    async fn look_at_service(&self, namespace: &str, name: &str) {
        let Some(service) = self.service(namespace, name) else { return };
        for ip in addresses_of(&service) {
            if let Some(address) = self.address(&ip.to_string()) {
                if belongs_to(&address, namespace, name) {
                    continue;
                }
                let (other_namespace, other) = parent_of(&address);
                let others = self.service(&other_namespace, &other);
                if belongs_to(&address, &other_namespace, &other)
                    && others.is_some_and(|s| addresses_of(&s).contains(&ip))
                {
                    tracing::error!(%ip, namespace, name, "Cluster IP was assigned to multiple services; please recreate service");
                    continue;
                }
                self.remove(&address).await;
            }
            self.claim(ip, namespace, name).await;
        }
    }

    async fn claim(&self, ip: IpAddr, namespace: &str, name: &str) {
        let Some(endpoint) = self.server.registry.addresses() else { return };
        match endpoint.claim(ip, namespace, name).await {
            Ok(()) => tracing::warn!(%ip, namespace, name, "Cluster IP is not allocated; repaired"),
            Err(error) => tracing::debug!(%ip, namespace, name, %error, "Cluster IP is not allocated"),
        }
    }

    /// Everything once: what a crash may have left.
    async fn look_at_all(&self) -> Vec<Look> {
        let mut again = Vec::new();
        for object in self.server.caches.list(&SERVICES, None) {
            self.look_at_service(object.namespace(), object.name()).await;
        }
        for object in self.server.caches.list(&IP_ADDRESSES, None) {
            if self.look_at_address(object.name()).await {
                again.push(Look::Address(object.name().to_owned()));
            }
        }
        again
    }
}

/// What an event makes worth a look.
fn looks(of_services: bool, event: &ObjectEvent) -> Vec<Look> {
    match event {
        ObjectEvent::Deleted(o) if of_services => o
            .typed::<Service>()
            .map(|s| addresses_of(&s).iter().map(|ip| Look::Address(ip.to_string())).collect())
            .unwrap_or_default(),
        ObjectEvent::Deleted(o) => document(o)
            .map(|d| parent_of(&d))
            .map(|(namespace, name)| Look::Service(namespace, name))
            .into_iter()
            .collect(),
        ObjectEvent::Applied(o) if !of_services => vec![Look::Address(o.name().to_owned())],
        _ => Vec::new(),
    }
}

/// Looks at everything, then at whatever changes, a little later. Ends with the server. Holds `follower`.
pub async fn keep(server: Weak<Server>, follower: Arc<Follower>) {
    let Some(now) = server.upgrade() else { return };
    let mut services = now.caches.subscribe(&SERVICES);
    let mut addresses = now.caches.subscribe(&IP_ADDRESSES);
    // The delay is one and the same, so the oldest is always the next.
    let mut due: VecDeque<(Instant, Look)> = VecDeque::new();
    let first = Keeper { server: now }.look_at_all().await;
    due.extend(first.into_iter().map(|look| (Instant::now() + GRACE, look)));
    let (mut synced_services, mut synced_addresses) = (false, false);
    loop {
        let next = due.front().map(|(at, _)| *at);
        let wait = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            event = services.next() => match event {
                None => break,
                Some(event) => {
                    synced_services |= matches!(event, ObjectEvent::Synced);
                    if synced_services { looks(true, &event) } else { Vec::new() }
                }
            },
            event = addresses.next() => match event {
                None => break,
                Some(event) => {
                    synced_addresses |= matches!(event, ObjectEvent::Synced);
                    if synced_addresses { looks(false, &event) } else { Vec::new() }
                }
            },
            () = wait => {
                let Some((_, look)) = due.pop_front() else { continue };
                let Some(server) = server.upgrade() else { break };
                let keeper = Keeper { server };
                match &look {
                    Look::Service(namespace, name) => keeper.look_at_service(namespace, name).await,
                    Look::Address(ip) if keeper.look_at_address(ip).await => {
                        let at = due.back().map_or_else(Instant::now, |(at, _)| *at).max(Instant::now() + SETTLE);
                        due.push_back((at, look));
                    }
                    Look::Address(_) => {}
                }
                continue;
            }
        };
        due.extend(found.into_iter().map(|look| (Instant::now() + SETTLE, look)));
    }
    drop(follower);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_their_service() {
        let now: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
        let check = |by: &str, parent: &str, born: &str, service: Option<&str>, want: Verdict| {
            let text = format!(
                r#"{{"metadata":{{"name":"10.0.0.1","creationTimestamp":"2026-01-01T{born}Z","labels":{{"{}":"{by}"}}}},"spec":{{"parentRef":{parent}}}}}"#,
                MANAGED_BY.0
            );
            let address = Document::from_json(text.as_bytes()).unwrap();
            let service: Option<Service> = service
                .map(|ip| serde_json::from_str(&format!(r#"{{"spec":{{"clusterIPs":["{ip}"]}}}}"#)).unwrap());
            assert_eq!(judge(&address, service.as_ref(), now), want, "{by} {parent} {born}");
        };
        let (ours, parent) = (MANAGED_BY.1, r#"{"resource":"services","namespace":"n","name":"s"}"#);
        check(ours, parent, "00:00:00", Some("10.0.0.1"), Verdict::Keep);
        check(ours, parent, "00:00:00", Some("10.0.0.2"), Verdict::Remove);
        check(ours, parent, "00:00:00", None, Verdict::Remove);
        check(ours, parent, "00:01:50", None, Verdict::Later);
        check("me", parent, "00:00:00", None, Verdict::Keep);
        check(
            ours,
            r#"{"group":"x.io","resource":"gateways","name":"s"}"#,
            "00:01:59",
            None,
            Verdict::Remove,
        );
    }

    #[test]
    fn ranges_come_from_what_is_ready() {
        let check = |object: &str, want: usize| {
            let cidr: ServiceCIDR = serde_json::from_str(object).unwrap();
            assert_eq!(usable(&cidr).len(), want, "{object}");
        };
        check(r#"{"spec":{"cidrs":["10.0.0.0/24","fd00::/64"]}}"#, 2);
        check(
            r#"{"spec":{"cidrs":["10.0.0.0/24"]},"status":{"conditions":[{"type":"Ready","status":"False","reason":"","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#,
            0,
        );
        check(
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"cidrs":["10.0.0.0/24"]}}"#,
            0,
        );
        let net = |s: &str| vec![s.parse().unwrap()];
        let all = [
            ("a".to_owned(), net("10.2.0.0/24")),
            (DEFAULT.to_owned(), net("10.1.0.0/24")),
            ("z".to_owned(), net("10.2.0.0/24")),
        ];
        let found = ranges(&all.into());
        assert_eq!(
            found.iter().map(|r| r.network().to_string()).collect::<Vec<_>>(),
            ["10.1.0.0", "10.2.0.0"]
        );
    }
}
