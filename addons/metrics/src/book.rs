//! The last two figures of everything, and the rates between them. Pure.

use gantry_client::Key;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// A container younger than this has no rate worth telling from its start alone.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// What something had used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it began, and its CPU time with it; unknown for nodes.
    pub start: Option<Timestamp>,
    pub at: Timestamp,
    /// Since the start.
    pub cpu_nanoseconds: u64,
    /// The working set.
    pub memory_bytes: u64,
    pub swap_bytes: u64,
}

/// A pod's containers.
pub type Points = BTreeMap<Box<str>, Point>;

/// What all kubelets said in one round.
#[derive(Debug, Default)]
pub struct Batch {
    pub nodes: HashMap<Box<str>, Point>,
    pub pods: HashMap<Key, Points>,
}

/// Use over a window that ends at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub at: Timestamp,
    pub window: SignedDuration,
    pub nanocores: u64,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
}

/// Why there is no rate between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fall {
    #[error("unexpected decrease in startTime of node/container")]
    Start,
    #[error("unexpected decrease in cumulative CPU usage value")]
    Cpu,
}

/// The rate between two points, of which `prev` is the earlier.
///
/// # Errors
/// Where a figure that only grows fell: the points are not of the same run.
pub fn usage(last: &Point, prev: &Point) -> Result<Usage, Fall> {
    if last.start < prev.start {
        return Err(Fall::Start);
    }
    let used = last.cpu_nanoseconds.checked_sub(prev.cpu_nanoseconds).ok_or(Fall::Cpu)?;
    let window = last.at.duration_since(prev.at);
    // The book keeps no point that is not earlier than the one after it; nothing divides by zero anyway.
    let over = u128::try_from(window.as_nanos()).unwrap_or_default().max(1);
    let rate = u128::from(used) * 1_000_000_000 / over;
    Ok(Usage {
        at: last.at,
        window,
        nanocores: u64::try_from(rate).unwrap_or(u64::MAX),
        memory_bytes: last.memory_bytes,
        swap_bytes: last.swap_bytes,
    })
}

/// The last point and, where a rate can be told, the one before it.
#[derive(Clone, Copy, Debug)]
struct Kept {
    last: Point,
    prev: Option<Point>,
}

impl Kept {
    fn usage(&self) -> Option<Result<Usage, Fall>> {
        self.prev.as_ref().map(|prev| usage(&self.last, prev))
    }
}

/// The point before `new`, by what is kept. The same point read again changes nothing.
fn before(new: &Point, kept: &Kept) -> Option<Point> {
    if new.at > kept.last.at { Some(kept.last) } else { kept.prev.filter(|prev| prev.at < new.at) }
}

/// The point before a container's, by metrics-server's rules: one that started within the last round is rated
/// from its start; one that started after the kept point is another run.
fn before_container(new: &Point, kept: Option<&Kept>, resolution: SignedDuration) -> Option<Point> {
    if let Some(start) = new.start {
        let age = new.at.duration_since(start);
        if age.is_positive() && age >= FRESH && age < resolution {
            return Some(Point { at: start, cpu_nanoseconds: 0, ..*new });
        }
    }
    let kept = kept.filter(|k| new.start.is_none_or(|start| start < k.last.at))?;
    before(new, kept)
}

/// Everything known. What a round does not name is forgotten.
#[derive(Debug)]
pub struct Book {
    resolution: SignedDuration,
    nodes: HashMap<Box<str>, Kept>,
    /// Containers in the order of their names.
    pods: HashMap<Key, Box<[(Box<str>, Kept)]>>,
}

/// A pod's use: containers by name, and the time of the earliest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage<'b> {
    pub at: Timestamp,
    pub window: SignedDuration,
    pub containers: Vec<(&'b str, Usage)>,
}

impl Book {
    pub fn new(resolution: SignedDuration) -> Self {
        Self { resolution, nodes: HashMap::new(), pods: HashMap::new() }
    }

    /// Takes in a round.
    pub fn store(&mut self, batch: Batch) {
        let node = |(name, last): (Box<str>, Point)| {
            let prev = self.nodes.get(&name).and_then(|kept| before(&last, kept));
            (name, Kept { last, prev })
        };
        let nodes = batch.nodes.into_iter().map(node).collect();
        let pod = |(key, points): (Key, Points)| {
            let known = self.pods.get(&key).map(|all| &**all).unwrap_or_default();
            let container = |(name, last): (Box<str>, Point)| {
                let kept = known.iter().find(|(known, _)| *known == name).map(|(_, kept)| kept);
                let prev = before_container(&last, kept, self.resolution);
                (name, Kept { last, prev })
            };
            let kept = points.into_iter().map(container).collect();
            (key, kept)
        };
        let pods = batch.pods.into_iter().map(pod).collect();
        (self.nodes, self.pods) = (nodes, pods);
    }

    /// Whether any round has brought anything.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.pods.is_empty()
    }

    /// How many nodes and containers have rates.
    pub fn rated(&self) -> (usize, usize) {
        let containers = self.pods.values().flat_map(|all| all.iter());
        (
            self.nodes.values().filter(|kept| kept.prev.is_some()).count(),
            containers.filter(|(_, kept)| kept.prev.is_some()).count(),
        )
    }

    /// A node's use, where it can be told.
    pub fn node(&self, name: &str) -> Option<Usage> {
        self.nodes
            .get(name)?
            .usage()?
            .inspect_err(|error| tracing::info!(name, %error, "skipping a node"))
            .ok()
    }

    /// A pod's use; none until that of every container can be told. A container whose counter fell is left
    /// out for this round.
    pub fn pod(&self, key: &Key) -> Option<PodUsage<'_>> {
        let mut containers = Vec::new();
        for (name, kept) in self.pods.get(key)? {
            match kept.usage()? {
                Ok(usage) => containers.push((&**name, usage)),
                Err(error) => tracing::info!(pod = %key, container = &**name, %error, "skipping a container"),
            }
        }
        let earliest = containers.iter().map(|(_, usage)| *usage).min_by_key(|usage| usage.at)?;
        Some(PodUsage { at: earliest.at, window: earliest.window, containers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOLUTION: i64 = 15;

    /// `start@at:cpu/memory`: seconds, seconds, CPU seconds, bytes; a start of `-` is unknown.
    fn point(text: &str) -> Point {
        let (start, rest) = text.split_once('@').unwrap();
        let (at, rest) = rest.split_once(':').unwrap();
        let (cpu, memory) = rest.split_once('/').unwrap();
        let moment = |t: &str| Timestamp::from_second(t.parse().unwrap()).unwrap();
        Point {
            start: (start != "-").then(|| moment(start)),
            at: moment(at),
            cpu_nanoseconds: cpu.parse::<u64>().unwrap() * 1_000_000_000,
            memory_bytes: memory.parse().unwrap(),
            swap_bytes: 0,
        }
    }

    fn told(usage: &Usage) -> String {
        format!(
            "{}n/{}@{}-{}",
            usage.nanocores,
            usage.memory_bytes,
            usage.at.as_second(),
            usage.window.as_secs()
        )
    }

    #[test]
    fn rates_between_two_points() {
        let check = |prev: &str, last: &str, want: &str| {
            let got = usage(&point(last), &point(prev));
            assert_eq!(got.map_or_else(|e| e.to_string(), |u| told(&u)), want, "{prev} {last}");
        };
        check("-@10:1/5", "-@25:4/7", "200000000n/7@25-15");
        check("-@10:1/5", "-@25:1/5", "0n/5@25-15");
        check("5@10:9/5", "5@25:1/5", "unexpected decrease in cumulative CPU usage value");
        check("5@10:1/5", "4@25:9/5", "unexpected decrease in startTime of node/container");
        // Faster than a clock's step allows to tell.
        check("5@10:0/5", "5@11:3/5", "3000000000n/5@11-1");
    }

    /// Stores rounds, `;` apart, of the containers of one pod (`name=point`) and tells of the pod after the last.
    fn pod_after(rounds: &str) -> String {
        let mut book = Book::new(SignedDuration::from_secs(RESOLUTION));
        let key = Key::new("ns", "p");
        for round in rounds.split(';') {
            let points: Points = round
                .split_whitespace()
                .map(|c| c.split_once('=').unwrap())
                .map(|(name, text)| (name.into(), point(text)))
                .collect();
            let pods = if points.is_empty() { HashMap::new() } else { [(key.clone(), points)].into() };
            book.store(Batch { nodes: HashMap::new(), pods });
        }
        match book.pod(&key) {
            None => "none".into(),
            Some(pod) => {
                let all: Vec<_> = pod.containers.iter().map(|(n, u)| format!("{n}={}", told(u))).collect();
                format!("@{}-{} {}", pod.at.as_second(), pod.window.as_secs(), all.join(" "))
            }
        }
    }

    #[test]
    fn pods_after_rounds() {
        let check = |rounds: &str, want: &str| assert_eq!(pod_after(rounds), want, "{rounds}");
        // One look is not enough, two are.
        check("a=0@100:5/7", "none");
        check("a=0@100:5/7; a=0@115:8/9", "@115-15 a=200000000n/9@115-15");
        // A fresh container is rated from its start, but not in its first ten seconds.
        check("a=90@100:2/7", "@100-10 a=200000000n/7@100-10");
        check("a=91@100:2/7", "none");
        check("a=85@100:2/7", "none");
        check("a=91@100:2/7; a=91@115:5/7", "@115-15 a=200000000n/7@115-15");
        check("a=101@100:2/7", "none");
        // A restart: the counter falls with a new start, and nothing negative is told.
        check("a=0@100:50/7; a=108@115:1/7", "none");
        check("a=0@100:50/7; a=103@115:3/7", "@115-12 a=250000000n/7@115-12");
        check("a=0@100:50/7; a=108@115:1/7; a=108@130:4/7", "@130-15 a=200000000n/7@130-15");
        // A counter that fell without a new start: left out for a round, then back.
        check("a=0@100:50/7 b=0@100:1/1; a=0@115:1/7 b=0@115:1/1", "@115-15 b=0n/1@115-15");
        check("a=0@100:50/7; a=0@115:1/7", "none");
        check("a=0@100:50/7; a=0@115:1/7; a=0@130:4/7", "@130-15 a=200000000n/7@130-15");
        // The same point read again keeps the rate; an older one loses it.
        check("a=0@100:5/7; a=0@115:8/7; a=0@115:8/7", "@115-15 a=200000000n/7@115-15");
        check("a=0@100:5/7; a=0@115:8/7; a=0@99:1/7", "none");
        // All containers or none.
        check("a=0@100:5/7; a=0@115:8/7 b=110@115:1/1", "none");
        check(
            "a=0@100:5/7; a=0@115:8/7 b=104@114:1/1",
            "@114-10 a=200000000n/7@115-15 b=100000000n/1@114-10",
        );
        // A container gone is forgotten; so is a pod, even if it comes back.
        check("a=0@100:5/7 b=0@100:5/7; a=0@115:8/7", "@115-15 a=200000000n/7@115-15");
        check("a=0@100:5/7; ; a=0@130:8/7", "none");
        // Without a start, rates are told all the same.
        check("a=-@100:5/7; a=-@115:8/7", "@115-15 a=200000000n/7@115-15");
    }

    #[test]
    fn nodes_after_rounds() {
        let check = |rounds: &str, want: &str| {
            let mut book = Book::new(SignedDuration::from_secs(RESOLUTION));
            for round in rounds.split_whitespace() {
                let nodes = if round == "-" { HashMap::new() } else { [("n".into(), point(round))].into() };
                book.store(Batch { nodes, pods: HashMap::new() });
            }
            assert_eq!(book.node("n").map_or("none".to_owned(), |u| told(&u)), want, "{rounds}");
        };
        check("-@100:5/7", "none");
        check("-@100:5/7 -@115:8/9", "200000000n/9@115-15");
        // A reboot.
        check("-@100:5000/7 -@115:8/9", "none");
        check("-@100:5000/7 -@115:8/9 -@130:11/9", "200000000n/9@130-15");
        // Missed once: it starts over.
        check("-@100:5/7 - -@130:8/9", "none");
    }
}
