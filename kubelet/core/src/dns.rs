//! A sandbox's resolver configuration.

use crate::pods;
use k8s_openapi::api::core::v1::Pod;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// Reads a resolv.conf; the last `search` and `options` lines count.
pub fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => {
                dns.searches =
                    words.map(|w| if w == "." { w } else { w.trim_end_matches('.') }.to_owned()).collect();
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

/// The pod's resolver configuration, and a warning where limits cut something off.
pub fn for_pod(pod: &Pod, host: &Dns, cluster_dns: &[String], domain: &str) -> (Dns, Option<String>) {
    let spec = pods::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !pods::host_network(pod),
        _ => false,
    } && !cluster_dns.is_empty();
    let mut dns = match policy {
        "None" => Dns::default(),
        _ if cluster => {
            let mut searches = Vec::new();
            if !domain.is_empty() {
                searches.push(format!("{}.svc.{domain}", pods::namespace(pod)));
                searches.push(format!("svc.{domain}"));
                searches.push(domain.to_owned());
            }
            append_new(&mut searches, &host.searches);
            Dns { servers: cluster_dns.to_vec(), searches, options: vec!["ndots:5".into()] }
        }
        _ => host.clone(),
    };
    if let Some(own) = &spec.dns_config {
        append_new(&mut dns.servers, own.nameservers.as_deref().unwrap_or_default());
        append_new(&mut dns.searches, own.searches.as_deref().unwrap_or_default());
        merge_options(
            &mut dns.options,
            own.options.iter().flatten().map(|o| {
                let name = o.name.clone().unwrap_or_default();
                match o.value.as_deref().filter(|v| !v.is_empty()) {
                    Some(v) => format!("{name}:{v}"),
                    None => name,
                }
            }),
        );
    }
    let warning = limit(&mut dns);
    (dns, warning)
}

fn append_new(to: &mut Vec<String>, from: &[String]) {
    for item in from {
        if !to.contains(item) {
            to.push(item.clone());
        }
    }
}

fn merge_options(to: &mut Vec<String>, from: impl Iterator<Item = String>) {
    let name = |o: &str| o.split(':').next().unwrap_or_default().to_owned();
    for option in from {
        to.retain(|o| name(o) != name(&option));
        to.push(option);
    }
}

fn limit(dns: &mut Dns) -> Option<String> {
    let mut warning = None;
    if dns.servers.len() > MAX_SERVERS {
        dns.servers.truncate(MAX_SERVERS);
        warning = Some(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            dns.servers.join(" ")
        ));
    }
    let before = dns.searches.len();
    dns.searches.truncate(MAX_SEARCHES);
    dns.searches.retain(|s| s.len() <= 253);
    while dns.searches.join(" ").len() > MAX_SEARCH_CHARS {
        dns.searches.pop();
    }
    if dns.searches.len() != before {
        warning = Some(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            dns.searches.join(" ")
        ));
    }
    warning
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption, PodSpec};

    #[test]
    fn policies_choose() {
        let host = parse("nameserver 1.1.1.1\nsearch corp.example.\noptions timeout:1\n# x\n");
        let check = |policy: &str, host_network: bool, want: &str| {
            let pod = Pod {
                metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                    namespace: Some("ns".into()),
                    ..Default::default()
                },
                spec: Some(PodSpec {
                    dns_policy: Some(policy.into()),
                    host_network: Some(host_network),
                    dns_config: Some(PodDNSConfig {
                        options: Some(vec![PodDNSConfigOption {
                            name: Some("ndots".into()),
                            value: Some("2".into()),
                        }]),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let (d, warning) = for_pod(&pod, &host, &["10.0.0.10".into()], "cluster.local");
            assert_eq!(warning, None);
            assert_eq!(
                format!("{} | {} | {}", d.servers.join(" "), d.searches.join(" "), d.options.join(" ")),
                want
            );
        };
        let cluster =
            "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local corp.example | ndots:2";
        check("ClusterFirst", false, cluster);
        check("ClusterFirst", true, "1.1.1.1 | corp.example | timeout:1 ndots:2");
        check("ClusterFirstWithHostNet", true, cluster);
        check("Default", false, "1.1.1.1 | corp.example | timeout:1 ndots:2");
        check("None", false, " |  | ndots:2");
    }
}
