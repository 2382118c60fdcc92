//! `up`: every step is idempotent; the ones already done cost nothing.

use crate::layout::{self, Layout, Node, REGISTRY_PORT, Spec, address};
use crate::progress::Progress;
use crate::{UpFlags, addons, network, node, pki, shell, supervise, units};
use anyhow::{Context, bail};
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

pub async fn run(flags: UpFlags) -> anyhow::Result<()> {
    let progress = Progress::start();
    let layout = Layout::new(&flags.repo, flags.dir)?;
    let spec = Spec::new(flags.nodes, flags.datastore);
    if let Some(before) = layout.load_spec()
        && before.etcd != spec.etcd
    {
        bail!("this cluster keeps its data in the other datastore; `deploy/down --purge` first to change it");
    }
    if layout.load_spec().is_none() {
        // From here on the folder holds a cluster, which `down --purge` may delete.
        layout.save_spec(&spec)?;
    }
    let nodes = layout::nodes(&spec);
    for dir in ["logs", "pids", "images", "registry"] {
        fs::create_dir_all(layout.sub(dir))?;
    }
    pki::ensure(&layout, &nodes)?;
    progress.say("certificates and kubeconfigs");
    network::remember(&layout)?;
    network::ensure(&nodes)?;
    for node in &nodes {
        node::ensure(&layout, node)?;
    }
    fs::write(layout.sub("registry.yaml"), units::registry_config(&layout))?;
    progress.say(format!("network and files of {} node(s)", nodes.len()));
    images(&layout, None)?;
    progress.say("images built");

    let launched = Instant::now();
    start(&layout, &spec, &nodes)?;
    let loading: Vec<_> = nodes
        .iter()
        .map(|node| {
            let (layout, node) = (layout.clone(), node.clone());
            tokio::task::spawn_blocking(move || load_images(&layout, &node))
        })
        .collect();
    let client = addons::client(&layout).await?;
    addons::wait_apiserver(&client, PATIENCE).await?;
    progress.say(format!("apiserver ready {:.2}s after launch", launched.elapsed().as_secs_f64()));
    addons::apply(&layout)?;
    addons::register_metrics(&layout, &client).await?;
    for node in loading {
        node.await??;
    }
    addons::wait_nodes(&client, &nodes, PATIENCE).await?;
    progress.say(format!("nodes Ready {:.2}s after launch", launched.elapsed().as_secs_f64()));
    addons::wait_dns(&client, PATIENCE).await?;
    let seconds = launched.elapsed().as_secs_f64();
    progress.say(format!("cluster DNS answering and its pod Running {seconds:.2}s after launch"));
    images(&layout, Some(&format!("{}:{REGISTRY_PORT}", address(1))))?;
    progress.say("sample images in the local registry");
    println!("{}", next_steps(&layout));
    Ok(())
}

/// Builds the images; with a registry also pushes the sample's.
fn images(layout: &Layout, registry: Option<&str>) -> anyhow::Result<()> {
    let script = layout.repo.join("deploy/images/build").display().to_string();
    let (out, bins) = (layout.text("images"), layout.bins.display().to_string());
    let mut args = vec![out.as_str(), &bins];
    if let Some(registry) = registry {
        args.extend(["--push", registry]);
    }
    shell::run(&script, &args).map(drop).context("building images")
}

/// Starts the supervisor, unless it runs with the same units.
fn start(layout: &Layout, spec: &Spec, nodes: &[Node]) -> anyhow::Result<()> {
    let wanted = serde_json::to_vec_pretty(&units::all(layout, spec, nodes))?;
    let file = layout.sub("units.json");
    if let Some(pid) = supervisor(layout) {
        if fs::read(&file).is_ok_and(|now| now == wanted) {
            return Ok(());
        }
        bail!("this cluster runs with other settings (supervisor {pid}); run deploy/down first");
    }
    fs::write(&file, wanted)?;
    layout.save_spec(spec)?;
    let log = OpenOptions::new().create(true).append(true).open(layout.sub("logs/supervisor.log"))?;
    Command::new(std::env::current_exe()?)
        .args(["supervise", "--dir", &layout.text("")])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the supervisor")?;
    Ok(())
}

/// The supervisor's process, when it runs.
pub fn supervisor(layout: &Layout) -> Option<u32> {
    let program = std::env::current_exe().ok()?.display().to_string();
    let unit =
        units::Unit { name: String::new(), program, args: Vec::new(), env: Vec::new(), namespace: None };
    supervise::read_live(&layout.sub("pids/supervisor.pid"), &unit)
}

/// Loads the images a node needs before any registry serves into its containerd, once it answers.
fn load_images(layout: &Layout, node: &Node) -> anyhow::Result<()> {
    let socket = node.containerd_socket().display().to_string();
    let begin = Instant::now();
    while !shell::attempt("ctr", &["--address", &socket, "version"]) {
        if begin.elapsed() > PATIENCE {
            bail!("containerd of {} does not answer on {socket}; see its log", node.name);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for image in ["pause", "dns"] {
        let stamp = fs::read_to_string(layout.sub(&format!("images/{image}.stamp"))).unwrap_or_default();
        let loaded = layout.node_dir(node).join(format!("{image}.loaded"));
        if fs::read_to_string(&loaded).is_ok_and(|l| l == stamp) {
            continue;
        }
        let archive = layout.text(&format!("images/{image}.tar"));
        shell::run("ctr", &["--address", &socket, "-n", "k8s.io", "images", "import", &archive])?;
        fs::write(loaded, stamp)?;
    }
    Ok(())
}

fn next_steps(layout: &Layout) -> String {
    format!(
        "\nThe cluster is up. Next:\n  export KUBECONFIG={config}\n  {kctl} get nodes,pods -A\n  {kctl} apply -f {sample}\n  curl http://{node}:30080/\n",
        config = layout.admin_kubeconfig().display(),
        kctl = layout.bin("kctl"),
        sample = layout.repo.join("deploy/samples/shop").display(),
        node = address(1),
    )
}
