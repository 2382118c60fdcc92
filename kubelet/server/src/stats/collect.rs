//! Gathering the summary: containers from the runtime, pods and node from their cgroups, the rest from the host.

use super::summary::{
    Container, Cpu, Filesystem, Interface, Memory, Network, Node, Pod, PodRef, Processes, Rlimit, Runtime,
    Summary, Swap,
};
use gantry_kubelet_cri::view::{CgroupUsage, NodeView};
use gantry_kubelet_cri::{CriResult, cri, labels};
use gantry_kubelet_host::facts;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a rate is taken over, at least.
const APART: i64 = 500_000_000;

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Nanoseconds.
    at: i64,
    used: u64,
    rate: Option<u64>,
}

/// How much of the summary is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    All,
    /// What autoscalers read again and again: CPU, memory and swap. No file system is looked at.
    CpuAndMemory,
}

/// Keeps the last figures, of which rates are made.
pub struct Collector {
    node_name: String,
    root_dir: PathBuf,
    samples: Mutex<HashMap<String, Sample>>,
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

fn time(nanos: i64) -> Option<Time> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok().map(Time)
}

impl Collector {
    /// `root_dir` is on the node's own file system.
    pub fn new(node_name: String, root_dir: PathBuf) -> Self {
        Self { node_name, root_dir, samples: Mutex::default() }
    }

    /// Asks the runtime once, and reads what the host has.
    ///
    /// # Errors
    /// Where the runtime does not answer.
    pub async fn summary(&self, view: &dyn NodeView, extent: Extent) -> CriResult<Summary> {
        let runtime = view.runtime();
        let images = async { if extent == Extent::All { runtime.image_fs_info().await.ok() } else { None } };
        let (stats, images) = tokio::join!(runtime.list_container_stats(), images);
        let now = Timestamp::now();
        let pods = view.pods();
        let mut node = self.node(view, now);
        if extent == Extent::All {
            self.complete(&mut node, images.as_ref(), now);
        }
        let summary = Summary { node, pods: self.pods(view, &pods, &stats?, extent, now) };
        let at = nanos(now);
        // What has not been seen for a while is gone.
        self.samples.lock().retain(|_, s| at - s.at < 600_000_000_000);
        Ok(summary)
    }

    /// CPU use, with its rate since the last look.
    fn cpu(&self, key: &str, at: i64, used: u64) -> Cpu {
        let mut samples = self.samples.lock();
        let sample = next(samples.get(key).copied(), at, used);
        samples.insert(key.to_owned(), sample);
        Cpu { time: time(at), usage_nano_cores: sample.rate, usage_core_nano_seconds: Some(used) }
    }

    fn of_cgroup(&self, key: &str, usage: &CgroupUsage, now: Timestamp) -> (Option<Cpu>, Option<Memory>) {
        let cpu = usage.cpu_nanoseconds.map(|used| self.cpu(key, nanos(now), used));
        let known = usage.memory_usage.or(usage.memory_working_set).is_some();
        let memory = known.then(|| Memory {
            time: Some(Time(now)),
            usage_bytes: usage.memory_usage,
            working_set_bytes: usage.memory_working_set,
            rss_bytes: usage.memory_rss,
            ..Memory::default()
        });
        (cpu, memory)
    }

    fn node(&self, view: &dyn NodeView, now: Timestamp) -> Node {
        let usage = view.usage(None);
        let (cpu, memory) = self.of_cgroup("", &usage, now);
        let mut memory = memory.unwrap_or_default();
        let capacity = facts::meminfo("MemTotal").map(unsigned);
        if memory.working_set_bytes.is_none() {
            // Where the root cgroup does not tell, the kernel does.
            let available = facts::meminfo("MemAvailable").map(unsigned);
            memory.time = Some(Time(now));
            memory.working_set_bytes = capacity.zip(available).map(|(c, a)| c.saturating_sub(a));
            memory.usage_bytes = memory.usage_bytes.or(memory.working_set_bytes);
        }
        memory.available_bytes =
            capacity.zip(memory.working_set_bytes).map(|(c, used)| c.saturating_sub(used));
        let swap = facts::meminfo("SwapTotal").zip(facts::meminfo("SwapFree"));
        Node {
            node_name: self.node_name.clone(),
            start_time: boot_time(now).map(Time),
            cpu: cpu.unwrap_or_default(),
            memory,
            swap: Swap {
                time: Some(Time(now)),
                swap_available_bytes: swap.map(|(_, free)| unsigned(free)),
                swap_usage_bytes: swap.map(|(total, free)| unsigned(total - free)),
            },
            ..Node::default()
        }
    }

    /// Adds what else there is to say of the node.
    fn complete(&self, node: &mut Node, images: Option<&cri::ImageFsInfoResponse>, now: Timestamp) {
        node.network = std::fs::read_to_string("/proc/net/dev").ok().map(|text| network(&text, now));
        node.fs = filesystem(&self.root_dir, now);
        node.runtime = Runtime {
            image_fs: images.and_then(|i| image_fs(&i.image_filesystems, now)),
            container_fs: images.and_then(|i| {
                image_fs(&i.container_filesystems, now).or_else(|| image_fs(&i.image_filesystems, now))
            }),
        };
        let pids = facts::pids();
        node.rlimit = Rlimit {
            time: Some(Time(now)),
            maxpid: pids.map(|(_, max)| max),
            curproc: pids.map(|(current, _)| current),
        };
    }

    fn pods(
        &self,
        view: &dyn NodeView,
        pods: &[std::sync::Arc<ApiPod>],
        stats: &[cri::ContainerStats],
        extent: Extent,
        now: Timestamp,
    ) -> Vec<Pod> {
        let mut by_pod: HashMap<&str, Vec<&cri::ContainerStats>> = HashMap::new();
        for s in stats {
            if let Some(uid) = s.attributes.as_ref().and_then(|a| a.labels.get(labels::POD_UID)) {
                by_pod.entry(uid).or_default().push(s);
            }
        }
        let one = |pod: &std::sync::Arc<ApiPod>| {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let own = by_pod.get(uid.as_str())?;
            let usage = view.usage(Some(pod));
            let (cpu, memory) = self.of_cgroup(&format!("pod/{uid}"), &usage, now);
            let containers: Vec<Container> =
                own.iter().filter_map(|s| self.container(view, pod, s, extent, now)).collect();
            let written = |c: &Container| c.rootfs.as_ref().and_then(|f| f.used_bytes).unwrap_or_default();
            let storage = (extent == Extent::All).then(|| Filesystem {
                used_bytes: Some(containers.iter().map(written).sum()),
                ..filesystem(&self.root_dir, now)
            });
            Some(Pod {
                pod_ref: PodRef {
                    name: pod.metadata.name.clone().unwrap_or_default(),
                    namespace: pod.metadata.namespace.clone().unwrap_or_default(),
                    uid,
                },
                start_time: pod.status.as_ref().and_then(|s| s.start_time.clone()),
                containers,
                cpu,
                memory,
                ephemeral_storage: storage,
                process_stats: (extent == Extent::All)
                    .then_some(Processes { process_count: usage.processes }),
            })
        };
        pods.iter().filter_map(one).collect()
    }

    /// `None` for an instance that is not the current one.
    fn container(
        &self,
        view: &dyn NodeView,
        pod: &ApiPod,
        stats: &cri::ContainerStats,
        extent: Extent,
        now: Timestamp,
    ) -> Option<Container> {
        let attributes = stats.attributes.as_ref()?;
        let name = attributes.labels.get(labels::CONTAINER_NAME)?.clone();
        if view.container_id(pod, &name, false).is_some_and(|id| id != attributes.id) {
            return None;
        }
        let status = crate::logs::status(pod, &name);
        let running = status.and_then(|s| s.state.as_ref()).and_then(|s| s.running.as_ref());
        let value = |v: Option<cri::UInt64Value>| v.map(|v| v.value);
        let cpu = stats.cpu.as_ref().and_then(|c| {
            let used = value(c.usage_core_nano_seconds)?;
            let at = if c.timestamp > 0 { c.timestamp } else { nanos(now) };
            Some(self.cpu(&attributes.id, at, used))
        });
        let memory = stats.memory.as_ref().map(|m| Memory {
            time: time(m.timestamp),
            available_bytes: value(m.available_bytes),
            usage_bytes: value(m.usage_bytes).filter(|n| *n > 0),
            working_set_bytes: value(m.working_set_bytes),
            rss_bytes: value(m.rss_bytes),
            page_faults: value(m.page_faults),
            major_page_faults: value(m.major_page_faults),
        });
        let swap = stats.swap.as_ref().map(|s| Swap {
            time: time(s.timestamp),
            swap_available_bytes: value(s.swap_available_bytes),
            swap_usage_bytes: value(s.swap_usage_bytes),
        });
        let (rootfs, logs) = match extent {
            Extent::CpuAndMemory => (None, None),
            Extent::All => {
                let rootfs = stats.writable_layer.as_ref().map(|w| Filesystem {
                    time: time(w.timestamp),
                    used_bytes: value(w.used_bytes),
                    inodes_used: value(w.inodes_used),
                    ..Filesystem::default()
                });
                let (log_bytes, log_files) = directory(&view.log_directory(pod, &name));
                let logs = Filesystem {
                    used_bytes: Some(log_bytes),
                    inodes_used: Some(log_files),
                    ..filesystem(&self.root_dir, now)
                };
                (rootfs, Some(logs))
            }
        };
        Some(Container {
            start_time: running.and_then(|r| r.started_at.clone()),
            cpu,
            memory,
            rootfs,
            logs,
            swap,
            id: attributes.id.clone(),
            image: status.map(|s| s.image.clone()).unwrap_or_default(),
            name,
        })
    }
}

/// The next sample after `last`: figures that come too soon keep the rate, a counter that fell starts anew.
fn next(last: Option<Sample>, at: i64, used: u64) -> Sample {
    match last {
        Some(s) if used >= s.used && at - s.at >= APART => {
            let rate = u128::from(used - s.used) * 1_000_000_000 / u128::from((at - s.at).unsigned_abs());
            Sample { at, used, rate: u64::try_from(rate).ok() }
        }
        Some(s) if used >= s.used => s,
        _ => Sample { at, used, rate: None },
    }
}

fn filesystem(path: &Path, now: Timestamp) -> Filesystem {
    let Some(f) = facts::filesystem(path) else { return Filesystem::default() };
    Filesystem {
        time: Some(Time(now)),
        available_bytes: Some(unsigned(f.available)),
        capacity_bytes: Some(unsigned(f.capacity)),
        used_bytes: Some(unsigned(f.capacity - f.available)),
        inodes_free: Some(unsigned(f.inodes_free)),
        inodes: Some(unsigned(f.inodes)),
        inodes_used: Some(unsigned(f.inodes - f.inodes_free)),
    }
}

fn image_fs(all: &[cri::FilesystemUsage], now: Timestamp) -> Option<Filesystem> {
    let one = all.first()?;
    let mount = one.fs_id.as_ref().map(|f| f.mountpoint.clone()).unwrap_or_default();
    Some(Filesystem {
        used_bytes: one.used_bytes.map(|v| v.value),
        inodes_used: one.inodes_used.map(|v| v.value),
        ..filesystem(Path::new(&mount), now)
    })
}

/// Bytes and files right inside a directory.
fn directory(path: &Path) -> (u64, u64) {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).fold((0, 1), |(bytes, files), m| (bytes + m.len(), files + 1))
}

fn boot_time(now: Timestamp) -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = text.split_whitespace().next()?.parse().ok()?;
    now.checked_sub(SignedDuration::try_from_secs_f64(up.trunc()).ok()?).ok()
}

/// `/proc/net/dev`, loopback and the pods' own ends left out.
fn network(text: &str, now: Timestamp) -> Network {
    let interfaces: Vec<Interface> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let name = name.trim();
            let figures: Vec<u64> = rest.split_whitespace().filter_map(|f| f.parse().ok()).collect();
            let skipped = name == "lo" || name.starts_with("veth");
            (!skipped && figures.len() >= 11).then(|| Interface {
                name: Some(name.to_owned()),
                rx_bytes: Some(figures[0]),
                rx_errors: Some(figures[2]),
                tx_bytes: Some(figures[8]),
                tx_errors: Some(figures[10]),
            })
        })
        .collect();
    let physical = |i: &&Interface| i.name.as_deref().is_some_and(|n| n.starts_with('e'));
    let main = interfaces.iter().find(physical).or(interfaces.first()).cloned().unwrap_or_default();
    Network { time: Some(Time(now)), main, interfaces }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_two_looks() {
        let check = |last: Option<(i64, u64, Option<u64>)>, at: i64, used: u64, want: (i64, Option<u64>)| {
            let last = last.map(|(at, used, rate)| Sample { at, used, rate });
            let got = next(last, at, used);
            assert_eq!((got.at, got.rate), want);
        };
        let second = 1_000_000_000;
        check(None, second, 5, (second, None));
        check(Some((second, 0, None)), 3 * second, 1_000_000_000, (3 * second, Some(500_000_000)));
        check(Some((second, 0, Some(7))), second + 1, 9, (second, Some(7)));
        check(Some((second, 10, Some(7))), 3 * second, 9, (3 * second, None));
    }

    #[test]
    fn interfaces_read() {
        let text = "Inter-|   Receive\n face |bytes    packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
            cni0: 5 1 2 0 0 0 0 0 6 1 3 0 0 0 0 0\n  eth0: 10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\nveth1: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n";
        let n = network(text, Timestamp::UNIX_EPOCH);
        let names: Vec<_> = n.interfaces.iter().filter_map(|i| i.name.as_deref()).collect();
        assert_eq!(
            (n.main.name.as_deref(), n.main.tx_bytes, names),
            (Some("eth0"), Some(20), vec!["cni0", "eth0"])
        );
        assert_eq!(n.interfaces[0].tx_errors, Some(3));
    }
}
