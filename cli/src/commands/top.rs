//! `top node` and `top pod`.

use super::table::online;
use super::{Command, Outcome, Run, common};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, on, text};
use crate::print::usage::{self as show, NodeMetrics, Order, PodMetrics, Style};
use crate::rest::with_query;
use gantry_machinery::selector::{FieldSelector, Selector};
use gantry_types::quantity::Quantity;
use gantry_types::time::Duration;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
/// A pod older than this should have metrics.
const DELAY: SignedDuration = SignedDuration::from_mins(2);

const SORT_BY: Flag = text(
    "sort-by",
    "If non-empty, sort the list using the specified field. The field can be either 'cpu' or 'memory'.",
);
const NO_HEADERS: Flag = on("no-headers", "If present, print output without headers.");
const PROTOBUF: Flag =
    on("use-protocol-buffers", "Accepted for compatibility; kctl reads JSON.").default("true");
const SHOW_SWAP: Flag = on("show-swap", "Print resources related to swap memory.");

const NODE_FLAGS: &[Flag] = &[
    common::SELECTOR,
    SORT_BY,
    NO_HEADERS,
    PROTOBUF,
    SHOW_SWAP,
    on(
        "show-capacity",
        "Print node resources based on Capacity instead of Allocatable(default) of the nodes.",
    ),
];

const POD_FLAGS: &[Flag] = &[
    common::SELECTOR,
    text("field-selector", "Selector (field query) to filter on, supports '=', '==', and '!='."),
    SORT_BY,
    common::ALL_NAMESPACES,
    NO_HEADERS,
    PROTOBUF,
    SHOW_SWAP,
    on("containers", "If present, print usage of containers within a pod."),
    on("sum", "Print the sum of the resource usage"),
];

pub const COMMANDS: &[Command] = &[
    online!(
        "node",
        &["nodes", "no"],
        "[NAME | -l label]",
        "Display resource (CPU/memory) usage of nodes",
        NODE_FLAGS,
        node
    ),
    online!(
        "pod",
        &["pods", "po"],
        "[NAME | -l label]",
        "Display resource (CPU/memory) usage of pods",
        POD_FLAGS,
        pod
    ),
];

/// `null` stands for an empty list, from servers written in Go.
#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Option::default")]
    items: Option<Vec<T>>,
}

/// What both commands are asked.
struct Asked {
    name: String,
    labels: String,
    fields: String,
    style: Style,
}

impl Asked {
    fn read(args: &Args, command: &str) -> Result<Self> {
        let name = match args.operands.as_slice() {
            [] => String::new(),
            [name] => name.clone(),
            _ => return Err(usage(&format!("top {command}"), format!("{command} [NAME | -l label]"))),
        };
        let order = match args.text("sort-by") {
            "" => Order::Name,
            "cpu" => Order::Cpu,
            "memory" => Order::Memory,
            _ => return Err(message("--sort-by accepts only cpu or memory")),
        };
        let (labels, fields) = (args.text("selector").to_owned(), args.text("field-selector").to_owned());
        if !name.is_empty() && [&labels, &fields].into_iter().any(|s| !s.is_empty()) {
            let what = if command == "node" { "--selector" } else { "selector" };
            return Err(message(format!("only one of NAME or {what} can be provided")));
        }
        Selector::parse(&labels).map_err(|e| message(e.0))?;
        FieldSelector::parse(&fields).map_err(|e| message(e.0))?;
        let style = Style {
            order,
            no_headers: args.on("no-headers"),
            swap: args.on("show-swap"),
            containers: args.on("containers"),
            namespaces: args.on("all-namespaces"),
            sum: args.on("sum"),
        };
        Ok(Self { name, labels, fields, style })
    }

    fn query(&self, path: &str) -> String {
        with_query(path, &[("labelSelector", &self.labels), ("fieldSelector", &self.fields)])
    }

    /// The metrics of the one named or of all there are below a path.
    async fn metrics<T: DeserializeOwned>(&self, cx: &Context, path: &str, what: &str) -> Result<Vec<T>> {
        let rest = cx.rest().await?;
        let found = if self.name.is_empty() {
            let list: Result<List<T>> = rest.typed(&self.query(path)).await;
            list.map(|list| list.items.unwrap_or_default())
        } else {
            rest.typed(&format!("{path}/{}", crate::rest::escape(&self.name))).await.map(|one| vec![one])
        };
        found.map_err(|error| asked_for(error, what, &self.name))
    }
}

/// Names the resource in a refusal that is not the metrics server's own, as client-go does.
fn asked_for(error: Error, what: &str, name: &str) -> Error {
    let Error::Api(mut status) = error else { return error };
    if let Some((words, _)) = status.message.split_once(" (")
        && words.starts_with("the server ")
    {
        status.message = words.to_owned();
    }
    if status.message.starts_with("the server ") {
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        status.message.push_str(&format!(" (get {what}.{GROUP}{name})"));
    }
    Error::Api(status)
}

/// Refuses where nobody serves metrics.
async fn available(cx: &Context) -> Outcome {
    let groups: APIGroupList = cx.rest().await?.typed("/apis").await?;
    let mut own = groups.groups.iter().filter(|g| g.name == GROUP);
    if own.any(|g| g.versions.iter().any(|v| v.version == VERSION)) {
        return Ok(());
    }
    Err(message("Metrics API not available"))
}

async fn node(cx: Context, args: Args) -> Outcome {
    let asked = Asked::read(&args, "node")?;
    available(&cx).await?;
    let path = format!("/apis/{GROUP}/{VERSION}/nodes");
    let metrics: Vec<NodeMetrics> = asked.metrics(&cx, &path, "nodes").await?;
    if metrics.is_empty() {
        return Err(message("metrics not available yet"));
    }
    let rest = cx.rest().await?;
    let nodes: Vec<Node> = if asked.name.is_empty() {
        let list: List<Node> = rest.typed(&asked.query("/api/v1/nodes")).await?;
        list.items.unwrap_or_default()
    } else {
        vec![rest.typed(&format!("/api/v1/nodes/{}", crate::rest::escape(&asked.name))).await?]
    };
    let capacity = args.on("show-capacity");
    let available = nodes.into_iter().map(|n| size(n, capacity)).collect();
    out!("{}", show::nodes(metrics, available, asked.style));
    Ok(())
}

/// A node's name and what it has of each resource.
fn size(node: Node, capacity: bool) -> (String, show::Resources) {
    let status = node.status.unwrap_or_default();
    let swap = status.node_info.and_then(|i| i.swap).and_then(|s| s.capacity);
    let listed = if capacity { status.capacity } else { status.allocatable };
    let mut all: BTreeMap<String, Quantity> = listed
        .into_iter()
        .flatten()
        .filter_map(|(name, quantity)| Some((name, quantity.0.parse().ok()?)))
        .collect();
    if let Some(bytes) = swap {
        all.insert("swap".to_owned(), Quantity::from_bytes(bytes));
    }
    (node.metadata.name.unwrap_or_default(), all)
}

async fn pod(cx: Context, args: Args) -> Outcome {
    let asked = Asked::read(&args, "pod")?;
    let namespace = cx.namespace().await?;
    available(&cx).await?;
    let path = match asked.style.namespaces {
        // A name without a namespace, too: the server then says what it thinks of that.
        true => format!("/apis/{GROUP}/{VERSION}/pods"),
        false => format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/pods"),
    };
    let metrics: Vec<PodMetrics> = asked.metrics(&cx, &path, "pods").await?;
    if metrics.is_empty() {
        explain(&cx, &asked, &namespace).await?;
        match asked.style.namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {namespace} namespace."),
        }
        return Ok(());
    }
    out!("{}", show::pods(metrics, asked.style));
    Ok(())
}

/// Why there are no metrics: there are no pods, or they are too young, or something is wrong.
async fn explain(cx: &Context, asked: &Asked, namespace: &str) -> Outcome {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let list: List<Pod> = cx.rest().await?.typed(&asked.query(&path)).await?;
    let pods = list.items.unwrap_or_default();
    if pods.is_empty() {
        return Ok(());
    }
    let now = Timestamp::now();
    for pod in &pods {
        let made = pod.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0);
        let age = now.duration_since(made);
        if age > DELAY {
            let age = Duration(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            return Err(message(format!("Metrics not available for pod {namespace}/{name}, age: {age}")));
        }
    }
    Err(message("metrics not available yet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::Status;

    #[test]
    fn refusals_name_what_was_asked_for() {
        let check = |said: &str, name: &str, want: &str| {
            let status = Status::failure(503, "ServiceUnavailable", said).body().clone();
            let got = asked_for(Error::Api(Box::new(status)), "pods", name);
            assert_eq!(got.bare(), want);
        };
        let words = "the server is currently unable to handle the request";
        check(&format!("{words} (service unavailable)"), "", &format!("{words} (get pods.metrics.k8s.io)"));
        check(words, "p", &format!("{words} (get pods.metrics.k8s.io p)"));
        check("pods \"p\" not found", "p", "pods \"p\" not found");
    }
}
