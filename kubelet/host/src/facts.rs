//! What the machine is and has.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty())
}

/// Online CPUs.
pub fn cpus() -> i64 {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let listed = text.lines().filter(|l| l.starts_with("processor")).count();
    i64::try_from(listed.max(1)).unwrap_or(1)
}

/// A figure of `/proc/meminfo` in bytes (`MemTotal`, `MemAvailable`, `SwapTotal`).
pub fn meminfo(name: &str) -> Option<i64> {
    parse_meminfo(&fs::read_to_string("/proc/meminfo").ok()?, name)
}

fn parse_meminfo(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<i64>().ok().map(|k| k * 1024)
}

/// Whether any swap is on.
pub fn swap_on() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|t| t.lines().skip(1).any(|l| !l.trim().is_empty()))
}

/// Bytes in huge pages by size (`2Mi`, `1Gi`).
pub fn hugepages() -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kib = name.strip_prefix("hugepages-").and_then(|n| n.strip_suffix("kB")?.parse::<i64>().ok());
        let pages =
            read(&entry.path().join("nr_hugepages").to_string_lossy()).and_then(|t| t.parse::<i64>().ok());
        if let (Some(kib), Some(pages)) = (kib, pages) {
            let size = match kib {
                k if k % (1 << 20) == 0 => format!("{}Gi", k >> 20),
                k if k % (1 << 10) == 0 => format!("{}Mi", k >> 10),
                k => format!("{k}Ki"),
            };
            out.insert(size, kib * 1024 * pages);
        }
    }
    out
}

pub fn machine_id() -> String {
    read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id")).unwrap_or_default()
}

/// The firmware's UUID, or the machine ID where there is none.
pub fn system_uuid() -> String {
    read("/sys/class/dmi/id/product_uuid").unwrap_or_else(machine_id)
}

pub fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

pub fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_default()
}

pub fn hostname() -> String {
    read("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".into())
}

/// `PRETTY_NAME` of os-release.
pub fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    line.map(|l| l.trim_matches(['"', '\'']).to_owned()).unwrap_or_else(|| "Unknown".into())
}

/// As Kubernetes names it: `amd64`, `arm64`, …
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The address this host would use to reach others. Sends nothing.
pub fn outward_ip() -> Option<IpAddr> {
    for (bind, far) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let found = UdpSocket::bind(bind).and_then(|s| {
            s.connect(far)?;
            s.local_addr()
        });
        if let Ok(address) = found
            && !address.ip().is_unspecified()
        {
            return Some(address.ip());
        }
    }
    None
}

/// Addresses of this host's interfaces other than loopback.
pub fn interface_ips() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter_map(|i| {
        let a = i.address?;
        let ip = a
            .as_sockaddr_in()
            .map(|v4| IpAddr::from(v4.ip()))
            .or_else(|| a.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))?;
        (!ip.is_loopback()).then_some(ip)
    })
    .collect()
}

/// Size and room of the file system that holds a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    pub capacity: i64,
    pub available: i64,
    pub inodes: i64,
    pub inodes_free: i64,
}

pub fn filesystem(path: &Path) -> Option<Filesystem> {
    let s = nix::sys::statvfs::statvfs(path).ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(s.fragment_size())).unwrap_or(i64::MAX);
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Some(Filesystem {
        capacity: bytes(s.blocks()),
        available: bytes(s.blocks_available()),
        inodes: count(s.files()),
        inodes_free: count(s.files_available()),
    })
}

/// Processes that exist and the most there may be.
pub fn pids() -> Option<(i64, i64)> {
    let max = read("/proc/sys/kernel/pid_max")?.parse().ok()?;
    let load = read("/proc/loadavg")?;
    let now = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some((now, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_reads() {
        let text = "MemTotal:       1024 kB\nMemFree:  5 kB\n";
        assert_eq!(parse_meminfo(text, "MemTotal"), Some(1 << 20));
        assert_eq!(parse_meminfo(text, "Mem"), None);
    }

    #[test]
    fn this_machine_has_something() {
        assert!(cpus() > 0 && meminfo("MemTotal").unwrap() > 0 && !kernel().is_empty());
        assert!(filesystem(Path::new("/")).unwrap().capacity > 0);
        assert!(pids().unwrap().1 > 0);
    }
}
