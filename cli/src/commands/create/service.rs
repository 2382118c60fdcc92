//! `create service`: one command a type.

use super::super::table::online;
use super::super::{Command, Outcome, Run, common};
use super::{generated, generator};
use crate::context::Context;
use crate::error::message;
use crate::flags::{Args, Flag, list, text};
use gantry_types::Document;
use serde_json::json;

const TCP: &[Flag] = generator![
    list("tcp", "Port pairs can be specified as '<port>:<targetPort>'."),
    text("clusterip", "Assign your own ClusterIP or set to 'None' for a 'headless' service."),
    text("node-port", "Port used to expose the service on each node in a cluster.").default("0"),
    text("external-name", "External name of service"),
];

pub const SERVICES: &[Command] = &[
    online!(
        "clusterip",
        &[],
        "NAME [--tcp=<port>:<targetPort>]",
        "Create a ClusterIP service",
        TCP,
        cluster_ip
    ),
    online!("nodeport", &[], "NAME [--tcp=port:targetPort]", "Create a NodePort service", TCP, node_port),
    online!(
        "loadbalancer",
        &[],
        "NAME [--tcp=port:targetPort]",
        "Create a LoadBalancer service",
        TCP,
        load_balancer
    ),
    online!(
        "externalname",
        &[],
        "NAME --external-name external.name",
        "Create an ExternalName service",
        TCP,
        external_name
    ),
];

async fn service(cx: Context, args: Args, kind: &str, command: &str) -> Outcome {
    let name = common::one_name(&args, command)?;
    let mut ports = Vec::new();
    for pair in args.list("tcp") {
        let (port, target) = pair.split_once(':').unwrap_or((&pair, &pair));
        let number: u16 = port.parse().map_err(|_| {
            message(format!("invalid port: strconv.Atoi: parsing \"{port}\": invalid syntax"))
        })?;
        let mut d = Document::from_typed(
            &json!({"name": pair.replace(':', "-"), "port": number, "protocol": "TCP"}),
        )?;
        match target.parse::<u16>() {
            Ok(n) => d.set_at(&["targetPort"], n),
            Err(_) => d.set_at(&["targetPort"], target),
        }
        let node_port = args.int("node-port")?;
        if kind == "NodePort" && node_port > 0 {
            d.set_at(&["nodePort"], node_port);
        }
        ports.push(d.into_map());
    }
    let headless = args.text("clusterip") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        return Err(message("at least one tcp port specifier must be provided"));
    }
    let mut d = Document::from_typed(&json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"type": kind, "selector": {"app": name}}}))?;
    if !ports.is_empty() {
        d.set_at(&["spec", "ports"], ports);
    }
    if !args.text("clusterip").is_empty() {
        d.set_at(&["spec", "clusterIP"], args.text("clusterip"));
    }
    if kind == "ExternalName" {
        if args.text("external-name").is_empty() {
            return Err(message("external-name must be specified"));
        }
        d.set_at(&["spec", "externalName"], args.text("external-name"));
    }
    generated(&cx, &args, d.map()).await
}

async fn cluster_ip(cx: Context, args: Args) -> Outcome {
    service(cx, args, "ClusterIP", "create service clusterip").await
}

async fn node_port(cx: Context, args: Args) -> Outcome {
    service(cx, args, "NodePort", "create service nodeport").await
}

async fn load_balancer(cx: Context, args: Args) -> Outcome {
    service(cx, args, "LoadBalancer", "create service loadbalancer").await
}

async fn external_name(cx: Context, args: Args) -> Outcome {
    service(cx, args, "ExternalName", "create service externalname").await
}
