//! Plays kubelets of nodes without machines on the cluster of `$KUBECONFIG`, to compare control planes by hand:
//! `cargo run --package gantry-e2e --example hollow -- NODES`.

use gantry_e2e::hollow::{Pace, Size, run};

#[tokio::main]
async fn main() -> Result<(), kube::Error> {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(3);
    let names: Vec<String> = (1..=count).map(|i| format!("hollow-{i}")).collect();
    let client = kube::Client::try_default().await?;
    run(client, &names, Size { milli_cpu: 8000, pods: 110 }, Pace::default()).await
}
