//! Probe state machines: thresholds turn a run of answers into a verdict.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As events begin: `Liveness probe failed: …`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }

    /// The verdict before any answer.
    pub fn initial(self) -> Verdict {
        match self {
            Self::Startup => Verdict::Unknown,
            Self::Liveness => Verdict::Success,
            Self::Readiness => Verdict::Failure,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure,
    Unknown,
}

/// What a prober does at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    Probe,
    /// Not now, ask again at the next tick.
    Wait,
    /// Wait this long first (initial delay not over).
    Delay(std::time::Duration),
}

/// One probe of one container instance.
#[derive(Clone, Debug)]
pub struct Prober {
    kind: Kind,
    initial_delay: i64,
    success_threshold: i32,
    failure_threshold: i32,
    last: Option<bool>,
    run: i32,
    /// Decided for good: nothing more to ask of this instance.
    done: bool,
    pub verdict: Verdict,
}

impl Prober {
    pub fn new(kind: Kind, probe: &Probe) -> Self {
        Self {
            kind,
            initial_delay: i64::from(probe.initial_delay_seconds.unwrap_or(0)),
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            last: None,
            run: 0,
            done: false,
            verdict: kind.initial(),
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn done(&self) -> bool {
        self.done
    }

    /// `started`: the start-up probe, where there is one, has succeeded.
    pub fn tick(&self, started_at: Timestamp, started: bool, now: Timestamp) -> Tick {
        if self.done || (self.kind != Kind::Startup && !started) || (self.kind == Kind::Startup && started) {
            return Tick::Wait;
        }
        let begin = started_at + jiff::SignedDuration::from_secs(self.initial_delay);
        match std::time::Duration::try_from(begin.duration_since(now)) {
            Ok(left) if !left.is_zero() => Tick::Delay(left),
            _ => Tick::Probe,
        }
    }

    /// Takes one answer; whether the verdict changed or was confirmed at its threshold for the first time.
    pub fn answer(&mut self, success: bool) -> bool {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let needed = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < needed {
            return false;
        }
        let verdict = if success { Verdict::Success } else { Verdict::Failure };
        let changed = self.verdict != verdict;
        self.verdict = verdict;
        if (self.kind == Kind::Liveness && !success) || self.kind == Kind::Startup {
            self.done = true;
            self.run = 0;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, thresholds: (i32, i32), answers: &str, want: &[Verdict]) {
        let probe = Probe {
            success_threshold: Some(thresholds.0),
            failure_threshold: Some(thresholds.1),
            ..Default::default()
        };
        let mut p = Prober::new(kind, &probe);
        let got: Vec<Verdict> = answers
            .chars()
            .map(|c| {
                p.answer(c == '+');
                p.verdict
            })
            .collect();
        assert_eq!(got, want, "{kind:?} {answers}");
    }

    #[test]
    fn verdicts_follow_thresholds() {
        use Verdict::{Failure as F, Success as S, Unknown as U};
        check(Kind::Readiness, (1, 3), "+---+", &[S, S, S, F, S]);
        check(Kind::Readiness, (2, 1), "++-+", &[F, S, F, F]);
        check(Kind::Liveness, (1, 2), "-+--", &[S, S, S, F]);
        check(Kind::Startup, (1, 3), "--+", &[U, U, S]);
        check(Kind::Startup, (1, 2), "--", &[U, F]);
    }

    #[test]
    fn the_initial_delay_holds() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let probe = Probe { initial_delay_seconds: Some(5), ..Default::default() };
        let p = Prober::new(Kind::Liveness, &probe);
        assert_eq!(p.tick(at(100), true, at(102)), Tick::Delay(std::time::Duration::from_secs(3)));
        assert_eq!(p.tick(at(100), true, at(105)), Tick::Probe);
        assert_eq!(p.tick(at(100), false, at(105)), Tick::Wait);
    }
}
