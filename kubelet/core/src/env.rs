//! Container environment: `$(NAME)` references and the variables of services.

use k8s_openapi::api::core::v1::Service;
use std::collections::HashMap;

/// Replaces `$(NAME)` by the mapped value; `$$` is a dollar, and what is unknown stays as written.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('(') {
            match after.find(')') {
                Some(end) => {
                    let name = &after[..end];
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => out.push_str(&format!("$({name})")),
                    }
                    rest = &after[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = after;
                }
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// [`expand`] over a map.
pub fn expand_map(text: &str, map: &HashMap<String, String>) -> String {
    expand(text, |name| map.get(name).cloned())
}

fn variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn host_port(ip: &str, port: i32) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// The variables by which a container finds one service; none for headless ones.
pub fn service(service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let ip = spec.and_then(|s| s.cluster_ip.as_deref()).unwrap_or_default();
    let ports = spec.and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let (Some(first), false) = (ports.first(), ip.is_empty() || ip == "None") else { return Vec::new() };
    let prefix = variable(service.metadata.name.as_deref().unwrap_or_default());
    let mut out = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for p in ports {
        if let Some(name) = p.name.as_deref().filter(|n| !n.is_empty()) {
            out.push((format!("{prefix}_SERVICE_PORT_{}", variable(name)), p.port.to_string()));
        }
    }
    for (i, p) in ports.iter().enumerate() {
        let protocol = p.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{}", host_port(ip, p.port));
        if i == 0 {
            out.push((format!("{prefix}_PORT"), url.clone()));
        }
        let base = format!("{prefix}_PORT_{}_{}", p.port, protocol.to_uppercase());
        out.push((base.clone(), url));
        out.push((format!("{base}_PROTO"), lower));
        out.push((format!("{base}_PORT"), p.port.to_string()));
        out.push((format!("{base}_ADDR"), ip.to_owned()));
    }
    out
}

/// Whether a name may be an environment variable: printable ASCII without `=`.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

    #[test]
    fn references_expand() {
        let map = HashMap::from([("A".to_owned(), "x".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        let check = |text: &str, want: &str| assert_eq!(expand_map(text, &map), want, "{text}");
        check("$(A)-$(A)", "x-x");
        check("$$(A)", "$(A)");
        check("$(B)", "$(A)");
        check("$(C)", "$(C)");
        check("$A $", "$A $");
        check("$(A", "$(A");
        check("é$(A)é", "éxé");
    }

    #[test]
    fn services_become_variables() {
        let port = ServicePort { name: Some("http-web".into()), port: 80, ..Default::default() };
        let s = Service {
            metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                name: Some("my-svc".into()),
                ..Default::default()
            },
            spec: Some(ServiceSpec {
                cluster_ip: Some("10.0.0.1".into()),
                ports: Some(vec![port]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let got: Vec<String> = service(&s).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        let want = [
            "MY_SVC_SERVICE_HOST=10.0.0.1",
            "MY_SVC_SERVICE_PORT=80",
            "MY_SVC_SERVICE_PORT_HTTP_WEB=80",
            "MY_SVC_PORT=tcp://10.0.0.1:80",
            "MY_SVC_PORT_80_TCP=tcp://10.0.0.1:80",
            "MY_SVC_PORT_80_TCP_PROTO=tcp",
            "MY_SVC_PORT_80_TCP_PORT=80",
            "MY_SVC_PORT_80_TCP_ADDR=10.0.0.1",
        ];
        assert_eq!(got, want);
    }
}
