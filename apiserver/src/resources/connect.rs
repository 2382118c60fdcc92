//! Subresources that lead on to a kubelet, a pod or a service: `log`, `exec`, `attach`, `portforward`, `proxy`.

use super::{namespace_of, proxy};
use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::body::Body;
use crate::http::respond::Answer;
use crate::kubelet::{Target, TargetTls};
use gantry_registry::admission::{Operation, Request};
use gantry_registry::generic::Endpoint;
use gantry_stream::{Kind, remote::Options};
use gantry_types::user::Decision;
use gantry_types::{Document, GroupResource, Status, StatusResult};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

pub(super) async fn serve(
    server: &Arc<Server>,
    cx: &mut Cx,
    endpoint: &Arc<Endpoint>,
    subresource: &str,
    request: http::Request<Body>,
) -> StatusResult<Answer> {
    if subresource == "log" {
        super::log_options::check(&cx.query, &cx.info.name)?;
    }
    if matches!(subresource, "exec" | "attach" | "portforward") && cx.info.verb != "create" {
        may_create(server, cx, endpoint)?;
    }
    let Some((target, uri)) = destination(server, cx, endpoint, subresource).await? else {
        let mut empty = Answer::new(Body::Empty);
        *empty.status_mut() = StatusCode::NO_CONTENT;
        return Ok(empty);
    };
    if subresource == "proxy" {
        check_proxied(&target.host)?;
    }
    if subresource != "log" {
        let mut options = Document::default();
        for key in ["container", "stdin", "stdout", "stderr", "tty"] {
            if let Some(value) = cx.query.get(key) {
                options.set_at(&[key], value);
            }
        }
        let mut rq = Request {
            operation: Operation::Connect,
            kind: endpoint.kind,
            subresource,
            namespace: namespace_of(endpoint.kind, &cx.info),
            name: &cx.info.name,
            user: &cx.user,
            object: Some(&mut options),
            old: None,
            dry_run: false,
            warnings: &mut cx.warnings,
        };
        endpoint.admission().mutate(&mut rq).await?;
        endpoint.admission().validate(&rq).await?;
    }
    match stream_kind(cx, subresource) {
        Some(kind) => proxy::stream(server, cx, kind, target, uri, request).await,
        None if subresource == "log" => proxy::log(server, cx, &target, uri, request).await,
        None => proxy::pass(server, cx, &target, uri, request).await,
    }
}

/// A stream opened by GET, as WebSockets are, asks for permission to create as well.
fn may_create(server: &Arc<Server>, cx: &Cx, endpoint: &Arc<Endpoint>) -> StatusResult<()> {
    let mut attributes = cx.attributes();
    attributes.verb = "create".into();
    match server.authorizer.authorize(&attributes) {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny { reason } | Decision::NoOpinion { reason } => {
            Err(Status::forbidden(&endpoint.kind.group_resource(), &cx.info.name, reason))
        }
    }
}

/// What is carried, for the subresources that are streams both ways.
fn stream_kind(cx: &Cx, subresource: &str) -> Option<Kind> {
    let flag = |name: &str| cx.query.is_true(name);
    match subresource {
        "exec" | "attach" => Some(Kind::Command(Options {
            stdin: flag("stdin"),
            stdout: flag("stdout"),
            stderr: flag("stderr"),
            tty: flag("tty"),
        })),
        "portforward" => Some(Kind::PortForward),
        _ => None,
    }
}

/// Proxies must not lead back to this host or to what only this host can reach.
fn check_proxied(host: &str) -> StatusResult<()> {
    let local = match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
        Err(_) => host == "localhost",
    };
    if local { Err(Status::bad_request("address not allowed")) } else { Ok(()) }
}

async fn read(server: &Arc<Server>, resource: &str, namespace: &str, name: &str) -> StatusResult<Document> {
    let missing =
        || Status::not_found(&GroupResource { group: "".into(), resource: resource.to_owned().into() }, name);
    let endpoint = server.registry.get("", "v1", resource).ok_or_else(missing)?;
    let object = endpoint.cache.get(namespace, name, "").await?.ok_or_else(missing)?;
    Document::from_json(object.body()).map_err(Status::internal)
}

/// `[scheme:]name[:port]` of a proxied object.
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme @ ("http" | "https"), name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

fn container_names(pod: &Document) -> Vec<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    ["containers", "initContainers", "ephemeralContainers"]
        .iter()
        .flat_map(|list| pod.get_at::<Vec<Named>>(&["spec", list]).unwrap_or_default())
        .map(|c| c.name)
        .collect()
}

/// The container a request means; the only one when it names none.
fn container(cx: &Cx, pod: &Document) -> StatusResult<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let asked = cx.query.text("container");
    let all = container_names(pod);
    let name = pod.name();
    if !asked.is_empty() {
        if all.iter().any(|c| c == asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    let main: Vec<Named> = pod.get_at(&["spec", "containers"]).unwrap_or_default();
    match main.as_slice() {
        [one] => Ok(one.name.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        many => {
            let names: Vec<&str> = many.iter().map(|c| c.name.as_str()).collect();
            let init: Vec<Named> = pod.get_at(&["spec", "initContainers"]).unwrap_or_default();
            let mut why = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                names.join(" ")
            );
            if !init.is_empty() {
                let names: Vec<&str> = init.iter().map(|c| c.name.as_str()).collect();
                why.push_str(&format!(" or one of the init containers: [{}]", names.join(" ")));
            }
            Err(Status::bad_request(why))
        }
    }
}

/// Where the request goes, and the path and query it is asked for there; `None` for the log of a pod that
/// nobody runs yet, which is empty.
async fn destination(
    server: &Arc<Server>,
    cx: &Cx,
    endpoint: &Arc<Endpoint>,
    subresource: &str,
) -> StatusResult<Option<(Target, String)>> {
    let (namespace, name) = (namespace_of(endpoint.kind, &cx.info), cx.info.name.as_str());
    let with_query =
        |path: String, query: &str| if query.is_empty() { path } else { format!("{path}?{query}") };
    match (endpoint.kind.kind, subresource) {
        ("Node", _) => {
            let (_, node, port) = split_name(name);
            let node = read(server, "nodes", "", node).await?;
            let mut target = server.backends.kubelet_of(&node)?;
            if let Ok(port) = port.parse::<u16>() {
                target.port = port;
            }
            let path = if cx.info.rest.is_empty() { "/".to_owned() } else { cx.info.rest.clone() };
            Ok(Some((target, with_query(path, &cx.raw_query))))
        }
        ("Pod", "proxy") => {
            let (scheme, pod, port) = split_name(name);
            let pod = read(server, "pods", namespace, pod).await?;
            let host = pod.str_at(&["status", "podIP"]).unwrap_or_default().to_owned();
            if host.is_empty() {
                return Err(Status::bad_request("address not allowed"));
            }
            let port = if port.is_empty() { first_port(&pod) } else { port.parse().unwrap_or(0) };
            let tls = if scheme == "https" { TargetTls::Unverified } else { TargetTls::None };
            let path = if cx.info.rest.is_empty() { "/".to_owned() } else { cx.info.rest.clone() };
            Ok(Some((Target { tls, host, port }, with_query(path, &cx.raw_query))))
        }
        ("Service", _) => {
            let (scheme, service, port) = split_name(name);
            let target = service_target(server, namespace, service, scheme, port).await?;
            let path = if cx.info.rest.is_empty() { "/".to_owned() } else { cx.info.rest.clone() };
            Ok(Some((target, with_query(path, &cx.raw_query))))
        }
        (_, stream) => {
            let pod = read(server, "pods", namespace, name).await?;
            let node = pod.str_at(&["spec", "nodeName"]).unwrap_or_default().to_owned();
            let container = if stream == "portforward" { String::new() } else { container(cx, &pod)? };
            if node.is_empty() && stream == "log" {
                return Ok(None);
            }
            if node.is_empty() {
                return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
            }
            // Upstream tells of the missing node in terms of the request.
            let missing = |_| Status::not_found(&endpoint.kind.group_resource(), &node);
            let node = read(server, "nodes", "", &node).await.map_err(missing)?;
            let target = server.backends.kubelet_of(&node)?;
            Ok(Some((target, kubelet_path(cx, stream, namespace, name, pod.uid(), &container))))
        }
    }
}

fn first_port(pod: &Document) -> u16 {
    #[derive(Deserialize)]
    struct Container {
        #[serde(default)]
        ports: Vec<Port>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port {
        container_port: u16,
    }
    let containers: Vec<Container> = pod.get_at(&["spec", "containers"]).unwrap_or_default();
    containers.first().and_then(|c| c.ports.first()).map_or(80, |p| p.container_port)
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The kubelet's own path for a request on a pod.
fn kubelet_path(cx: &Cx, stream: &str, namespace: &str, name: &str, uid: &str, container: &str) -> String {
    let mut pairs: Vec<String> = Vec::new();
    let flag = |key: &str| cx.query.is_true(key);
    let path = match stream {
        "log" => {
            for key in [
                "follow",
                "previous",
                "timestamps",
                "sinceSeconds",
                "sinceTime",
                "tailLines",
                "limitBytes",
                "stream",
            ] {
                if let Some(value) = cx.query.get(key).filter(|v| !v.is_empty()) {
                    pairs.push(format!("{key}={}", encode(value)));
                }
            }
            format!("/containerLogs/{namespace}/{name}/{container}")
        }
        "portforward" => {
            let ports: Vec<&str> = cx.query.all("ports").collect();
            pairs.extend(ports.iter().map(|p| format!("port={}", encode(p))));
            format!("/portForward/{namespace}/{name}/{uid}")
        }
        stream => {
            for (ours, theirs) in
                [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
            {
                if flag(ours) {
                    pairs.push(format!("{theirs}=1"));
                }
            }
            pairs.extend(cx.query.all("command").map(|c| format!("command={}", encode(c))));
            format!("/{stream}/{namespace}/{name}/{uid}/{container}")
        }
    };
    if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
}

/// An endpoint of a service, picked at random among the ready ones.
async fn service_target(
    server: &Arc<Server>,
    namespace: &str,
    name: &str,
    scheme: &str,
    port: &str,
) -> StatusResult<Target> {
    #[derive(Deserialize)]
    struct ServicePort {
        #[serde(default)]
        name: String,
        port: u16,
    }
    #[derive(Deserialize)]
    struct SlicePort {
        #[serde(default)]
        name: String,
        port: Option<u16>,
    }
    #[derive(Deserialize)]
    struct SliceEndpoint {
        addresses: Vec<String>,
        #[serde(default)]
        conditions: Ready,
    }
    #[derive(Default, Deserialize)]
    struct Ready {
        ready: Option<bool>,
    }
    let service = read(server, "services", namespace, name).await?;
    let ports: Vec<ServicePort> = service.get_at(&["spec", "ports"]).unwrap_or_default();
    let wanted = ports
        .iter()
        .find(
            |p| if port.is_empty() { ports.len() == 1 } else { p.name == port || p.port.to_string() == port },
        )
        .ok_or_else(|| {
            Status::service_unavailable(format!("no service port {port:?} found for service {name:?}"))
        })?;
    let slices = server.registry.get("discovery.k8s.io", "v1", "endpointslices");
    let mut found: Vec<(String, u16)> = Vec::new();
    for slice in slices.map(|e| e.cache.peek_all(Some(namespace))).unwrap_or_default() {
        if slice.meta().labels.get("kubernetes.io/service-name").is_none_or(|n| **n != *name) {
            continue;
        }
        let slice = Document::from_json(slice.body()).map_err(Status::internal)?;
        let ports: Vec<SlicePort> = slice.get_at(&["ports"]).unwrap_or_default();
        let Some(port) = ports.iter().find(|p| p.name == wanted.name).and_then(|p| p.port) else { continue };
        let endpoints: Vec<SliceEndpoint> = slice.get_at(&["endpoints"]).unwrap_or_default();
        let ready = endpoints.into_iter().filter(|e| e.conditions.ready != Some(false));
        found.extend(ready.flat_map(|e| e.addresses).map(|address| (address, port)));
    }
    if found.is_empty() {
        return Err(Status::service_unavailable(format!("no endpoints available for service {name:?}")));
    }
    let (host, port) = found.swap_remove(rand::random_range(0..found.len()));
    let tls = if scheme == "https" { TargetTls::Unverified } else { TargetTls::None };
    Ok(Target { tls, host, port })
}

#[cfg(test)]
mod tests {
    #[test]
    fn proxied_names_are_split() {
        let check = |text: &str, want| assert_eq!(super::split_name(text), want, "{text}");
        check("web", ("", "web", ""));
        check("web:80", ("", "web", "80"));
        check("https:web:443", ("https", "web", "443"));
    }
}
