//! DNS of a pod: policy, config and host aliases.

use super::ip;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig};

pub fn policy(policy: &str, path: &Path) -> Option<Error> {
    const ALL: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    match policy {
        "" => Some(Error::required(path, "")),
        p if ALL.contains(&p) => None,
        other => Some(Error::not_supported(path, other, ALL)),
    }
}

pub fn config(config: Option<&PodDNSConfig>, policy: &str, path: &Path) -> ErrorList {
    let none = policy == "None";
    let Some(c) = config else {
        let why = "must provide `dnsConfig` when `dnsPolicy` is None";
        return if none { vec![Error::required(path, why)] } else { ErrorList::new() };
    };
    let (servers, searches) = (list(&c.nameservers), list(&c.searches));
    let at = path.child("nameservers");
    if none && servers.is_empty() {
        let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        return vec![Error::required(&at, why)];
    }
    let mut errs = ErrorList::new();
    if servers.len() > 3 {
        errs.push(Error::invalid(&at, servers, "must not have more than 3 nameservers"));
    }
    for (i, s) in servers.iter().enumerate() {
        errs.extend(ip::legacy(s, &at.index(i), &[]));
    }
    let at = path.child("searches");
    if searches.len() > 32 {
        errs.push(Error::invalid(&at, searches, "must not have more than 32 search paths"));
    }
    if searches.join(" ").len() > 2048 {
        let why = "must not have more than 2048 characters (including spaces) in the search list";
        errs.push(Error::invalid(&at, searches, why));
    }
    for (i, s) in searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let s = s.strip_suffix('.').unwrap_or(s);
        errs.extend(invalid_each(&at.index(i), s, names::dns1123_subdomain_underscore(s)));
    }
    for (i, o) in list(&c.options).iter().enumerate() {
        if text(&o.name).is_empty() {
            errs.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
    errs
}

pub fn host_aliases(aliases: &[HostAlias], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, a) in aliases.iter().enumerate() {
        let at = path.index(i);
        errs.extend(ip::legacy(&a.ip, &at.child("ip"), &[]));
        for (j, h) in list(&a.hostnames).iter().enumerate() {
            errs.extend(invalid_each(&at.child("hostnames").index(j), h, names::dns1123_subdomain(h)));
        }
    }
    errs
}
