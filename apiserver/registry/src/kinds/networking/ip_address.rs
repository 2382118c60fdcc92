//! `networking.k8s.io/v1` IPAddress: an address is taken by the object of its name.

use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::{ip, meta};
use gantry_types::k8s_openapi::api::networking::v1::{IPAddress, ParentReference};
use gantry_types::k8s_openapi::{ClusterResourceScope, Metadata, Resource};
use serde::{Deserialize, Serialize};

/// Whom an address belongs to never changes.
pub struct IpAddresses;

/// The object as sent: unlike the generated type it tells a parent left out from an empty one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    #[serde(skip_deserializing, default = "api_version")]
    api_version: &'static str,
    #[serde(skip_deserializing, default = "kind")]
    kind: &'static str,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

fn api_version() -> &'static str {
    IPAddress::API_VERSION
}

fn kind() -> &'static str {
    IPAddress::KIND
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_ref: Option<ParentReference>,
}

impl Resource for Address {
    const API_VERSION: &'static str = IPAddress::API_VERSION;
    const GROUP: &'static str = IPAddress::GROUP;
    const KIND: &'static str = IPAddress::KIND;
    const VERSION: &'static str = IPAddress::VERSION;
    const URL_PATH_SEGMENT: &'static str = IPAddress::URL_PATH_SEGMENT;
    type Scope = ClusterResourceScope;
}

impl Metadata for Address {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A parent as Go prints it in a complaint.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Printed<'a> {
    group: &'a str,
    resource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

fn printed(p: &ParentReference) -> Printed<'_> {
    Printed { group: text(&p.group), resource: &p.resource, namespace: text(&p.namespace), name: &p.name }
}

fn parent(p: Option<&ParentReference>) -> ErrorList {
    let path = Path::new("spec").child("parentRef");
    let Some(p) = p else { return vec![Error::required(&path, "")] };
    let mut errs = ErrorList::new();
    let group = text(&p.group);
    if !group.is_empty() {
        errs.extend(invalid_each(&path.child("group"), group, names::dns1123_subdomain(group)));
    }
    for (field, value, required) in [
        ("resource", p.resource.as_str(), true),
        ("name", &p.name, true),
        ("namespace", text(&p.namespace), false),
    ] {
        let at = path.child(field);
        if !value.is_empty() {
            errs.extend(invalid_each(&at, value, names::path_segment_name(value)));
        } else if required {
            errs.push(Error::required(&at, ""));
        }
    }
    errs
}

fn name_rule(name: &str, _prefix: bool) -> Vec<String> {
    ip::strict(name, &Path::root()).into_iter().map(|e| e.detail).collect()
}

fn validate(address: &Address) -> ErrorList {
    let mut errs = meta::object_meta(&address.metadata, false, name_rule);
    errs.extend(parent(address.spec.parent_ref.as_ref()));
    errs
}

impl Strategy for IpAddresses {
    type Kind = Address;

    fn validate_create(&self, _cx: &Context<'_>, address: &Address) -> ErrorList {
        validate(address)
    }

    fn validate_update(&self, _cx: &Context<'_>, address: &Address, old: &Address) -> ErrorList {
        let mut errs = validate(address);
        errs.extend(meta::object_meta_update(&address.metadata, &old.metadata));
        if address.spec.parent_ref != old.spec.parent_ref {
            let new = address.spec.parent_ref.as_ref().map(printed);
            // Strings always serialize.
            let new = serde_json::to_string(&new).unwrap_or_default();
            errs.push(invalid_raw(&Path::new("spec").child("parentRef"), new, "field is immutable"));
        }
        errs
    }

    fn row(&self, address: &Address, _now: Timestamp) -> Vec<Cell> {
        let parent = address.spec.parent_ref.as_ref().map(|p| {
            let group = text(&p.group);
            let dot = if group.is_empty() { "" } else { "." };
            let mut shown = format!("{}{dot}{group}", p.resource).to_lowercase();
            for part in [text(&p.namespace), &p.name] {
                if !part.is_empty() {
                    shown.push('/');
                    shown.push_str(part);
                }
            }
            shown
        });
        vec![print::name(&address.metadata), parent.unwrap_or_else(|| "<none>".to_owned()).into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        name_rule(name, prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_whose_it_is() {
        let check = |spec: &str, want: &str| {
            let address: Address =
                serde_json::from_str(&format!(r#"{{"metadata":{{"name":"1.1.1.1"}},"spec":{spec}}}"#))
                    .unwrap();
            assert_eq!(IpAddresses.row(&address, Timestamp::UNIX_EPOCH)[1], want.into());
        };
        check("{}", "<none>");
        check(r#"{"parentRef":{"resource":"services","namespace":"n","name":"s"}}"#, "services/n/s");
        check(
            r#"{"parentRef":{"group":"a.io","resource":"gateways","namespace":"n","name":"g"}}"#,
            "gateways.a.io/n/g",
        );
        check(r#"{"parentRef":{"group":"a.io","resource":"pools","name":"g"}}"#, "pools.a.io/g");
    }
}
