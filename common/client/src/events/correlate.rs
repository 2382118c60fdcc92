//! Which events are told anew, which are counted on an earlier one, and which are dropped. Pure.

use super::Report;
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

const MAX_ENTRIES: usize = 4096;
/// This many different messages of one kind within [`SIMILAR_SECONDS`] are told apart; more are combined.
const MAX_SIMILAR: usize = 10;
const SIMILAR_SECONDS: i64 = 600;
/// The spam filter's bucket per source, object and type of event: its size, and how long one token takes to come back.
const BURST: f64 = 25.0;
const SECONDS_PER_TOKEN: f64 = 300.0;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    key: String,
    /// The event already in the cluster to count up, by name.
    pub existing: Option<String>,
    pub count: i32,
    pub first: Timestamp,
    pub message: String,
    /// It stands for several that are much alike.
    pub combined: bool,
}

struct Seen {
    name: Option<String>,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Default)]
pub(super) struct Correlator {
    buckets: HashMap<String, Bucket>,
    similar: HashMap<String, Similar>,
    seen: HashMap<String, Seen>,
}

impl Correlator {
    /// Decides on a report; `None` drops it.
    pub(super) fn take(&mut self, report: &Report) -> Option<Outcome> {
        let now = report.at;
        let about = &report.regarding;
        let object = format!(
            "{}\0{}\0{}\0{}\0{}\0{}",
            about.kind.as_deref().unwrap_or(""),
            about.namespace.as_deref().unwrap_or(""),
            about.name.as_deref().unwrap_or(""),
            about.uid.as_deref().unwrap_or(""),
            about.api_version.as_deref().unwrap_or(""),
            report.kind.as_str()
        );
        let group = format!("{object}\0{}\0{}", report.kind.as_str(), report.reason);
        let similar = self
            .similar
            .entry(group.clone())
            .or_insert_with(|| Similar { messages: HashSet::new(), last: now });
        if now.as_second() - similar.last.as_second() > SIMILAR_SECONDS {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < MAX_SIMILAR {
            similar.messages.insert(report.message.clone());
        }
        let combined = similar.messages.len() >= MAX_SIMILAR;
        let (key, message) = if combined {
            (group, format!("(combined from similar events): {}", report.message))
        } else {
            let field = about.field_path.as_deref().unwrap_or("");
            (format!("{group}\0{field}\0{}", report.message), report.message.clone())
        };
        let seen = self.seen.entry(key.clone()).or_insert_with(|| Seen {
            name: None,
            count: 0,
            first: now,
            last: now,
        });
        seen.count += 1;
        seen.last = now;
        let outcome = Outcome {
            key,
            existing: seen.name.clone(),
            count: seen.count,
            first: seen.first,
            message,
            combined,
        };
        if !self.allowed(object, now) {
            return None;
        }
        self.shrink();
        Some(outcome)
    }

    /// Notes under which name an event went into the cluster.
    pub(super) fn sent(&mut self, outcome: &Outcome, name: String) {
        if let Some(seen) = self.seen.get_mut(&outcome.key) {
            seen.name = Some(name);
        }
    }

    fn allowed(&mut self, object: String, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(object).or_insert(Bucket { tokens: BURST, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed / SECONDS_PER_TOKEN).min(BURST);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    /// Drops the older half of a table that has grown too large.
    fn shrink(&mut self) {
        fn halve<V>(table: &mut HashMap<String, V>, last: impl Fn(&V) -> Timestamp) {
            if table.len() > MAX_ENTRIES {
                let mut times: Vec<_> = table.values().map(&last).collect();
                times.sort_unstable();
                let middle = times[times.len() / 2];
                table.retain(|_, v| last(v) > middle);
                table.shrink_to_fit();
            }
        }
        halve(&mut self.seen, |s| s.last);
        halve(&mut self.similar, |s| s.last);
        halve(&mut self.buckets, |b| b.at);
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventType;
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn report(message: &str, second: i64) -> Report {
        Report {
            related: None,
            action: "",
            regarding: ObjectReference { name: Some("x".into()), ..Default::default() },
            kind: EventType::Normal,
            reason: "R".into(),
            message: message.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn repeats_are_counted() {
        let mut correlator = Correlator::default();
        let first = correlator.take(&report("m", 1)).unwrap();
        assert_eq!((first.count, first.existing.clone()), (1, None));
        correlator.sent(&first, "x.1".into());
        let second = correlator.take(&report("m", 9)).unwrap();
        assert_eq!((second.count, second.existing, second.first.as_second()), (2, Some("x.1".into()), 1));
    }

    #[test]
    fn many_different_messages_are_combined() {
        let mut correlator = Correlator::default();
        for n in 0..9 {
            let taken = correlator.take(&report(&format!("m{n}"), n)).unwrap();
            assert_eq!(taken.message, format!("m{n}"));
        }
        let tenth = correlator.take(&report("m9", 9)).unwrap();
        assert_eq!(tenth.message, "(combined from similar events): m9");
        let eleventh = correlator.take(&report("m10", 10)).unwrap();
        assert_eq!((eleventh.count, tenth.key), (2, eleventh.key));
    }

    #[test]
    fn a_flood_is_cut_and_comes_back_slowly() {
        let mut correlator = Correlator::default();
        let passed = (0..40).filter(|_| correlator.take(&report("m", 5)).is_some()).count();
        assert_eq!(passed, 25);
        assert!(correlator.take(&report("m", 305)).is_some());
        assert!(correlator.take(&report("m", 306)).is_none());
    }
}
