//! `networking.k8s.io/v1` ServiceCIDR: ranges services take their addresses from.

use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::{ip, meta};
use gantry_types::k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRSpec, ServiceCIDRStatus};
use serde::Serialize;

/// Ranges stay what they are; one of the other family may join a single one.
pub struct ServiceCidrs;

const IMMUTABLE: &str = "field is immutable";

fn cidrs(object: &ServiceCIDR) -> &[String] {
    object.spec.as_ref().map_or(&[], |s| list(&s.cidrs))
}

fn path() -> Path {
    Path::new("spec").child("cidrs")
}

/// The whole spec as Go prints it in a complaint.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(rename = "CIDRs")]
    cidrs: &'a [String],
}

fn ranges(all: &[String]) -> ErrorList {
    if all.is_empty() {
        return vec![Error::required(&path(), "at least one CIDR required")];
    }
    if all.len() > 2 {
        return vec![Error::invalid(&path(), &Printed { cidrs: all }, "may only hold up to 2 values")];
    }
    let mut errs = ErrorList::new();
    for (i, cidr) in all.iter().enumerate() {
        let at = path().index(i);
        let found = ip::legacy_cidr(cidr, &at, &[]);
        match ip::parse_cidr_sloppy(cidr) {
            Some((address, bits)) if found.is_empty() && format!("{address}/{bits}") != *cidr => {
                let why = format!("must be in canonical form (\"{address}/{bits}\")");
                errs.push(Error::invalid(&at, cidr, why));
            }
            _ => errs.extend(found),
        }
    }
    let families: Vec<bool> =
        all.iter().filter_map(|c| ip::parse_cidr_sloppy(c)).map(|(address, _)| address.is_ipv4()).collect();
    if let [a, b] = families.as_slice()
        && a == b
    {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errs.push(Error::invalid(&path(), all, why));
    }
    errs
}

fn changes(new: &[String], old: &[String]) -> ErrorList {
    let changed = |n: usize| {
        let pairs = new.iter().zip(old).enumerate().take(n).filter(|(_, (n, o))| n != o);
        pairs.map(|(i, (n, _))| Error::invalid(&path().index(i), n, IMMUTABLE)).collect::<ErrorList>()
    };
    match (old.len(), new.len()) {
        (a, b) if a == b => changed(a),
        (1, 2) => {
            let mut errs = changed(1);
            errs.extend(ranges(new));
            errs
        }
        _ => vec![Error::invalid(&path(), new, IMMUTABLE)],
    }
}

/// What a write of the status leaves alone in the metadata.
fn keep_metadata(new: &mut ObjectMeta, old: &ObjectMeta) {
    new.deletion_timestamp.clone_from(&old.deletion_timestamp);
    new.generation = old.generation;
    new.labels.clone_from(&old.labels);
    new.annotations.clone_from(&old.annotations);
    new.finalizers.clone_from(&old.finalizers);
    new.owner_references.clone_from(&old.owner_references);
}

impl Strategy for ServiceCidrs {
    type Kind = ServiceCIDR;

    fn prepare_create(&self, _cx: &Context<'_>, object: &mut ServiceCIDR) {
        object.spec.get_or_insert_with(ServiceCIDRSpec::default);
        object.status = Some(ServiceCIDRStatus::default());
    }

    fn prepare_update(&self, cx: &Context<'_>, object: &mut ServiceCIDR, old: &ServiceCIDR) {
        if cx.subresource == "status" {
            object.spec.clone_from(&old.spec);
            keep_metadata(&mut object.metadata, &old.metadata);
        } else {
            object.status.clone_from(&old.status);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, object: &ServiceCIDR) -> ErrorList {
        let mut errs = meta::object_meta(&object.metadata, false, meta::subdomain_name);
        errs.extend(ranges(cidrs(object)));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, object: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        let mut errs = meta::object_meta_update(&object.metadata, &old.metadata);
        if cx.subresource.is_empty() {
            errs.extend(changes(cidrs(object), cidrs(old)));
        }
        errs
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["metadata", "spec"] } else { &["status"] }
    }

    fn row(&self, object: &ServiceCIDR, now: Timestamp) -> Vec<Cell> {
        vec![
            print::name(&object.metadata),
            cidrs(object).join(",").into(),
            print::age(object.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
