//! Discovery: which groups, versions and resources are served.
//!
//! [`builtin_groups`] is what the scheme says; custom resources and aggregated APIs are further [`Group`]s.

use crate::{Document, etag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_types::scheme::{self, Kind, Storage, Subresource};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

type Text = Cow<'static, str>;

/// A group with its versions, the preferred one first. The core group's name is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub name: Text,
    pub versions: Vec<Version>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub name: Text,
    pub resources: Vec<Resource>,
    /// Whether whoever serves it could not be asked.
    pub stale: bool,
}

/// A resource or, inside [`Resource::subresources`], a subresource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The plural, or the subresource's bare name.
    pub name: Text,
    /// Empty for subresources.
    pub singular: Text,
    pub namespaced: bool,
    pub kind: Text,
    /// Group and version of the kind where they differ from the resource's.
    pub group_version: Option<(Text, Text)>,
    /// Sorted.
    pub verbs: Vec<Text>,
    pub short_names: Vec<Text>,
    pub categories: Vec<Text>,
    /// Empty where nothing is stored.
    pub storage_hash: String,
    pub subresources: Vec<Resource>,
}

/// The hash clients notice a change of the storage version by.
pub fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    STANDARD.encode(&Sha256::digest(format!("{group}/{version}/{kind}"))[..8])
}

fn texts(list: &'static [&'static str]) -> Vec<Text> {
    list.iter().map(|s| Text::Borrowed(s)).collect()
}

fn resource(kind: &'static Kind) -> Resource {
    let storage_hash = match kind.storage {
        Storage::Virtual => String::new(),
        _ => kind.stored().map_or(String::new(), |k| storage_version_hash(k.group, k.version, k.kind)),
    };
    let mut subresources: Vec<Resource> = kind.subresources.iter().map(|s| subresource(kind, s)).collect();
    subresources.sort_by(|a, b| a.name.cmp(&b.name));
    Resource {
        name: kind.plural.into(),
        singular: kind.singular.into(),
        namespaced: kind.namespaced(),
        kind: kind.kind.into(),
        group_version: None,
        verbs: texts(kind.verbs),
        short_names: texts(kind.short_names),
        categories: texts(kind.categories),
        storage_hash,
        subresources,
    }
}

fn subresource(parent: &Kind, sub: &'static Subresource) -> Resource {
    Resource {
        name: sub.name.into(),
        singular: "".into(),
        namespaced: parent.namespaced(),
        kind: sub.kind.into(),
        group_version: sub.group_version.map(|(g, v)| (g.into(), v.into())),
        verbs: texts(sub.verbs),
        short_names: Vec::new(),
        categories: Vec::new(),
        storage_hash: String::new(),
        subresources: Vec::new(),
    }
}

/// The groups of the scheme, in discovery order; the core group is among them.
pub fn builtin_groups() -> Vec<Group> {
    let version = |group: &str, version: &'static str| {
        let mut resources: Vec<Resource> =
            scheme::KINDS.iter().filter(|k| k.group == group && k.version == version).map(resource).collect();
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        Version { name: version.into(), resources, stale: false }
    };
    scheme::groups()
        .into_iter()
        .map(|(name, versions)| Group {
            name: name.into(),
            versions: versions.into_iter().map(|v| version(name, v)).collect(),
        })
        .collect()
}

const JSON: &str = "application/json";

fn document(value: &impl Serialize) -> Document {
    // Values made of text always serialize; upstream's encoder ends with a line break.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    Document::new(body, JSON)
}

/// `/api`. `server_address` is the host and port clients are told to use.
pub fn api_versions(server_address: &str) -> Document {
    document(&json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": server_address }],
    }))
}

fn group_body(group: &Group) -> Value {
    let version =
        |v: &Version| json!({ "groupVersion": format!("{}/{}", group.name, v.name), "version": v.name });
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

/// `/apis`. The core group is left out.
pub fn api_group_list(groups: &[Group]) -> Document {
    let groups: Vec<Value> = groups.iter().filter(|g| !g.name.is_empty()).map(group_body).collect();
    document(&json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
}

/// `/apis/<group>`.
pub fn api_group(group: &Group) -> Document {
    let mut body = group_body(group);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    document(&body)
}

/// `/api/v1` and `/apis/<group>/<version>`.
pub fn api_resource_list(group: &str, version: &Version) -> Document {
    let mut resources = Vec::new();
    for r in &version.resources {
        resources.push(plain(&r.name, r));
        resources.extend(r.subresources.iter().map(|s| plain(&format!("{}/{}", r.name, s.name), s)));
    }
    // Upstream sorts by path.
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut body = json!({ "kind": "APIResourceList", "resources": resources });
    if group.is_empty() {
        body["groupVersion"] = version.name.clone().into();
    } else {
        body["apiVersion"] = "v1".into();
        body["groupVersion"] = format!("{group}/{}", version.name).into();
    }
    document(&body)
}

fn plain(name: &str, r: &Resource) -> Value {
    let mut out = json!({
        "name": name,
        "singularName": r.singular,
        "namespaced": r.namespaced,
        "kind": r.kind,
        "verbs": r.verbs,
    });
    if let Some((group, version)) = &r.group_version {
        if !group.is_empty() {
            out["group"] = group.clone().into();
        }
        out["version"] = version.clone().into();
    }
    if !r.storage_hash.is_empty() {
        out["storageVersionHash"] = r.storage_hash.clone().into();
    }
    names(&mut out, r);
    out
}

fn names(out: &mut Value, r: &Resource) {
    for (key, list) in [("shortNames", &r.short_names), ("categories", &r.categories)] {
        if !list.is_empty() {
            out[key] = json!(list);
        }
    }
}

/// The resources of an `APIResourceList` somebody else serves; none where it is not one.
pub fn parse_resources(list: &[u8]) -> Vec<Resource> {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |v: &Value| Text::Owned(v.as_str().unwrap_or_default().to_owned());
    let texts = |v: &Value| v.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let read = |v: &Value, name: &str| Resource {
        name: name.to_owned().into(),
        singular: text(&v["singularName"]),
        namespaced: v["namespaced"].as_bool().unwrap_or(false),
        kind: text(&v["kind"]),
        group_version: v["version"].is_string().then(|| (text(&v["group"]), text(&v["version"]))),
        verbs: texts(&v["verbs"]),
        short_names: texts(&v["shortNames"]),
        categories: texts(&v["categories"]),
        storage_hash: v["storageVersionHash"].as_str().unwrap_or_default().to_owned(),
        subresources: Vec::new(),
    };
    let mut out: Vec<Resource> = Vec::new();
    for (v, name) in all.iter().filter_map(|v| Some((v, v["name"].as_str()?))) {
        if !name.contains('/') {
            out.push(read(v, name));
        }
    }
    for (v, name) in all.iter().filter_map(|v| Some((v, v["name"].as_str()?))) {
        if let Some((parent, sub)) = name.split_once('/')
            && let Some(parent) = out.iter_mut().find(|r| r.name == parent)
        {
            parent.subresources.push(read(v, sub));
        }
    }
    out
}

/// The version of the aggregated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    V2,
    V2Beta1,
}

impl Aggregated {
    /// By one media range of an `Accept` header (`application/json;g=apidiscovery.k8s.io;v=v2;as=…`).
    pub fn parse(media_range: &str) -> Option<Self> {
        let mut parts = media_range.split(';').map(str::trim);
        if parts.next() != Some(JSON) {
            return None;
        }
        let (mut group, mut version, mut kind) = (false, None, false);
        for part in parts {
            match part.split_once('=') {
                Some(("g", v)) => group = v == "apidiscovery.k8s.io",
                Some(("as", v)) => kind = v == "APIGroupDiscoveryList",
                Some(("v", "v2")) => version = Some(Self::V2),
                Some(("v", "v2beta1")) => version = Some(Self::V2Beta1),
                _ => {}
            }
        }
        version.filter(|_| group && kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// The aggregated form of `/api` (`legacy`: the core group alone) or of `/apis` (all the others).
pub fn aggregated(groups: &[Group], form: Aggregated, legacy: bool) -> Document {
    let items: Vec<Value> =
        groups.iter().filter(|g| g.name.is_empty() == legacy).map(aggregated_group).collect();
    let mut body = serde_json::to_vec(&json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{}", form.name()),
        "metadata": {},
        "items": items,
    }))
    // A tree of JSON values always serializes.
    .unwrap_or_default();
    body.push(b'\n');
    let etag = etag(&body);
    Document { body: body.into(), etag, content_type: form.content_type() }
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|v| {
            let resources: Vec<Value> = v.resources.iter().map(aggregated_resource).collect();
            let freshness = if v.stale { "Stale" } else { "Current" };
            json!({ "version": v.name, "resources": resources, "freshness": freshness })
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({ "name": group.name }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn response_kind(r: &Resource) -> Value {
    let (group, version) = r.group_version.clone().unwrap_or_default();
    json!({ "group": group, "version": version, "kind": r.kind })
}

fn aggregated_resource(r: &Resource) -> Value {
    let mut out = json!({
        "resource": r.name,
        "responseKind": response_kind(r),
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": r.singular,
        "verbs": r.verbs,
    });
    names(&mut out, r);
    if !r.subresources.is_empty() {
        let subresources: Vec<Value> = r
            .subresources
            .iter()
            .map(|s| json!({ "subresource": s.name, "responseKind": response_kind(s), "verbs": s.verbs }))
            .collect();
        out["subresources"] = subresources.into();
    }
    out
}

#[cfg(test)]
mod tests;
