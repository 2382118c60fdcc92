//! What must hold: after each write, and once everything has come to rest. A function for each.

mod access;
mod rest;
mod workloads;

use crate::truth::{Change, Truth};

/// What is wrong, in words.
pub type Verdict = Result<(), String>;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    pub why: String,
}

type Step = fn(&Truth, &Change<'_>) -> Verdict;
type End = fn(&Truth) -> Verdict;

/// Held after each write.
const STEP: &[(&str, Step)] = &[
    ("only_the_object_meant", access::only_the_object_meant),
    ("no_lost_update", access::no_lost_update),
    ("no_double_bind", access::no_double_bind),
    ("no_overcommitted_node", access::no_overcommitted_node),
    ("nothing_in_a_gone_namespace", access::nothing_in_a_gone_namespace),
    ("finalizers_hold", access::finalizers_hold),
    ("budgets_hold", access::budgets_hold),
    ("surge_within_bounds", workloads::surge_within_bounds),
    ("no_more_pods_than_wanted", workloads::no_more_pods_than_wanted),
    ("enough_stay_available", workloads::enough_stay_available),
    ("stateful_pods_in_order", workloads::stateful_pods_in_order),
    ("stateful_pods_go_in_order", workloads::stateful_pods_go_in_order),
    ("one_daemon_a_node", workloads::one_daemon_a_node),
    ("each_pod_counted_once", workloads::each_pod_counted_once),
    ("no_pod_uncounted", workloads::no_pod_uncounted),
    ("job_within_parallelism", workloads::job_within_parallelism),
];

/// Held at rest.
const END: &[(&str, End)] = &[
    ("nothing_is_stuck", rest::nothing_is_stuck),
    ("no_orphans", rest::no_orphans),
    ("replica_sets_converge", rest::replica_sets_converge),
    ("deployments_converge", rest::deployments_converge),
    ("stateful_sets_converge", rest::stateful_sets_converge),
    ("daemon_sets_converge", rest::daemon_sets_converge),
    ("jobs_converge", rest::jobs_converge),
    ("budgets_converge", rest::budgets_converge),
    ("pods_run", rest::pods_run),
    ("nodes_recover", rest::nodes_recover),
];

/// Every invariant's name.
pub fn names() -> Vec<&'static str> {
    STEP.iter().map(|(n, _)| *n).chain(END.iter().map(|(n, _)| *n)).chain([REST]).collect()
}

/// The name of the invariant that writes end where nothing happens any more.
pub const REST: &str = "comes_to_rest";

/// What a write violates.
pub fn after_step(truth: &Truth, change: &Change<'_>) -> Option<Violation> {
    let broken = STEP.iter().find_map(|(name, check)| check(truth, change).err().map(|why| (*name, why)));
    broken.map(|(invariant, why)| Violation { invariant, why })
}

/// What is violated at rest.
pub fn at_rest(truth: &Truth) -> Option<Violation> {
    let broken = END.iter().find_map(|(name, check)| check(truth).err().map(|why| (*name, why)));
    broken.map(|(invariant, why)| Violation { invariant, why })
}

/// `Err` with words where `bad` holds.
fn unless(bad: bool, why: impl FnOnce() -> String) -> Verdict {
    if bad { Err(why()) } else { Ok(()) }
}
