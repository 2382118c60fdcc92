//! `port-forward`: local listeners joined to a pod's ports.

use super::{Outcome, exec, pods};
use crate::context::Context;
use crate::error::{Result, message, usage};
use crate::flags::{Args, Flag, list, text};
use crate::resources::builder::{self, Query};
use gantry_types::field::go_quote;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use tokio::net::{TcpListener, TcpStream};

pub const FLAGS: &[Flag] = &[
    list("address", "Addresses to listen on (comma separated).").default("localhost"),
    text("pod-running-timeout", "Accepted for compatibility.").default("1m0s"),
];

/// A local port, 0 for any, and what it leads to.
fn pair(spec: &str) -> Result<(u16, String)> {
    let wrong = || message(format!("invalid port format '{spec}'"));
    let (local, remote) = spec.split_once(':').unwrap_or((spec, spec));
    if remote.is_empty() {
        return Err(message("remote port cannot be empty"));
    }
    let local = match local {
        "" => 0,
        l => match l.parse() {
            Ok(port) => port,
            // A named port alone listens on the number it stands for.
            Err(_) if !spec.contains(':') => 0,
            Err(_) => return Err(wrong()),
        },
    };
    Ok((local, remote.to_owned()))
}

fn container_port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = &pod.spec.as_ref()?.containers;
    let port =
        containers.iter().flat_map(|c| c.ports.iter().flatten()).find(|p| p.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// The pod's port a service's port leads to.
fn service_port(service: &Service, pod: &Pod, wanted: &str) -> Result<u16> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let ports = service.spec.as_ref().and_then(|s| s.ports.as_ref());
    let found = ports
        .into_iter()
        .flatten()
        .find(|p| p.port.to_string() == wanted || p.name.as_deref() == Some(wanted))
        .ok_or_else(|| message(format!("Service {name} does not have a service port {wanted}")))?;
    let headless = service.spec.as_ref().is_some_and(|s| s.cluster_ip.as_deref() == Some("None"));
    let port = match &found.target_port {
        _ if headless => u16::try_from(found.port).ok(),
        Some(IntOrString::Int(n)) if *n > 0 => u16::try_from(*n).ok(),
        Some(IntOrString::String(s)) => container_port(pod, s),
        _ => u16::try_from(found.port).ok(),
    };
    port.ok_or_else(|| message(format!("Service {name} has no usable target port for {wanted}")))
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let Some((target, specs)) = args.operands.split_first().filter(|(_, specs)| !specs.is_empty()) else {
        return Err(usage("port-forward", "TYPE/NAME and list of ports are required for port-forward"));
    };
    let all = pods::of(&cx, target).await?;
    let pod = all.first().ok_or_else(|| message("expected a resource"))?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    if phase != "Running" {
        return Err(message(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let kind = target.split_once('/').map_or("pods", |(kind, _)| kind);
    let service: Option<Service> = if cx.resource(kind).await?.kind == "Service" {
        let (infos, _) = builder::fetch(&cx, std::slice::from_ref(target), &Query::default()).await?;
        infos.first().map(|i| i.object.to_typed()).transpose()?
    } else {
        None
    };
    let api: Api<Pod> =
        Api::namespaced(cx.upgrading().await?, pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut listeners = Vec::new();
    for spec in specs {
        let (local, remote) = pair(spec)?;
        let port = match &service {
            Some(s) => service_port(s, pod, &remote)?,
            None => match remote.parse() {
                Ok(port) => port,
                Err(_) => container_port(pod, &remote)
                    .ok_or_else(|| message(format!("Pod '{name}' does not have a named port '{remote}'")))?,
            },
        };
        let local = if local == 0 && !spec.contains(':') { port } else { local };
        let mut addresses = args.list("address");
        if addresses.is_empty() {
            addresses.push("localhost".into());
        }
        for address in addresses {
            let hosts: &[&str] = if address == "localhost" { &["127.0.0.1", "::1"] } else { &[&address] };
            let mut any = false;
            let mut bound = local;
            for host in hosts {
                match TcpListener::bind((*host, bound)).await {
                    Ok(listener) => {
                        let at = listener.local_addr()?;
                        // Both families of localhost share the port the first one got.
                        bound = at.port();
                        outln!("Forwarding from {at} -> {port}");
                        listeners.push((listener, port));
                        any = true;
                    }
                    Err(e) if hosts.len() == 1 || !any && *host == "::1" => {
                        return Err(message(format!(
                            "unable to listen on any of the requested ports: {}: {e}",
                            go_quote(spec)
                        )));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    let tasks = listeners.into_iter().map(|(listener, port)| {
        let (api, name) = (api.clone(), name.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                outln!("Handling connection for {port}");
                let (api, name) = (api.clone(), name.clone());
                tokio::spawn(async move {
                    if let Err(e) = join(&api, &name, port, stream).await {
                        eprintln!("{}", e.text());
                    }
                });
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        // Listeners end with the program.
        let _ = task.await;
    }
    Ok(())
}

async fn join(api: &Api<Pod>, name: &str, port: u16, mut local: TcpStream) -> Outcome {
    let mut forwarder = api.portforward(name, &[port]).await.map_err(exec::told)?;
    let Some(mut remote) = forwarder.take_stream(port) else {
        return Err(message("the server opened no stream"));
    };
    let failed = forwarder.take_error(port);
    let copied = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
    drop(remote);
    if let Some(failed) = failed
        && let Ok(Some(why)) = tokio::time::timeout(std::time::Duration::from_millis(100), failed).await
    {
        return Err(message(format!("an error occurred forwarding {port}: {why}")));
    }
    // A peer that resets its connection is no failure of ours.
    let _ = copied;
    forwarder.abort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read() {
        let check = |spec: &str, expected: &str| {
            let shown = pair(spec).map_or_else(|e| e.bare(), |(l, r)| format!("{l}>{r}"));
            assert_eq!(shown, expected, "{spec}");
        };
        check("80", "80>80");
        check("8080:80", "8080>80");
        check(":80", "0>80");
        check("http", "0>http");
        check("8080:", "remote port cannot be empty");
        check("x:80", "invalid port format 'x:80'");
    }
}
