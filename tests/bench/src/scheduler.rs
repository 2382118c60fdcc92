//! The scheduler's core alone: what one decision costs with 5,000 nodes, all of them scored, and what
//! 50,000 pods weigh.
//!
//! `cargo run --release -p gantry-bench --bin bench-scheduler [-- --check]`; with `--check` it fails where a
//! figure is over its limit, with `--out FILE` the figures go to `bench-cluster table`.

use anyhow::{Context, bail};
use clap::Parser;
use gantry_bench::report::Report;
use gantry_bench::usage::Usage;
use gantry_scheduler_core::outside::Nobody;
use gantry_scheduler_core::{Cluster, Memory, Outcome, PodInfo, Profile, Scheduler, Shapes};
use gantry_scheduler_plugins::default_profile;
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Measures the scheduler's core alone.")]
struct Cli {
    /// Fail where a figure is over its limit.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    report: Report,
}

const NODES: usize = 5_000;
const PODS: usize = 50_000;
const DEPLOYMENTS: usize = 500;
const DECISIONS: usize = 1_000;

fn node(i: usize) -> anyhow::Result<Node> {
    let (name, zone) = (format!("node-{i:05}"), format!("zone-{}", i % 3));
    let images: Vec<Value> = (0..20)
        .map(|k| json!({"names": [format!("registry.example/base-{k}:1.0")], "sizeBytes": 40_000_000 + k}))
        .collect();
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "region-1",
            "node.kubernetes.io/instance-type": "large", "pool": format!("pool-{}", i % 7)}},
        "spec": {},
        "status": {"images": images, "allocatable": {
            "cpu": "32", "memory": "128Gi", "ephemeral-storage": "500Gi", "pods": "110"}}}))?)
}

fn pod(name: &str, app: &str, more: &Value) -> anyhow::Result<Pod> {
    let mut spec = json!({"containers": [{"name": "c", "image": format!("registry.example/{app}:1.0"),
                          "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]});
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more.clone());
    }
    let labels = json!({"app": app, "pod-template-hash": "5d4f8c7b9"});
    Ok(serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": name, "uid": format!("00000000-{name}"), "labels": labels},
        "spec": spec}))?)
}

struct Bench {
    cluster: Cluster,
    shapes: Shapes,
    memory: Memory,
    profile: Profile,
    start: usize,
    rng: StdRng,
    over: Vec<String>,
    report: Report,
}

impl Bench {
    fn new(report: Report) -> anyhow::Result<Self> {
        let mut profile = default_profile("default-scheduler");
        profile.percentage_of_nodes_to_score = 100;
        let mut cluster = Cluster::default();
        for i in 0..NODES {
            cluster.set_node(&node(i)?);
        }
        Ok(Self {
            cluster,
            shapes: Shapes::default(),
            memory: Memory::default(),
            profile,
            start: 0,
            rng: StdRng::seed_from_u64(1),
            over: Vec::new(),
            report,
        })
    }

    fn place(&mut self, pods: usize) -> anyhow::Result<()> {
        for i in 0..pods {
            let mut object = pod(&format!("there-{i}"), &format!("app-{}", i % DEPLOYMENTS), &json!({}))?;
            object.spec.as_mut().context("a spec")?.node_name = Some(format!("node-{:05}", i % NODES));
            self.cluster.set_pod(Arc::new(self.shapes.read(&object)));
        }
        Ok(())
    }

    fn decide(&mut self, pod: &Arc<PodInfo>) -> anyhow::Result<()> {
        let mut scheduler = Scheduler {
            at: 0,
            profile: &self.profile,
            memory: &mut self.memory,
            start: &mut self.start,
            rng: &mut self.rng,
            outside: &mut Nobody,
        };
        match scheduler.schedule(pod, &mut self.cluster) {
            Outcome::Node(at) => self.cluster.assume(pod, at),
            other => bail!("{} does not fit: {other:?}", pod.name),
        }
        Ok(())
    }

    /// Decides and assumes [`DECISIONS`] pods; the microseconds each took.
    fn run(
        &mut self,
        figure: &str,
        what: &str,
        limit: f64,
        make: impl Fn(usize) -> anyhow::Result<Pod>,
    ) -> anyhow::Result<()> {
        let pods: Vec<Arc<PodInfo>> = (0..DECISIONS)
            .map(|i| make(i).map(|p| Arc::new(self.shapes.read(&p))))
            .collect::<Result<_, _>>()?;
        let mut took = Vec::with_capacity(pods.len());
        for pod in &pods {
            let begin = Instant::now();
            self.decide(pod)?;
            took.push(begin.elapsed().as_secs_f64() * 1e6);
        }
        let first = took[0];
        let mean = took.iter().sum::<f64>() / took.len() as f64;
        took.sort_by(f64::total_cmp);
        let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!("{what:<44} first {first:>8.1}  median {median:>7.1}  mean {mean:>7.1}  p99 {p99:>8.1} µs");
        self.report.add(figure, median)?;
        // The median, as others' work on the machine weighs on the mean.
        if median > limit {
            self.over.push(format!("{what}: {median:.1} µs is over {limit} µs"));
        }
        for pod in &pods {
            self.cluster.remove_pod(&pod.uid);
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let Cli { check, report } = Cli::parse();
    let mut bench = Bench::new(report)?;
    bench.place(PODS)?;
    println!("{NODES} nodes, {PODS} pods, every node scored; a decision and its assumption:");
    let plain = |i: usize| pod(&format!("plain-{i}"), "plain", &json!({}));
    bench.run("core-plain", "plain, equal pods", 50.0, plain)?;
    let anti = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "alone"}}, "topologyKey": "kubernetes.io/hostname"}]}}});
    bench.run("core-anti-affinity", "required anti-affinity by host", 200.0, |i| {
        pod(&format!("alone-{i}"), "alone", &anti)
    })?;
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "even"}}}]});
    bench.run("core-spread", "zone spread", 200.0, |i| pod(&format!("even-{i}"), "even", &spread))?;
    let mut both = anti.clone();
    if let (Value::Object(both), Value::Object(spread)) = (&mut both, spread.clone()) {
        both.extend(spread);
    }
    bench.run("core-both", "both", 200.0, |i| pod(&format!("both-{i}"), "alone", &both))?;
    // No two alike: nothing is shared, so there is no limit to hold them to.
    bench.run("core-unlike", "plain, no two pods alike", f64::INFINITY, |i| {
        pod(&format!("odd-{i}"), &format!("odd-{i}"), &json!({}))
    })?;
    let resident = Usage::of(std::process::id())?.resident;
    bench.report.add("core-resident", resident)?;
    if resident > 150.0 {
        bench.over.push(format!("{resident:.1} MiB resident are over 150 MiB"));
    }
    if check && !bench.over.is_empty() {
        bail!("{}", bench.over.join("; "));
    }
    Ok(())
}
