//! Which events of `events.k8s.io` are told anew and which prolong the series of an earlier one. Pure.
//!
//! The second telling makes a series of two; further ones are only counted, and the count is told when the
//! series is over. Notes that differ make events that differ.

use super::Report;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use std::collections::HashMap;

/// A series is over when it was silent for so long.
pub(super) const OVER_SECONDS: i64 = 360;
/// Beyond so many, those that were told once are forgotten.
const MAX_ENTRIES: usize = 4096;

/// What to send.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Telling {
    New(Box<Event>),
    Series { namespace: String, name: String, series: EventSeries },
}

struct Told {
    namespace: String,
    name: String,
    count: i32,
    last: Timestamp,
}

/// What one controller's instance has told lately.
pub(super) struct Series {
    pub controller: String,
    /// `<controller>-<host>`
    pub instance: String,
    told: HashMap<String, Told>,
}

fn key(report: &Report) -> String {
    let of = |about: &ObjectReference| {
        let parts = [&about.kind, &about.namespace, &about.name, &about.uid];
        parts.map(|p| p.as_deref().unwrap_or("")).join("\0")
    };
    let related = report.related.as_ref().map(of).unwrap_or_default();
    let words = [report.kind.as_str(), report.action, &report.reason, &report.message].join("\0");
    format!("{}\0{related}\0{words}", of(&report.regarding))
}

impl Series {
    pub(super) fn new(controller: &str, host: &str) -> Self {
        let instance = format!("{controller}-{host}");
        Self { controller: controller.to_owned(), instance, told: HashMap::new() }
    }

    /// Decides on a report; `None` where it is only counted.
    pub(super) fn take(&mut self, report: &Report) -> Option<Telling> {
        let key = key(report);
        if let Some(told) = self.told.get_mut(&key) {
            told.count += 1;
            told.last = report.at;
            return (told.count == 2).then(|| prolong(told));
        }
        let about = &report.regarding;
        let namespace = about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".into());
        let name = format!("{}.{:x}", about.name.as_deref().unwrap_or(""), report.at.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(report.at)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(report.action.to_owned()),
            reason: Some(report.reason.clone()),
            regarding: Some(about.clone()),
            related: report.related.clone(),
            note: Some(report.message.clone()),
            type_: Some(report.kind.as_str().to_owned()),
            ..Event::default()
        };
        if self.told.len() >= MAX_ENTRIES {
            self.told.retain(|_, told| told.count > 1);
        }
        self.told.insert(key, Told { namespace, name, count: 1, last: report.at });
        Some(Telling::New(Box::new(event)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Ends what has been silent; the counts of series that are over.
    pub(super) fn sweep(&mut self, now: Timestamp) -> Vec<Telling> {
        let over = |told: &Told| now.as_second() - told.last.as_second() >= OVER_SECONDS;
        let ended = self.told.extract_if(|_, told| over(told));
        ended.filter(|(_, told)| told.count > 1).map(|(_, told)| prolong(&told)).collect()
    }
}

fn prolong(told: &Told) -> Telling {
    Telling::Series {
        namespace: told.namespace.clone(),
        name: told.name.clone(),
        series: EventSeries { count: told.count, last_observed_time: MicroTime(told.last) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::EventType;

    fn report(name: &str, note: &str, second: i64) -> Report {
        Report {
            regarding: ObjectReference {
                kind: Some("Pod".into()),
                name: Some(name.into()),
                ..ObjectReference::default()
            },
            related: None,
            action: "Scheduling",
            kind: EventType::Warning,
            reason: "FailedScheduling".into(),
            message: note.into(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    /// `new <name> <note>`, `<count> at <second>` or nothing.
    fn words(telling: Option<Telling>) -> String {
        match telling {
            None => String::new(),
            Some(Telling::New(e)) => {
                format!("new {} {}", e.regarding.unwrap().name.unwrap(), e.note.unwrap())
            }
            Some(Telling::Series { series, .. }) => {
                format!("{} at {}", series.count, series.last_observed_time.0.as_second())
            }
        }
    }

    #[test]
    fn the_second_makes_a_series_and_more_are_counted() {
        let mut series = Series::new("default-scheduler", "host");
        for (name, note, at, expected) in [
            ("a", "no", 1, "new a no"),
            ("b", "no", 1, "new b no"),
            ("a", "no", 2, "2 at 2"),
            ("a", "no", 3, ""),
            ("a", "never", 4, "new a never"),
            ("a", "no", 5, ""),
        ] {
            assert_eq!(words(series.take(&report(name, note, at))), expected, "{name} {note} {at}");
        }
        assert_eq!(series.sweep(Timestamp::from_second(362).unwrap()).len(), 0);
        let ended = series.sweep(Timestamp::from_second(365).unwrap());
        assert_eq!(ended.into_iter().map(|t| words(Some(t))).collect::<Vec<_>>(), ["4 at 5"]);
        assert!(series.is_empty());
        assert_eq!(words(series.take(&report("a", "no", 400))), "new a no");
    }

    #[test]
    fn an_event_says_who_and_what() {
        let mut series = Series::new("default-scheduler", "host");
        let Some(Telling::New(event)) = series.take(&report("a", "no", 1)) else { panic!() };
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(event.reporting_instance.as_deref(), Some("default-scheduler-host"));
        assert_eq!(event.action.as_deref(), Some("Scheduling"));
        assert_eq!(event.event_time.map(|t| t.0.as_second()), Some(1));
    }
}
