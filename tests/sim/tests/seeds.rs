//! Seeds that must hold, and bugs that must be found.
//!
//! `SIM_SEED=n` replays one seed; `SIM_SEED_BASE` and `SIM_SEEDS` choose which are run.

use gantry_sim::{Mutation, first_finding, simulate};
use std::sync::atomic::{AtomicU64, Ordering};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text:?}")))
}

/// Unoptimized builds take some twenty times as long for a seed.
const SEEDS: u64 = if cfg!(debug_assertions) { 60 } else { 1000 };

#[test]
fn every_seed_holds() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = simulate(seed, None);
        println!("{outcome}");
        assert!(outcome.violation.is_none());
        return;
    }
    let (base, count) = (number("SIM_SEED_BASE").unwrap_or(1), number("SIM_SEEDS").unwrap_or(SEEDS));
    println!("seeds {base} to {}", base + count - 1);
    let next = AtomicU64::new(base);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= base + count {
                break;
            }
            let outcome = simulate(seed, None);
            assert!(outcome.violation.is_none(), "{outcome}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 7, 11] {
        let [first, second] = [simulate(seed, None), simulate(seed, None)];
        assert_eq!((first.fingerprint, first.writes), (second.fingerprint, second.writes), "seed {seed}");
        assert_eq!(first.took, second.took, "seed {seed}");
    }
}

/// The bug must be found by its own invariant among the seeds up to `last`.
fn check(mutation: Mutation, last: u64) {
    let found = first_finding(mutation, 1..last + 1);
    let found = found.unwrap_or_else(|| panic!("{mutation:?} is not found by {}", mutation.broken()));
    println!("{mutation:?}: seed {}", found.seed);
}

macro_rules! found {
    ($($name:ident: $mutation:ident within $last:literal;)*) => {
        $(#[test]
        fn $name() {
            check(Mutation::$mutation, $last);
        })*
    };
}

found! {
    a_skipped_barrier_is_found: SkipBarrier within 20;
    an_ignored_uid_is_found: IgnoreUid within 20;
    an_ignored_revision_is_found: IgnoreRevision within 20;
    a_pod_counted_twice_is_found: CountTwice within 20;
    a_pod_never_counted_is_found: ForgetCount within 20;
    a_surge_too_large_is_found: SurgeMore within 20;
    a_pod_too_many_taken_is_found: TakeMore within 20;
    an_ignored_budget_is_found: IgnoreBudget within 20;
    pods_out_of_order_are_found: OutOfOrder within 20;
    a_second_daemon_is_found: TwoDaemons within 20;
    a_second_binding_is_found: BindTwice within 20;
    an_overcommitted_node_is_found: Overcommit within 20;
    orphans_are_found: LeaveOrphans within 20;
    lost_deletions_are_found: LoseDeletions within 20;
    what_a_namespace_leaves_is_found: LeaveNamespaced within 20;
}
