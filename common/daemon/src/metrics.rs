//! The metrics page: everything registered in the process-wide prometheus registry, and the process itself.

use prometheus::{Encoder, TextEncoder};
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// The registry every crate registers in.
pub fn registry() -> &'static prometheus::Registry {
    prometheus::default_registry()
}

static START: OnceLock<f64> = OnceLock::new();

/// Notes the start time and the build; call once, early.
pub fn init() {
    START.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64()));
}

/// The content type of [`page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page, in Prometheus's text format.
pub fn page() -> Vec<u8> {
    let mut out = Vec::with_capacity(8 << 10);
    if let Err(error) = TextEncoder::new().encode(&prometheus::gather(), &mut out) {
        tracing::warn!(%error, "cannot encode a metric");
    }
    out.extend_from_slice(process().as_bytes());
    out
}

fn process() -> String {
    init();
    let mut text = String::new();
    let info = crate::version::info();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# HELP kubernetes_build_info [ALPHA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.\n# TYPE kubernetes_build_info gauge\nkubernetes_build_info{{build_date=\"{}\",compiler=\"{}\",git_commit=\"{}\",git_tree_state=\"{}\",git_version=\"{}\",go_version=\"{}\",major=\"{}\",minor=\"{}\",platform=\"{}\"}} 1",
        info.build_date,
        info.compiler,
        info.git_commit,
        info.git_tree_state,
        info.git_version,
        info.go_version,
        info.major,
        info.minor,
        info.platform
    );
    let mut gauge = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    if let Some((cpu, threads, vsize, rss)) = stat() {
        gauge(
            "process_cpu_seconds_total",
            "counter",
            "Total user and system CPU time spent in seconds.",
            cpu,
        );
        gauge("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", vsize);
        gauge("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", rss);
        gauge("process_threads", "gauge", "Number of OS threads in the process.", threads);
    }
    if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
        gauge("process_open_fds", "gauge", "Number of open file descriptors.", fds.count() as f64);
    }
    if let Some(start) = START.get() {
        gauge(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since unix epoch in seconds.",
            *start,
        );
    }
    text
}

/// Bytes of memory the process holds.
pub fn resident_bytes() -> Option<u64> {
    stat().map(|(_, _, _, rss)| rss as u64)
}

/// CPU seconds, threads, virtual bytes and resident bytes from `/proc/self/stat`.
fn stat() -> Option<(f64, f64, f64, f64)> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok());
    // SAFETY: sysconf only reads constants of the running system.
    let (hz, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
    // Positions count from the state field, which is the third of the file.
    Some(((number(11)? + number(12)?) / hz as f64, number(17)?, number(20)?, number(21)? * page as f64))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_tells_of_the_process() {
        let page = String::from_utf8(super::page()).unwrap();
        for name in ["process_resident_memory_bytes ", "process_cpu_seconds_total ", "kubernetes_build_info{"]
        {
            assert!(page.contains(name), "{name} in {page}");
        }
    }
}
