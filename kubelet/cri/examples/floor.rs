//! The floor under any kubelet: the CRI calls that bring one pod up, alone. Prints the median of some rounds.
//! `floor <socket> <image> <rounds>`

use gantry_kubelet_cri::{Client, Runtime, cri};
use std::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, socket, image, rounds] = args.as_slice() else {
        return Err("floor <socket> <image> <rounds>".into());
    };
    let runtime = Client::new(socket, None);
    let mut times = Vec::new();
    for round in 0..rounds.parse::<u32>()? {
        let uid = format!("floor-{}-{round}", std::process::id());
        // Without the labels of a pod, a kubelet on the same runtime leaves them alone.
        let metadata =
            cri::PodSandboxMetadata { name: uid.clone(), uid, namespace: "floor".into(), attempt: 0 };
        let sandbox = cri::PodSandboxConfig {
            metadata: Some(metadata),
            linux: Some(Default::default()),
            ..Default::default()
        };
        let container = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(cri::ImageSpec { image: image.clone(), ..Default::default() }),
            command: vec!["sleep".into(), "3600".into()],
            linux: Some(Default::default()),
            ..Default::default()
        };
        let begun = Instant::now();
        let id = runtime.run_pod_sandbox(sandbox.clone(), String::new()).await?;
        let c = runtime.create_container(&id, container, sandbox).await?;
        runtime.start_container(&c).await?;
        times.push(begun.elapsed());
        runtime.stop_pod_sandbox(&id).await?;
        runtime.remove_pod_sandbox(&id).await?;
    }
    times.sort();
    println!("median {:?} of {}", times[times.len() / 2], times.len());
    Ok(())
}
