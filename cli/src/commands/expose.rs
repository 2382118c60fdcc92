//! `expose`: a service for what has pods.

use super::create::generated;
use super::{Outcome, common, pods};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, text};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_machinery::patch::strategic::Object;
use gantry_types::Document;
use serde_json::json;
use std::collections::BTreeMap;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-expose"),
    text("name", "The name for the newly created object."),
    text("port", "The port that the service should serve on."),
    text(
        "target-port",
        "Name or number for the port on the container that the service should direct traffic to.",
    ),
    text("protocol", "The network protocol for the service to be created."),
    text("type", "Type for this service: ClusterIP, NodePort, LoadBalancer, or ExternalName."),
    text("selector", "A label selector to use for this service."),
    text("labels", "Labels to apply to the service created by this call.").short('l'),
    text("cluster-ip", "ClusterIP to be assigned to the service."),
    text(
        "external-ip",
        "Additional external IP address (not managed by Kubernetes) to accept for the service.",
    ),
    text("session-affinity", "If non-empty, set the session affinity for the service to this."),
];

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    container_port: i64,
    #[serde(default)]
    port: i64,
    #[serde(default)]
    protocol: Option<String>,
}

/// The ports a thing has, as a service would serve them.
fn ports_of(info: &Info) -> Vec<(i64, String)> {
    let protocol = |p: &Port| p.protocol.clone().unwrap_or_else(|| "TCP".into());
    if info.resource.kind == "Service" {
        let ports: Vec<Port> = info.object.get_at(&["spec", "ports"]).unwrap_or_default();
        return ports.iter().map(|p| (p.port, protocol(p))).collect();
    }
    let path: &[&str] = if info.resource.kind == "Pod" {
        &["spec", "containers"]
    } else {
        &["spec", "template", "spec", "containers"]
    };
    let containers: Vec<Object> = info.object.get_at(path).unwrap_or_default();
    let mut out = Vec::new();
    for c in containers {
        let ports: Vec<Port> = Document::new(c).get_at(&["ports"]).unwrap_or_default();
        out.extend(ports.iter().map(|p| (p.container_port, protocol(p))));
    }
    out
}

fn pairs(text: &str) -> Result<BTreeMap<String, String>> {
    text.split(',').filter(|p| !p.is_empty()).map(common::key_value).collect()
}

fn service(args: &Args, info: &Info) -> Result<Document> {
    let selector = if !args.text("selector").is_empty() {
        pairs(args.text("selector"))?
    } else if info.resource.kind == "Pod" {
        info.object.get_at(&["metadata", "labels"]).unwrap_or_default()
    } else {
        let text = pods::selector_of(&info.object).map_err(|e| {
            message(format!("couldn't retrieve selectors via --selector flag or introspection: {}", e.bare()))
        })?;
        pairs(&text)?
    };
    if selector.is_empty() {
        return Err(message(
            "couldn't retrieve selectors via --selector flag or introspection: the pod has no labels and cannot be exposed",
        ));
    }
    let known = ports_of(info);
    let numbers: Vec<(i64, String)> = if args.text("port").is_empty() {
        known.clone()
    } else {
        args.text("port")
            .split(',')
            .map(|p| {
                let n: i64 = p
                    .parse()
                    .map_err(|_| message(format!("strconv.Atoi: parsing \"{p}\": invalid syntax")))?;
                let protocol = known.iter().find(|(k, _)| *k == n).map_or("TCP", |(_, p)| p).to_owned();
                Ok((n, protocol))
            })
            .collect::<Result<_>>()?
    };
    if numbers.is_empty() && args.text("cluster-ip") != "None" {
        return Err(message("couldn't find port via --port flag or introspection"));
    }
    let many = numbers.len() > 1;
    let mut ports = Vec::new();
    for (i, (number, protocol)) in numbers.iter().enumerate() {
        let protocol =
            if args.text("protocol").is_empty() { protocol.as_str() } else { args.text("protocol") };
        let mut port =
            Document::from_typed(&json!({"port": number, "protocol": protocol, "targetPort": number}))?;
        match (args.text("target-port"), args.text("target-port").parse::<i64>()) {
            ("", _) => {}
            (_, Ok(n)) => port.set_at(&["targetPort"], n),
            (name, Err(_)) => port.set_at(&["targetPort"], name),
        }
        if many {
            port.set_at(&["name"], format!("port-{}", i + 1));
        }
        ports.push(port.into_map());
    }
    let name = if args.text("name").is_empty() { info.name.as_str() } else { args.text("name") };
    let mut d =
        Document::from_typed(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports}}))?;
    let labels = if args.text("labels").is_empty() {
        info.object.get_at::<BTreeMap<String, String>>(&["metadata", "labels"]).unwrap_or_default()
    } else {
        pairs(args.text("labels"))?
    };
    if !labels.is_empty() {
        d.set_at(&["metadata", "labels"], labels);
    }
    for (flag, field) in
        [("type", "type"), ("cluster-ip", "clusterIP"), ("session-affinity", "sessionAffinity")]
    {
        if !args.text(flag).is_empty() {
            d.set_at(&["spec", field], args.text(flag));
        }
    }
    if !args.text("external-ip").is_empty() {
        d.set_at(&["spec", "externalIPs"], [args.text("external-ip")]);
    }
    Ok(d)
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let query = Query { selector: String::new(), ..Query::read(&args) };
    let (infos, mut errors) = builder::fetch(&cx, &args.operands, &query).await?;
    for info in infos {
        if !matches!(
            info.resource.kind.as_str(),
            "Pod" | "Service" | "Deployment" | "ReplicaSet" | "ReplicationController"
        ) {
            errors.push(message(format!("cannot expose a {}", info.resource.kind_name())));
            continue;
        }
        let outcome = async { exposed(&cx, &args, service(&args, &info)?).await }.await;
        errors.extend(outcome.err());
    }
    Error::all(errors)
}

/// Creates the service, saying `exposed`.
async fn exposed(cx: &Context, args: &Args, d: Document) -> Outcome {
    let dry = crate::print::DryRun::read(args)?;
    if dry != crate::print::DryRun::None || !args.text("output").is_empty() {
        return generated(cx, args, d.map()).await;
    }
    let resource = cx.resource("services").await?;
    let ns = cx.namespace().await?;
    let path =
        crate::rest::with_query(&resource.path(Some(&ns)), &[("fieldManager", args.text("field-manager"))]);
    let made = cx.rest().await?.send(http::Method::POST, &path, &d).await?;
    outln!("{} exposed", resource.named(made.name()));
    Ok(())
}
