//! What nodes, pods and containers use, as `top` prints it. Pure.

use super::tabs;
use gantry_types::quantity::Quantity;
use serde::Deserialize;
use std::collections::BTreeMap;

pub type Resources = BTreeMap<String, Quantity>;

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Name {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
}

/// `NodeMetrics` of `metrics.k8s.io`.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeMetrics {
    pub metadata: Name,
    #[serde(default)]
    pub usage: Resources,
}

/// `PodMetrics` of `metrics.k8s.io`.
#[derive(Clone, Debug, Deserialize)]
pub struct PodMetrics {
    pub metadata: Name,
    /// `null` for none, from servers written in Go.
    pub containers: Option<Vec<ContainerMetrics>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ContainerMetrics {
    pub name: String,
    #[serde(default)]
    pub usage: Resources,
}

/// What a list is sorted by: names, or the greatest use first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Name,
    Cpu,
    Memory,
}

/// How the table looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub order: Order,
    pub no_headers: bool,
    pub swap: bool,
    /// Pods: a row a container.
    pub containers: bool,
    pub namespaces: bool,
    /// Pods: the sum of all in the end.
    pub sum: bool,
}

const UNKNOWN: &str = "<unknown>";

impl Style {
    fn resources(&self) -> &'static [&'static str] {
        if self.swap { &["cpu", "memory", "swap"] } else { &["cpu", "memory"] }
    }

    /// Sorts by use, or by name.
    fn sort<T>(&self, all: &mut [T], usage: impl Fn(&T) -> Resources, name: impl Fn(&T) -> (String, String)) {
        let figure = |of: &T, resource: &str| usage(of).get(resource).cloned().unwrap_or_default();
        match self.order {
            Order::Name => all.sort_by_key(name),
            Order::Cpu => all.sort_by_key(|one| std::cmp::Reverse(figure(one, "cpu").milli_value())),
            Order::Memory => all.sort_by_key(|one| std::cmp::Reverse(figure(one, "memory").value())),
        }
    }
}

/// One figure: millicores, or whole mebibytes.
fn figure(resource: &str, usage: &Resources) -> String {
    let used = usage.get(resource).cloned().unwrap_or_default();
    match resource {
        "cpu" => format!("{}m", used.milli_value()),
        _ => format!("{}Mi", used.value() / (1024 * 1024)),
    }
}

fn percent(used: &Quantity, available: &Quantity) -> i64 {
    if available.is_zero() {
        return 0;
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    // A share, shown without fraction.
    let share = (used.milli_value() as f64 / available.milli_value() as f64 * 100.0) as i64;
    share
}

/// Cells, each ended by a tab: even the last belongs to a column.
fn line(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for cell in cells {
        out.push_str(&cell);
        out.push('\t');
    }
    out.push('\n');
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|text| (*text).to_owned()).collect()
}

fn aligned(written: &str) -> String {
    tabs::text(written, 6, 3)
}

/// The table of nodes, with what there is of each resource; a node without swap has none of it available.
/// Nodes without metrics come last.
pub fn nodes(
    mut metrics: Vec<NodeMetrics>,
    mut available: BTreeMap<String, Resources>,
    style: Style,
) -> String {
    let mut out = String::new();
    style.sort(&mut metrics, |m| m.usage.clone(), |m| (String::new(), m.metadata.name.clone()));
    if !style.no_headers {
        let mut head = texts(&["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]);
        if style.swap {
            head.extend(texts(&["SWAP(bytes)", "SWAP(%)"]));
        }
        line(&mut out, head);
    }
    for m in &metrics {
        let known = available.remove(&m.metadata.name);
        let mut cells = vec![m.metadata.name.clone()];
        for resource in style.resources() {
            let of = known.as_ref().and_then(|a| a.get(*resource));
            if *resource == "swap" && known.is_some() && of.is_none() {
                cells.extend(texts(&[UNKNOWN, UNKNOWN]));
                continue;
            }
            cells.push(figure(resource, &m.usage));
            if let Some(all) = of {
                let used = m.usage.get(*resource).cloned().unwrap_or_default();
                cells.push(format!("{}%", percent(&used, all)));
            }
        }
        line(&mut out, cells);
    }
    for name in available.into_keys() {
        let unknown = std::iter::repeat_n(UNKNOWN.to_owned(), 2 * style.resources().len());
        line(&mut out, std::iter::once(name).chain(unknown));
    }
    aligned(&out)
}

fn total<'c>(containers: impl Iterator<Item = &'c ContainerMetrics>, style: &Style) -> Resources {
    let mut sum = Resources::new();
    for c in containers {
        for resource in style.resources() {
            if let Some(used) = c.usage.get(*resource) {
                sum.entry((*resource).to_owned()).or_default().add(used);
            }
        }
    }
    sum
}

fn of_pod(pod: &PodMetrics) -> impl Iterator<Item = &ContainerMetrics> {
    pod.containers.iter().flatten()
}

/// The table of pods or of their containers.
pub fn pods(mut metrics: Vec<PodMetrics>, style: Style) -> String {
    let mut out = String::new();
    let mut head = texts(&["NAME", "CPU(cores)", "MEMORY(bytes)"]);
    if style.swap {
        head.push("SWAP(bytes)".to_owned());
    }
    let mut width = head.len();
    if !style.no_headers {
        for (shown, title) in [(style.containers, "POD"), (style.namespaces, "NAMESPACE")] {
            if shown {
                head.insert(0, title.to_owned());
            }
        }
        // The sum's width follows the header, even where rows are wider for want of one.
        width = head.len();
        line(&mut out, head);
    }
    let name = |m: &PodMetrics| {
        let namespace = if style.namespaces { m.metadata.namespace.clone() } else { String::new() };
        (namespace, m.metadata.name.clone())
    };
    style.sort(&mut metrics, |m| total(of_pod(m), &style), name);
    let figures = |usage: &Resources| -> Vec<String> {
        style.resources().iter().map(|resource| figure(resource, usage)).collect()
    };
    for m in &mut metrics {
        let before = style.namespaces.then(|| m.metadata.namespace.clone());
        if !style.containers {
            let usage = total(of_pod(m), &style);
            let cells = before.into_iter().chain([m.metadata.name.clone()]).chain(figures(&usage));
            line(&mut out, cells);
            continue;
        }
        let pod = m.metadata.name.clone();
        let containers = m.containers.get_or_insert_default();
        style.sort(containers, |c| c.usage.clone(), |c| (String::new(), c.name.clone()));
        for c in containers {
            let cells = before.clone().into_iter().chain([pod.clone(), c.name.clone()]);
            line(&mut out, cells.chain(figures(&c.usage)));
        }
    }
    if style.sum {
        let sum = total(metrics.iter().flat_map(of_pod), &style);
        let empty = |n: usize| std::iter::repeat_n(String::new(), n);
        line(&mut out, empty(width - 2).chain(texts(&["________", "________"])));
        // Behind an empty name.
        line(&mut out, empty(width - 2).chain(figures(&sum)));
    }
    aligned(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(cpu: &str, memory: &str) -> Resources {
        let quantity = |text: &str| text.parse().unwrap();
        [("cpu".to_owned(), quantity(cpu)), ("memory".to_owned(), quantity(memory))].into()
    }

    fn named(namespace: &str, name: &str) -> Name {
        Name { name: name.into(), namespace: namespace.into() }
    }

    /// What the table looks like with every space at a line's end as a dot.
    fn check(got: &str, want: &str) {
        let shown: Vec<String> = got
            .lines()
            .map(|l| {
                let text = l.trim_end();
                format!("{text}{}", ".".repeat(l.len() - text.len()))
            })
            .collect();
        assert_eq!(shown.join("\n"), want.trim_matches('\n'));
    }

    fn some_nodes() -> Vec<NodeMetrics> {
        let node = |name, cpu, memory| NodeMetrics { metadata: named("", name), usage: usage(cpu, memory) };
        vec![node("b", "250000001n", "1Gi"), node("a", "3", "100Mi")]
    }

    #[test]
    fn nodes_are_listed() {
        let available: BTreeMap<String, Resources> =
            ["a", "b", "gone"].map(|n| (n.to_owned(), usage("4", "4Gi"))).into();
        let style = Style::default();
        check(
            &nodes(some_nodes(), available.clone(), style),
            "
NAME   CPU(cores)   CPU(%)      MEMORY(bytes)   MEMORY(%)...
a      3000m        75%         100Mi           2%..........
b      251m         6%          1024Mi          25%.........
gone   <unknown>    <unknown>   <unknown>       <unknown>...",
        );
        let by_memory = Style { order: Order::Memory, no_headers: true, ..style };
        let only_a: BTreeMap<String, Resources> = [("a".to_owned(), usage("0", "4Gi"))].into();
        // A node nobody knows the size of has no shares.
        check(
            &nodes(some_nodes(), only_a, by_memory),
            "
b     251m    1024Mi...
a     3000m   0%       100Mi   2%....",
        );
        check(
            &nodes(some_nodes(), available, Style { swap: true, order: Order::Cpu, ..style }),
            "
NAME   CPU(cores)   CPU(%)      MEMORY(bytes)   MEMORY(%)   SWAP(bytes)   SWAP(%).....
a      3000m        75%         100Mi           2%          <unknown>     <unknown>...
b      251m         6%          1024Mi          25%         <unknown>     <unknown>...
gone   <unknown>    <unknown>   <unknown>       <unknown>   <unknown>     <unknown>...",
        );
    }

    fn some_pods() -> Vec<PodMetrics> {
        let container =
            |name: &str, cpu, memory| ContainerMetrics { name: name.into(), usage: usage(cpu, memory) };
        let pod = |namespace, name, containers| PodMetrics { metadata: named(namespace, name), containers };
        vec![
            pod("z", "web", Some(vec![container("y", "1m", "10Mi"), container("x", "5m", "1Mi")])),
            pod("a", "zeta", Some(vec![container("c", "20m", "1Mi")])),
            pod("z", "none", None),
        ]
    }

    #[test]
    fn pods_are_listed() {
        let style = Style::default();
        let all = |style| pods(some_pods(), style);
        check(
            &all(style),
            "
NAME   CPU(cores)   MEMORY(bytes)...
none   0m           0Mi.............
web    6m           11Mi............
zeta   20m          1Mi.............",
        );
        check(
            &all(Style { namespaces: true, order: Order::Cpu, sum: true, ..style }),
            "
NAMESPACE   NAME   CPU(cores)   MEMORY(bytes)...
a           zeta   20m          1Mi.............
z           web    6m           11Mi............
z           none   0m           0Mi.............
                   ________     ________........
                   26m          12Mi............",
        );
        check(
            &all(Style { containers: true, order: Order::Memory, ..style }),
            "
POD    NAME   CPU(cores)   MEMORY(bytes)...
web    y      1m           10Mi............
web    x      5m           1Mi.............
zeta   c      20m          1Mi.............",
        );
        check(
            &all(Style { no_headers: true, sum: true, ..style }),
            "
none   0m         0Mi........
web    6m         11Mi.......
zeta   20m        1Mi........
       ________   ________...
       26m        12Mi.......",
        );
    }
}
