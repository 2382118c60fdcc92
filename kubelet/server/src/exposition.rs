//! The summary as pages of metrics: `/metrics/resource`, and the part of `/metrics/cadvisor` that dashboards and
//! autoscalers read. Pure.

use crate::stats::summary::{Container, Pod, Summary, Swap};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::fmt::Write as _;

/// A page being written: families, each with its samples.
#[derive(Default)]
struct Page(String);

struct Sample {
    /// Label names and values.
    labels: Vec<(&'static str, String)>,
    value: f64,
    /// Milliseconds; none where the sample is of now.
    at: Option<i64>,
}

impl Page {
    /// Adds a family; one without samples is left out.
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for s in samples {
            self.0.push_str(name);
            for (i, (key, value)) in s.labels.iter().enumerate() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(self.0, "{}{key}=\"{value}\"", if i == 0 { '{' } else { ',' });
            }
            self.0.push_str(if s.labels.is_empty() { "" } else { "}" });
            let _ = write!(self.0, " {}", s.value);
            let _ = s.at.map(|at| write!(self.0, " {at}"));
            self.0.push('\n');
        }
    }
}

fn millis(time: Option<&Time>) -> Option<i64> {
    time.map(|t| t.0.as_millisecond())
}

#[allow(clippy::cast_precision_loss)] // Prometheus has no other numbers.
fn sample(
    labels: &[(&'static str, &str)],
    value: Option<u64>,
    per: f64,
    at: Option<&Time>,
) -> Option<Sample> {
    let labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    Some(Sample { labels, value: value? as f64 / per, at: millis(at) })
}

fn of_pod(pod: &Pod) -> [(&'static str, &str); 2] {
    [("namespace", &pod.pod_ref.namespace), ("pod", &pod.pod_ref.name)]
}

fn of_container<'s>(pod: &'s Pod, c: &'s Container) -> [(&'static str, &'s str); 3] {
    [("container", &c.name), ("namespace", &pod.pod_ref.namespace), ("pod", &pod.pod_ref.name)]
}

fn containers(summary: &Summary) -> impl Iterator<Item = (&Pod, &Container)> {
    summary.pods.iter().flat_map(|p| p.containers.iter().map(move |c| (p, c)))
}

const NANO: f64 = 1e9;

/// `/metrics/resource`; `None` where figures could not be gathered.
pub fn resource(summary: Option<&Summary>) -> String {
    let mut page = Page::default();
    if let Some(s) = summary {
        page.family(
            "container_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
            containers(s)
                .filter_map(|(p, c)| {
                    let cpu = c.cpu.as_ref()?;
                    sample(&of_container(p, c), cpu.usage_core_nano_seconds, NANO, cpu.time.as_ref())
                })
                .collect(),
        );
        page.family(
            "container_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the container in bytes",
            containers(s)
                .filter_map(|(p, c)| {
                    let m = c.memory.as_ref()?;
                    sample(&of_container(p, c), m.working_set_bytes, 1.0, m.time.as_ref())
                })
                .collect(),
        );
        swap(&mut page, s);
        page.family(
            "container_start_time_seconds",
            "gauge",
            "[STABLE] Start time of the container since unix epoch in seconds",
            containers(s)
                .filter_map(|(p, c)| {
                    let started = c.start_time.as_ref()?.0.as_second();
                    sample(&of_container(p, c), u64::try_from(started).ok(), 1.0, None)
                })
                .collect(),
        );
        let (cpu, memory) = (&s.node.cpu, &s.node.memory);
        page.family(
            "node_cpu_usage_seconds_total",
            "counter",
            "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
            sample(&[], cpu.usage_core_nano_seconds, NANO, cpu.time.as_ref()).into_iter().collect(),
        );
        page.family(
            "node_memory_working_set_bytes",
            "gauge",
            "[STABLE] Current working set of the node in bytes",
            sample(&[], memory.working_set_bytes, 1.0, memory.time.as_ref()).into_iter().collect(),
        );
        let swap = &s.node.swap;
        page.family(
            "node_swap_usage_bytes",
            "gauge",
            "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
            sample(&[], swap.swap_usage_bytes, 1.0, swap.time.as_ref()).into_iter().collect(),
        );
        pods(&mut page, s);
    }
    let failed = u64::from(summary.is_none());
    page.family(
        "resource_scrape_error",
        "gauge",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        sample(&[], Some(failed), 1.0, None).into_iter().collect(),
    );
    page.0
}

/// Containers' swap, where the runtime tells of it.
fn swap(page: &mut Page, s: &Summary) {
    let mut figures = |name: &str, help: &str, figure: fn(&Swap) -> Option<u64>| {
        let samples = containers(s).filter_map(|(p, c)| {
            let swap = c.swap.as_ref()?;
            sample(&of_container(p, c), figure(swap), 1.0, swap.time.as_ref())
        });
        page.family(name, "gauge", help, samples.collect());
    };
    figures(
        "container_swap_usage_bytes",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        |swap| swap.swap_usage_bytes,
    );
    figures(
        "container_swap_limit_bytes",
        "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems",
        |swap| Some(swap.swap_available_bytes?.saturating_add(swap.swap_usage_bytes.unwrap_or_default())),
    );
}

fn pods(page: &mut Page, s: &Summary) {
    page.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        s.pods
            .iter()
            .filter_map(|p| {
                let cpu = p.cpu.as_ref()?;
                sample(&of_pod(p), cpu.usage_core_nano_seconds, NANO, cpu.time.as_ref())
            })
            .collect(),
    );
    page.family(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        s.pods
            .iter()
            .filter_map(|p| {
                let m = p.memory.as_ref()?;
                sample(&of_pod(p), m.working_set_bytes, 1.0, m.time.as_ref())
            })
            .collect(),
    );
}

/// `/metrics/cadvisor`.
pub fn cadvisor(s: &Summary, cores: i64, memory: i64) -> String {
    fn labels<'s>(p: &'s Pod, c: &'s Container) -> [(&'static str, &'s str); 6] {
        [
            ("container", &c.name),
            ("id", &c.id),
            ("image", &c.image),
            ("name", &c.id),
            ("namespace", &p.pod_ref.namespace),
            ("pod", &p.pod_ref.name),
        ]
    }
    let mut page = Page::default();
    page.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed in seconds.",
        containers(s)
            .filter_map(|(p, c)| {
                let cpu = c.cpu.as_ref()?;
                let mut found = sample(&labels(p, c), cpu.usage_core_nano_seconds, NANO, cpu.time.as_ref())?;
                found.labels.insert(1, ("cpu", "total".into()));
                Some(found)
            })
            .collect(),
    );
    let figures: [(&str, &str, fn(&Container) -> Option<u64>); 4] = [
        (
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
            |c| c.rootfs.as_ref()?.used_bytes,
        ),
        ("container_memory_rss", "Size of RSS in bytes.", |c| c.memory.as_ref()?.rss_bytes),
        (
            "container_memory_usage_bytes",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |c| c.memory.as_ref()?.usage_bytes,
        ),
        ("container_memory_working_set_bytes", "Current working set in bytes.", |c| {
            c.memory.as_ref()?.working_set_bytes
        }),
    ];
    for (name, help, figure) in figures {
        let samples = containers(s).filter_map(|(p, c)| {
            let at = c.memory.as_ref().and_then(|m| m.time.as_ref());
            sample(&labels(p, c), figure(c), 1.0, at)
        });
        page.family(name, "gauge", help, samples.collect());
    }
    let machine = |n: i64| sample(&[], u64::try_from(n).ok(), 1.0, None).into_iter().collect();
    page.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", machine(cores));
    page.family(
        "machine_memory_bytes",
        "gauge",
        "Amount of memory installed on the machine.",
        machine(memory),
    );
    page.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::summary::{Cpu, Memory, PodRef};

    fn summary() -> Summary {
        let time = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
        let cpu =
            Cpu { time: time.clone(), usage_core_nano_seconds: Some(1_500_000_000), usage_nano_cores: None };
        let memory = Memory { time: time.clone(), working_set_bytes: Some(1024), ..Memory::default() };
        let container = Container {
            name: "c".into(),
            start_time: time,
            cpu: Some(cpu.clone()),
            memory: Some(memory.clone()),
            swap: Some(Swap { time: None, swap_available_bytes: Some(5), swap_usage_bytes: Some(2) }),
            id: "abc".into(),
            image: "i\"m".into(),
            ..Container::default()
        };
        let pod = Pod {
            pod_ref: PodRef { name: "p".into(), namespace: "ns".into(), uid: "u".into() },
            containers: vec![container],
            cpu: Some(cpu),
            ..Pod::default()
        };
        Summary { pods: vec![pod], ..Summary::default() }
    }

    #[test]
    fn resources_have_their_lines() {
        let page = resource(Some(&summary()));
        for line in [
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 1.5 1767225600000\n",
            "container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 1024 1767225600000\n",
            "container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"p\"} 1767225600\n",
            "container_swap_usage_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 2\n",
            "container_swap_limit_bytes{container=\"c\",namespace=\"ns\",pod=\"p\"} 7\n",
            "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"p\"} 1.5 1767225600000\n",
            "resource_scrape_error 0\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(!page.contains("pod_memory"), "{page}");
        assert!(resource(None).ends_with("resource_scrape_error 1\n"));
    }

    #[test]
    fn cadvisor_names_images() {
        let page = cadvisor(&summary(), 2, 4096);
        for line in [
            "container_cpu_usage_seconds_total{container=\"c\",cpu=\"total\",id=\"abc\",image=\"i\\\"m\",name=\"abc\",namespace=\"ns\",pod=\"p\"} 1.5 1767225600000\n",
            "machine_cpu_cores 2\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
