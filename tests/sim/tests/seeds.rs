//! Seeds that must hold, and bugs that must be found: all by the `sim` program, which runs each seed from the
//! same state.
//!
//! `SIM_SEED=n` replays one seed; `SIM_SEED_BASE` and `SIM_SEEDS` choose which are run.

use std::process::Command;

/// Runs the program; what it printed, and whether all is well.
fn sim(arguments: &[&str]) -> (String, bool) {
    let run = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().unwrap();
    (String::from_utf8_lossy(&run.stdout).into_owned(), run.status.success())
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Unoptimized builds take some ten times as long for a seed.
const SEEDS: &str = if cfg!(debug_assertions) { "60" } else { "1000" };

#[test]
fn every_seed_holds() {
    let (base, count) = match std::env::var("SIM_SEED") {
        Ok(seed) => (seed, "1".to_owned()),
        Err(_) => (setting("SIM_SEED_BASE", "1"), setting("SIM_SEEDS", SEEDS)),
    };
    let (told, sound) = sim(&["--base", &base, "--seeds", &count, "--jobs", "2"]);
    println!("{told}");
    assert!(sound, "{told}");
}

#[test]
fn a_seed_is_one_run() {
    let lines = |base: &str, count: &str| {
        let (told, _) = sim(&["--base", base, "--seeds", count, "--fingerprints", "--most", "99"]);
        told.lines().filter(|l| l.contains(' ') && !l.contains("seed")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (all, last) = (lines("3", "4"), lines("6", "1"));
    assert_eq!(all.get(3), last.first());
    assert_ne!(all.first(), all.get(1));
}

/// The bug must be found by its own invariant among the seeds up to `last`.
fn check(mutation: &str, last: &str) {
    let (told, found) = sim(&["--plant", "--only", mutation, "--seeds", last]);
    println!("{told}");
    assert!(found && told.contains("found by seed"), "{told}");
}

macro_rules! found {
    ($($name:ident: $mutation:literal within $last:literal;)*) => {
        $(#[test]
        fn $name() {
            check($mutation, $last);
        })*
    };
}

found! {
    a_skipped_barrier_is_found: "SkipBarrier" within "200";
    an_ignored_uid_is_found: "IgnoreUid" within "200";
    an_ignored_revision_is_found: "IgnoreRevision" within "200";
    a_pod_counted_twice_is_found: "CountTwice" within "200";
    a_pod_never_counted_is_found: "ForgetCount" within "200";
    a_surge_too_large_is_found: "SurgeMore" within "200";
    a_pod_too_many_taken_is_found: "TakeMore" within "200";
    an_ignored_budget_is_found: "IgnoreBudget" within "200";
    pods_out_of_order_are_found: "OutOfOrder" within "200";
    a_second_daemon_is_found: "TwoDaemons" within "200";
    a_second_binding_is_found: "BindTwice" within "200";
    an_overcommitted_node_is_found: "Overcommit" within "200";
    orphans_are_found: "LeaveOrphans" within "200";
    lost_deletions_are_found: "LoseDeletions" within "200";
    what_a_namespace_leaves_is_found: "LeaveNamespaced" within "200";
}
