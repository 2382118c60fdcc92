//! What backends serve, among what this server does.

use super::{Route, Routes, check};
use crate::assemble::Server;
use bytes::Bytes;
use gantry_aggregate::availability::Address;
use gantry_aggregate::order::{self, Entry};
use gantry_aggregate::registration::{self, OWN_GROUP};
use gantry_aggregate::{group_version, spec};
use gantry_openapi::discovery::{Group, Version, parse_resources};
use gantry_openapi::v3;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use std::collections::BTreeMap;

/// Where groups nobody gave a priority stand.
const UNKNOWN: (i32, i32) = (1000, 100);

/// An answer to a look.
pub(super) struct Found {
    pub address: Address,
    /// The list of resources, as it came.
    pub resources: Bytes,
}

/// What is known of a backend's API.
#[derive(Default)]
pub(super) struct Known {
    resources: Bytes,
    /// Whether it was true when last looked.
    fresh: bool,
    /// The entity tag of its OpenAPI document; none where it has none.
    openapi: Option<String>,
}

impl Known {
    pub fn is_news(&self, resources: &Bytes) -> bool {
        !self.fresh || self.resources != *resources
    }

    /// Whether that changes anything.
    pub fn learn(&mut self, resources: &Bytes, openapi: Option<String>) -> bool {
        if !self.is_news(resources) {
            return false;
        }
        *self = Self { resources: resources.clone(), fresh: true, openapi };
        true
    }

    /// The backend does not answer; what it last said stays. Whether that changes anything.
    pub fn lose(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }
}

/// Where the group version's discovery document is.
pub(super) fn path(service: &APIService) -> String {
    let (group, version) = group_version(service);
    format!("/apis/{group}/{version}")
}

/// The entity tag of a backend's OpenAPI document of its group version.
pub(super) async fn openapi(route: &Route, address: &Address) -> Option<String> {
    let index = check::get(&route.backend, address, "/openapi/v3").await.ok()?;
    let (group, version) = group_version(&route.service);
    v3::parse_index(&index, &v3::key(group, version))
}

fn version(name: &str, route: &Route) -> Version {
    let known = route.watched.known.lock();
    Version {
        name: name.to_owned().into(),
        resources: parse_resources(&known.resources),
        stale: !known.fresh,
    }
}

/// Local and remote groups in the order of their priorities; a remote group version hides a local one.
fn merge(local: &[Group], routes: &Routes) -> Vec<Group> {
    let mut entries = Vec::new();
    for group in local {
        for version in group
            .versions
            .iter()
            .filter(|v| !routes.contains_key(&(group.name.to_string(), v.name.to_string())))
        {
            let (group_priority, version_priority) = match &*group.name {
                OWN_GROUP => (i32::MAX, 1),
                name => registration::priority(name, &version.name).unwrap_or(UNKNOWN),
            };
            entries.push(Entry {
                group: &group.name,
                version: &version.name,
                group_priority,
                version_priority,
            });
        }
    }
    for ((group, version), route) in routes {
        let spec = spec(&route.service);
        entries.push(Entry {
            group,
            version,
            group_priority: spec.map_or(0, |s| s.group_priority_minimum),
            version_priority: spec.map_or(0, |s| s.version_priority),
        });
    }
    let groups = order::groups(&entries);
    let found = |group: &str, name: &str| match routes.get(&(group.to_owned(), name.to_owned())) {
        Some(route) => Some(version(name, route)),
        None => {
            let group = local.iter().find(|g| g.name == group)?;
            group.versions.iter().find(|v| v.name == name).cloned()
        }
    };
    groups
        .into_iter()
        .map(|(group, versions)| Group {
            name: group.to_owned().into(),
            versions: versions.into_iter().filter_map(|v| found(group, v)).collect(),
        })
        .collect()
}

/// Shows clients what there is now.
pub(super) fn publish(server: &Server) {
    let _in_turn = server.aggregation.publishing.lock();
    let routes = server.aggregation.routes();
    let tags: BTreeMap<String, String> = routes
        .iter()
        .filter_map(|((group, version), route)| {
            let tag = route.watched.known.lock().openapi.clone()?;
            Some((v3::key(group, version), tag))
        })
        .collect();
    server.published.show(|local| merge(local, &routes), tags);
}
