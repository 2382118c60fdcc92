//! Control groups, version 1 or 2, whichever the host has its controllers in.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Limits in the terms of version 1; absent ones stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; `Some(-1)` lifts the limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<u64>,
    pub memory: Option<i64>,
    pub pids: Option<i64>,
}

/// What a cgroup uses. Absent where the kernel does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanoseconds: Option<u64>,
    pub memory: Option<u64>,
    pub working_set: Option<u64>,
    pub rss: Option<u64>,
    pub pids: Option<u64>,
}

/// The cgroup file system as found. Paths given to methods are absolute within the hierarchy (`/kubepods/…`).
#[derive(Clone, Debug)]
pub enum Cgroups {
    /// One mount point per controller set.
    V1(Vec<Controller>),
    V2(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Controller {
    pub names: Vec<String>,
    pub mount: PathBuf,
}

impl Cgroups {
    /// Looks at `/proc/self/mountinfo`. Version 2 counts only where its root offers the memory controller:
    /// hosts that mount an empty version 2 beside version 1 are version 1 hosts.
    ///
    /// # Errors
    /// Where mounts cannot be read or no controllers are found.
    pub fn detect() -> io::Result<Self> {
        Self::from_mounts(&fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn from_mounts(mountinfo: &str) -> io::Result<Self> {
        let mut v1: Vec<Controller> = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => {
                    let controllers = Path::new(point).join("cgroup.controllers");
                    let offered = fs::read_to_string(controllers).unwrap_or_default();
                    if offered.split_whitespace().any(|c| c == "memory") {
                        v2 = Some(PathBuf::from(point));
                    }
                }
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    let names: Vec<String> = options
                        .split(',')
                        .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "relatime" | "clone_children"))
                        .map(str::to_owned)
                        .collect();
                    if !v1.iter().any(|c| c.names == names) {
                        v1.push(Controller { names, mount: point.into() });
                    }
                }
                _ => {}
            }
        }
        match v2 {
            Some(root) => Ok(Self::V2(root)),
            None if !v1.is_empty() => Ok(Self::V1(v1)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup controllers are mounted")),
        }
    }

    pub fn version(&self) -> u8 {
        match self {
            Self::V1(_) => 1,
            Self::V2(_) => 2,
        }
    }

    fn controller(&self, name: &str) -> Option<&Path> {
        match self {
            Self::V1(all) => {
                all.iter().find(|c| c.names.iter().any(|n| n == name)).map(|c| c.mount.as_path())
            }
            Self::V2(root) => Some(root),
        }
    }

    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let below = path.trim_start_matches('/');
        match self {
            Self::V1(all) => all.iter().map(|c| c.mount.join(below)).collect(),
            Self::V2(root) => vec![root.join(below)],
        }
    }

    /// Makes the cgroup and those above it, then sets its limits.
    ///
    /// # Errors
    /// Where the kernel refuses; a controller the host lacks is passed over.
    pub fn ensure(&self, path: &str, limits: &Limits) -> io::Result<()> {
        match self {
            Self::V1(all) => {
                for c in all {
                    let dir = c.mount.join(path.trim_start_matches('/'));
                    fs::create_dir_all(&dir)?;
                    if c.names.iter().any(|n| n == "cpuset") {
                        inherit_cpuset(&c.mount, path)?;
                    }
                }
            }
            Self::V2(root) => ensure_v2(root, path)?,
        }
        self.limit(path, limits)
    }

    /// Sets limits of a cgroup that exists.
    ///
    /// # Errors
    /// As [`Self::ensure`].
    pub fn limit(&self, path: &str, limits: &Limits) -> io::Result<()> {
        let below = path.trim_start_matches('/');
        let set = |controller: &str, file: &str, value: String| match self.controller(controller) {
            Some(mount) => write(&mount.join(below).join(file), &value),
            None => Ok(()),
        };
        let v2 = self.version() == 2;
        if let Some(shares) = limits.cpu_shares {
            if v2 {
                set("cpu", "cpu.weight", weight(shares).to_string())?;
            } else {
                set("cpu", "cpu.shares", shares.to_string())?;
            }
        }
        if let Some(quota) = limits.cpu_quota {
            let period = limits.cpu_period.unwrap_or(100_000);
            if v2 {
                let max = if quota < 0 { "max".to_owned() } else { quota.to_string() };
                set("cpu", "cpu.max", format!("{max} {period}"))?;
            } else {
                set("cpu", "cpu.cfs_period_us", period.to_string())?;
                set("cpu", "cpu.cfs_quota_us", quota.to_string())?;
            }
        }
        if let Some(bytes) = limits.memory {
            set("memory", if v2 { "memory.max" } else { "memory.limit_in_bytes" }, bytes.to_string())?;
        }
        if let Some(pids) = limits.pids {
            set("pids", "pids.max", pids.to_string())?;
        }
        Ok(())
    }

    pub fn exists(&self, path: &str) -> bool {
        self.dirs(path).iter().any(|d| d.is_dir())
    }

    /// Names of cgroups directly below.
    pub fn children(&self, path: &str) -> BTreeSet<String> {
        self.dirs(path)
            .iter()
            .filter_map(|d| fs::read_dir(d).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// Processes in the cgroup and below.
    pub fn processes(&self, path: &str) -> BTreeSet<i32> {
        let mut out = BTreeSet::new();
        for dir in self.dirs(path) {
            collect_processes(&dir, &mut out);
        }
        out
    }

    /// Removes the cgroup and everything below it. It must hold no processes.
    ///
    /// # Errors
    /// Where a directory is still busy.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        if path.trim_matches('/').is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "refusing to remove the root cgroup"));
        }
        self.dirs(path).iter().try_for_each(|d| remove_tree(d))
    }

    pub fn usage(&self, path: &str) -> Usage {
        let below = path.trim_start_matches('/');
        let file = |controller: &str, name: &str| Some(self.controller(controller)?.join(below).join(name));
        let number = |controller: &str, name: &str| {
            fs::read_to_string(file(controller, name)?).ok()?.trim().parse::<u64>().ok()
        };
        let keyed = |controller: &str, name: &str, key: &str| {
            let text = fs::read_to_string(file(controller, name)?).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '))?;
            line.trim().parse::<u64>().ok()
        };
        let (cpu, memory, inactive, rss) = if self.version() == 2 {
            (
                keyed("cpu", "cpu.stat", "usage_usec").map(|u| u * 1000),
                number("memory", "memory.current"),
                keyed("memory", "memory.stat", "inactive_file"),
                keyed("memory", "memory.stat", "anon"),
            )
        } else {
            (
                number("cpuacct", "cpuacct.usage"),
                number("memory", "memory.usage_in_bytes"),
                keyed("memory", "memory.stat", "total_inactive_file"),
                keyed("memory", "memory.stat", "total_rss"),
            )
        };
        Usage {
            cpu_nanoseconds: cpu,
            memory,
            working_set: memory.map(|m| m.saturating_sub(inactive.unwrap_or(0))),
            rss,
            pids: number("pids", "pids.current"),
        }
    }
}

/// Version 1 CPU shares as a version 2 weight.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::write(path, value).map_err(|e| {
        io::Error::new(e.kind(), format!("failed to write {value:?} to {}: {e}", path.display()))
    })
}

/// A new cpuset has neither CPUs nor memory nodes: it takes its parent's.
fn inherit_cpuset(mount: &Path, path: &str) -> io::Result<()> {
    let mut at = mount.to_path_buf();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let parent = at.clone();
        at.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = fs::read_to_string(at.join(file))?;
            if own.trim().is_empty() {
                write(&at.join(file), fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
    }
    Ok(())
}

fn ensure_v2(root: &Path, path: &str) -> io::Result<()> {
    let mut at = root.to_path_buf();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        let offered = fs::read_to_string(at.join("cgroup.controllers"))?;
        let on = fs::read_to_string(at.join("cgroup.subtree_control"))?;
        for c in offered.split_whitespace().filter(|c| !on.split_whitespace().any(|o| o == *c)) {
            // A controller that cannot be passed down is one its children do without.
            let _ = fs::write(at.join("cgroup.subtree_control"), format!("+{c}"));
        }
        at.push(part);
        if !at.is_dir() {
            fs::create_dir(&at)?;
        }
    }
    Ok(())
}

fn collect_processes(dir: &Path, out: &mut BTreeSet<i32>) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    out.extend(text.lines().filter_map(|l| l.trim().parse::<i32>().ok()));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            collect_processes(&entry.path(), out);
        }
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_v2_beside_v1_does_not_count() {
        let text = "\
            30 25 0:26 / /none/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
            31 25 0:27 / /none/memory rw,relatime - cgroup cgroup rw,memory\n\
            32 25 0:28 / /none/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let c = Cgroups::from_mounts(text).unwrap();
        assert_eq!(c.version(), 1);
        assert_eq!(c.controller("cpuacct"), Some(Path::new("/none/cpu")));
        assert_eq!(c.controller("memory"), Some(Path::new("/none/memory")));
        assert!(Cgroups::from_mounts("").is_err());
    }

    #[test]
    fn v2_limits_are_written() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        fs::write(dir.path().join("cgroup.subtree_control"), "").unwrap();
        let c = Cgroups::V2(dir.path().into());
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory: Some(1 << 20),
            ..Default::default()
        };
        c.ensure("/kubepods", &limits).unwrap();
        let read = |f: &str| fs::read_to_string(dir.path().join("kubepods").join(f)).unwrap();
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!(c.children("/"), BTreeSet::from(["kubepods".to_owned()]));
        assert!(c.remove("/").is_err());
    }
}
