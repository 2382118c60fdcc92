//! When a certificate is asked for, waited for and asked for again: one state machine for the kubelet's client
//! and its serving certificate.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one request is waited for before the next is made.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// The longest wait after a failure.
const SLOWEST: i64 = 32;
/// The least time between two certificates.
const REST: SignedDuration = SignedDuration::from_secs(10);

/// What the certificate in use says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub common_name: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// DNS names and addresses.
    pub names: BTreeSet<String>,
}

/// What the certificate should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub common_name: String,
    pub names: BTreeSet<String>,
}

/// Where the machine stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing is asked for.
    #[default]
    Settled,
    /// As that, and not before then: a certificate that is due when it comes must not be asked for at once.
    Stored { until: Timestamp },
    /// This request is waited for.
    Asked { name: String, until: Timestamp },
    /// So many failures in a row.
    Failed { times: u32, until: Timestamp },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a key and ask for its certificate.
    Ask,
    /// Wait for the answer to this request, until then at most.
    Watch {
        name: String,
        wait: Duration,
    },
    Sleep(Duration),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request of this name was made.
    Asked(String),
    /// Its certificate is in use.
    Stored,
    /// It could not be made, was refused, or what came was no good.
    Failed,
    /// Nobody answered, or the request is gone: ask anew.
    Lost,
}

/// When a certificate is due: after seven to nine tenths of its life, as `luck` from 0 to 1 has it.
pub fn due(held: &Held, luck: f64) -> Timestamp {
    let life = (held.not_after.as_second() - held.not_before.as_second()).max(0);
    let tenths = 0.7 + 0.2 * luck.clamp(0.0, 1.0);
    let after = (life as f64 * tenths).round() as i64;
    held.not_before.checked_add(SignedDuration::from_secs(after)).unwrap_or(held.not_after)
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

impl State {
    /// What to do now. `luck` spreads renewals over time; it stays the same for one certificate.
    pub fn action(&self, held: Option<&Held>, wanted: &Wanted, luck: f64, now: Timestamp) -> Action {
        match self {
            Self::Asked { name, until: end } if *end > now => {
                Action::Watch { name: name.clone(), wait: until(*end, now) }
            }
            Self::Failed { until: end, .. } | Self::Stored { until: end } if *end > now => {
                Action::Sleep(until(*end, now))
            }
            Self::Asked { .. } | Self::Failed { .. } => Action::Ask,
            Self::Settled | Self::Stored { .. } => match held {
                Some(held) if held.common_name == wanted.common_name && held.names == wanted.names => {
                    let at = due(held, luck);
                    if at > now { Action::Sleep(until(at, now)) } else { Action::Ask }
                }
                _ => Action::Ask,
            },
        }
    }

    /// The state after an event.
    #[must_use]
    pub fn after(&self, event: Event, now: Timestamp) -> Self {
        let later = |wait: SignedDuration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
        match event {
            Event::Asked(name) => Self::Asked { name, until: later(PATIENCE) },
            Event::Stored => Self::Stored { until: later(REST) },
            Event::Lost => Self::Failed { times: 0, until: now },
            Event::Failed => {
                let times = match self {
                    Self::Failed { times, .. } => times.saturating_add(1),
                    _ => 1,
                };
                let wait = 2_i64.saturating_pow(times).min(SLOWEST);
                Self::Failed { times, until: later(SignedDuration::from_secs(wait)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-01-{text}:00:00Z").parse().unwrap()
    }

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|n| (*n).to_owned()).collect()
    }

    fn held(cn: &str, all: &[&str]) -> Held {
        Held { common_name: cn.into(), not_before: at("01T00"), not_after: at("11T00"), names: names(all) }
    }

    fn check(state: &State, held: Option<Held>, now: &str, want: Action) {
        let wanted = Wanted { common_name: "n".into(), names: names(&["a"]) };
        assert_eq!(state.action(held.as_ref(), &wanted, 0.5, at(now)), want, "{state:?} {now}");
    }

    #[test]
    fn certificates_are_asked_for_in_time() {
        let days = |n: u64| Action::Sleep(Duration::from_secs(n * 86_400));
        check(&State::Settled, None, "01T00", Action::Ask);
        check(&State::Settled, Some(held("n", &["a"])), "01T00", days(8));
        check(&State::Settled, Some(held("n", &["a"])), "09T00", Action::Ask);
        check(&State::Settled, Some(held("n", &["b"])), "01T00", Action::Ask);
        check(&State::Settled, Some(held("other", &["a"])), "01T00", Action::Ask);
        assert_eq!((due(&held("n", &[]), 0.0), due(&held("n", &[]), 1.0)), (at("08T00"), at("10T00")));
    }

    #[test]
    fn requests_are_waited_for_and_failures_slow_down() {
        let now = at("01T00");
        let asked = State::Settled.after(Event::Asked("csr-1".into()), now);
        check(&asked, None, "01T00", Action::Watch { name: "csr-1".into(), wait: Duration::from_secs(900) });
        check(&asked, None, "01T01", Action::Ask);
        check(&asked.after(Event::Lost, now), None, "01T00", Action::Ask);
        let stored = asked.after(Event::Stored, now);
        check(&stored, None, "01T00", Action::Sleep(Duration::from_secs(10)));
        check(&stored, Some(held("n", &["a"])), "02T00", Action::Sleep(Duration::from_secs(7 * 86_400)));
        let mut state = State::Settled;
        for seconds in [2, 4, 8, 16, 32, 32] {
            state = state.after(Event::Failed, now);
            check(&state, None, "01T00", Action::Sleep(Duration::from_secs(seconds)));
        }
        check(&state, None, "01T01", Action::Ask);
    }
}
