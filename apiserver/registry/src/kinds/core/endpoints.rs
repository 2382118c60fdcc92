//! `v1` Endpoints: what EndpointSlices replace.

use super::equal;
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::{containers, ip, meta};
use gantry_types::k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};

/// May be created by an update; what was stored under older rules may stay.
pub struct EndpointsObjects;

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

fn address(a: &EndpointAddress, path: &Path) -> ErrorList {
    let at = path.child("ip");
    let mut errs = ip::legacy(&a.ip, &at, &[]);
    let host = text(&a.hostname);
    if !host.is_empty() {
        errs.extend(invalid_each(&path.child("hostname"), host, names::dns1123_label(host)));
    }
    if let Some(node) = &a.node_name {
        errs.extend(invalid_each(&path.child("nodeName"), node, meta::subdomain_name(node, false)));
    }
    errs.extend(ip::endpoint(&a.ip, &at));
    errs
}

fn port(p: &EndpointPort, named: bool, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let name = text(&p.name);
    if named && name.is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    } else if !name.is_empty() {
        errs.extend(invalid_each(&path.child("name"), name, names::dns1123_label(name)));
    }
    let number = path.child("port");
    errs.extend(names::port_number(p.port.into()).into_iter().map(|m| Error::invalid(&number, &p.port, m)));
    match text(&p.protocol) {
        "" => errs.push(Error::required(&path.child("protocol"), "")),
        protocol => errs.extend(containers::protocol(protocol, &path.child("protocol"))),
    }
    if let Some(app) = &p.app_protocol {
        errs.extend(invalid_each(&path.child("appProtocol"), app, names::qualified_name(app)));
    }
    errs
}

fn subsets(endpoints: &Endpoints) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, s) in list(&endpoints.subsets).iter().enumerate() {
        let at = Path::new("subsets").index(i);
        let (ready, waiting, ports) = (list(&s.addresses), list(&s.not_ready_addresses), list(&s.ports));
        if ready.is_empty() && waiting.is_empty() {
            errs.push(Error::required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (field, all) in [("addresses", ready), ("notReadyAddresses", waiting)] {
            for (j, a) in all.iter().enumerate() {
                errs.extend(address(a, &at.child(field).index(j)));
            }
        }
        for (j, p) in ports.iter().enumerate() {
            errs.extend(port(p, ports.len() > 1, &at.child("ports").index(j)));
        }
    }
    errs
}

fn validate(endpoints: &Endpoints, old: Option<&Endpoints>) -> ErrorList {
    let mut errs = meta::object_meta(&endpoints.metadata, true, meta::subdomain_name);
    if !old.is_some_and(|o| equal::values(&o.subsets, &endpoints.subsets)) {
        errs.extend(subsets(endpoints));
    }
    errs
}

/// The first three addresses that are ready, and how many more there are.
fn summary(endpoints: &Endpoints) -> String {
    if list(&endpoints.subsets).is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for s in list(&endpoints.subsets) {
        let addresses = list(&s.addresses);
        if list(&s.ports).is_empty() {
            all.extend(addresses.iter().map(|a| a.ip.clone()));
        }
        for p in list(&s.ports) {
            all.extend(addresses.iter().map(|a| {
                if a.ip.contains(':') {
                    format!("[{}]:{}", a.ip, p.port)
                } else {
                    format!("{}:{}", a.ip, p.port)
                }
            }));
        }
    }
    let shown = all[..all.len().min(3)].join(",");
    if all.len() > 3 { format!("{shown} + {} more...", all.len() - 3) } else { shown }
}

impl Strategy for EndpointsObjects {
    type Kind = Endpoints;

    fn default(&self, endpoints: &mut Endpoints) {
        for p in endpoints.subsets.iter_mut().flatten().flat_map(|s| s.ports.iter_mut().flatten()) {
            default_text(&mut p.protocol, "TCP");
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, endpoints: &Endpoints) -> ErrorList {
        validate(endpoints, None)
    }

    fn validate_update(&self, _cx: &Context<'_>, endpoints: &Endpoints, old: &Endpoints) -> ErrorList {
        let mut errs = meta::object_meta_update(&endpoints.metadata, &old.metadata);
        errs.extend(validate(endpoints, Some(old)));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, endpoints: &Endpoints, _old: Option<&Endpoints>) -> Vec<String> {
        let by = endpoints.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY.0));
        if by.is_some_and(|by| by == MANAGED_BY.1) {
            return Vec::new();
        }
        let mut out = Vec::new();
        for (i, s) in list(&endpoints.subsets).iter().enumerate() {
            for (field, all) in
                [("addresses", list(&s.addresses)), ("notReadyAddresses", list(&s.not_ready_addresses))]
            {
                let at = Path::new("subsets").index(i).child(field);
                let odd = |(j, a): (usize, &EndpointAddress)| ip::warning(&a.ip, &at.index(j).child("ip"));
                out.extend(all.iter().enumerate().filter_map(odd));
            }
        }
        out
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, endpoints: &Endpoints, now: Timestamp) -> Vec<Cell> {
        vec![
            print::name(&endpoints.metadata),
            summary(endpoints).into(),
            print::age(endpoints.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_three_addresses() {
        let check = |json: &str, want: &str| {
            let endpoints: Endpoints = serde_json::from_str(json).unwrap();
            assert_eq!(summary(&endpoints), want);
        };
        check("{}", "<none>");
        check(r#"{"subsets":[{"notReadyAddresses":[{"ip":"1.1.1.1"}],"ports":[{"port":1}]}]}"#, "");
        check(
            r#"{"subsets":[{"addresses":[{"ip":"1.1.1.1"},{"ip":"::1"}],"ports":[{"port":1},{"port":2}]}]}"#,
            "1.1.1.1:1,[::1]:1,1.1.1.1:2 + 1 more...",
        );
        check(r#"{"subsets":[{"addresses":[{"ip":"1.1.1.1"}]}]}"#, "1.1.1.1");
    }
}
