//! A kubelet's page of metrics, read. Pure.

use crate::book::{Point, Points};
use gantry_client::Key;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A line that is no sample.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the page is malformed: {text}")]
pub struct Malformed {
    line: usize,
    text: String,
}

/// What a node says of itself and its containers.
#[derive(Debug, Default, PartialEq)]
pub struct Reading {
    /// Absent where it is not whole.
    pub node: Option<Point>,
    pub pods: BTreeMap<Key, Points>,
}

/// A sample: a line of the page, taken apart.
struct Sample<'p> {
    name: &'p str,
    /// What is between the braces.
    labels: &'p str,
    value: f64,
    at: Option<Timestamp>,
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        None => ("", rest),
        Some(inside) => {
            let (mut quoted, mut escaped) = (false, false);
            let end = inside.find(|c: char| {
                let closes = c == '}' && !quoted;
                if escaped {
                    escaped = false;
                } else if quoted && c == '\\' {
                    escaped = true;
                } else if c == '"' {
                    quoted = !quoted;
                }
                closes
            })?;
            (&inside[..end], &inside[end + 1..])
        }
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let at = match words.next() {
        Some(millis) => Some(Timestamp::from_millisecond(millis.parse().ok()?).ok()?),
        None => None,
    };
    words.next().is_none().then_some(Sample { name, labels, value, at })
}

/// A label's value. The names of objects have nothing in them that is escaped.
fn label<'p>(labels: &'p str, name: &str) -> Option<&'p str> {
    let mut rest = labels;
    loop {
        let (key, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if key.trim_start_matches([',', ' ']) == name {
            return Some(value);
        }
        rest = after;
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Out of range is the nearest there is.
fn whole(value: f64) -> u64 {
    value as u64
}

#[allow(clippy::cast_possible_truncation)] // As above.
fn moment(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_millisecond((seconds * 1e3) as i64).ok()
}

/// Figures of one thing as they gather; the times of CPU and of memory are kept apart.
#[derive(Default)]
struct Gathered {
    start: Option<Timestamp>,
    cpu: Option<(u64, Timestamp)>,
    memory: Option<(u64, Timestamp)>,
    swap: u64,
}

impl Gathered {
    /// A point, where there is any use of both CPU and memory: what uses none is not there yet.
    fn point(&self) -> Option<Point> {
        let (cpu, at) = self.cpu.filter(|(used, _)| *used > 0)?;
        let (memory, _) = self.memory.filter(|(used, _)| *used > 0)?;
        Some(Point {
            start: self.start,
            at,
            cpu_nanoseconds: cpu,
            memory_bytes: memory,
            swap_bytes: self.swap,
        })
    }

    fn is_nothing(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

/// Reads `/metrics/resource`; samples without a time are of `now`. A pod that has a container without complete
/// figures is left out, as is a node without them.
///
/// # Errors
/// Where a line is no sample.
pub fn read(page: &str, now: Timestamp) -> Result<Reading, Malformed> {
    let mut node = Gathered::default();
    let mut pods: BTreeMap<Key, BTreeMap<Box<str>, Gathered>> = BTreeMap::new();
    for (number, line) in page.lines().enumerate() {
        let line = line.trim();
        let known = line.starts_with("node_") || line.starts_with("container_");
        if !known {
            continue;
        }
        let wrong = || Malformed { line: number + 1, text: line.chars().take(120).collect() };
        let s = sample(line).ok_or_else(wrong)?;
        let at = s.at.unwrap_or(now);
        let into = match s.name.strip_prefix("container_") {
            None => &mut node,
            Some(_) => {
                let names = ["namespace", "pod", "container"].map(|name| label(s.labels, name));
                let [Some(namespace), Some(pod), Some(container)] = names else { return Err(wrong()) };
                pods.entry(Key::new(namespace, pod)).or_default().entry(container.into()).or_default()
            }
        };
        match s.name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => {
                into.cpu = Some((whole(s.value * 1e9), at));
            }
            "node_memory_working_set_bytes" | "container_memory_working_set_bytes" => {
                into.memory = Some((whole(s.value), at));
            }
            "node_swap_usage_bytes" | "container_swap_usage_bytes" => into.swap = whole(s.value),
            "container_start_time_seconds" => into.start = moment(s.value),
            _ => {}
        }
    }
    let complete = |(pod, containers): (Key, BTreeMap<Box<str>, Gathered>)| {
        let points: Option<Points> = containers
            .into_iter()
            .filter(|(_, c)| !c.is_nothing())
            .map(|(name, c)| c.point().map(|p| (name, p)))
            .collect();
        Some((pod, points.filter(|p| !p.is_empty())?))
    };
    Ok(Reading { node: node.point(), pods: pods.into_iter().filter_map(complete).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(page: &str) -> String {
        let now = Timestamp::from_second(100).unwrap();
        let point = |p: &Point| {
            let start = p.start.map_or(0, Timestamp::as_millisecond);
            format!(
                "{}/{}/{}@{}+{start}",
                p.cpu_nanoseconds,
                p.memory_bytes,
                p.swap_bytes,
                p.at.as_millisecond()
            )
        };
        match read(page, now) {
            Err(e) => e.to_string(),
            Ok(r) => {
                let node = r.node.as_ref().map_or("-".to_owned(), point);
                let pods = r.pods.iter().flat_map(|(pod, all)| {
                    all.iter().map(move |(name, p)| format!(" {pod}:{name}={}", point(p)))
                });
                node + &pods.collect::<String>()
            }
        }
    }

    #[test]
    fn pages_read() {
        let check = |page: &str, want: &str| assert_eq!(shown(page), want, "{page}");
        check("", "-");
        check("# HELP x y\n# TYPE x counter\nother_total{a=\"b\"} oops\n", "-");
        check(
            "node_cpu_usage_seconds_total 1.5 2000\nnode_memory_working_set_bytes 64 2001\n",
            "1500000000/64/0@2000+0",
        );
        check(
            "node_cpu_usage_seconds_total 1.5\nnode_memory_working_set_bytes 6.4e+01\nnode_swap_usage_bytes 7\n",
            "1500000000/64/7@100000+0",
        );
        // No memory: the node is not whole.
        check("node_cpu_usage_seconds_total 1.5 2000\n", "-");
        check("node_cpu_usage_seconds_total 0 2000\nnode_memory_working_set_bytes 64 2000\n", "-");
        check(
            "node_cpu_usage_seconds_total oops 2000\n",
            "line 1 of the page is malformed: node_cpu_usage_seconds_total oops 2000",
        );
        let of =
            |name: &str, rest: &str| format!("{name}{{container=\"c\",namespace=\"n\",pod=\"p\"}} {rest}\n");
        let cpu = of("container_cpu_usage_seconds_total", "2 3000");
        let memory = of("container_memory_working_set_bytes", "5 3000");
        let start = of("container_start_time_seconds", "1.5");
        check(&format!("{cpu}{memory}{start}"), "- n/p:c=2000000000/5/0@3000+1500");
        // A container that has ended has its start and no figures: it does not hold up the others.
        let ended = start.replace("\"c\"", "\"init\"");
        check(&format!("{cpu}{memory}{ended}"), "- n/p:c=2000000000/5/0@3000+0");
        // One that has only half of them does.
        let half = cpu.replace("\"c\"", "\"d\"");
        check(&format!("{cpu}{memory}{half}"), "-");
        check(
            "container_cpu_usage_seconds_total{pod=\"p\"} 1\n",
            "line 1 of the page is malformed: container_cpu_usage_seconds_total{pod=\"p\"} 1",
        );
        check(
            "container_cpu_usage_seconds_total{pod=\"p\",namespace=\"n\",container=\"c\",x=\"a}\\\"b\"} 1 2000\ncontainer_memory_working_set_bytes{pod=\"p\",namespace=\"n\",container=\"c\"} 1 2000\n",
            "- n/p:c=1000000000/1/0@2000+0",
        );
    }
}
