//! The table: every figure, and what it is held to.

use gantry_bench::report::{Goal, Row};

const fn row(figure: &'static str, what: &'static str, goal: Goal) -> Row {
    Row { figure, what, goal }
}

pub const ROWS: &[Row] = &[
    row("scheduler-plain-cpu", "scheduler CPU s per 1,000 plain pods", Goal::Share(1.0 / 10.0)),
    row("scheduler-plain-rate", "plain pods bound per s", Goal::More),
    row("scheduler-plain-resident", "scheduler resident MiB after", Goal::None),
    row(
        "scheduler-spread-cpu",
        "scheduler CPU s per 1,000 pods, affinity and spread",
        Goal::Share(1.0 / 20.0),
    ),
    row("scheduler-spread-rate", "pods bound per s, affinity and spread", Goal::More),
    row("scheduler-spread-resident", "scheduler resident MiB after", Goal::None),
    row("core-plain", "core: decision µs, plain, 5,000 nodes scored", Goal::Limit(50.0)),
    row("core-anti-affinity", "core: decision µs, required anti-affinity", Goal::Limit(200.0)),
    row("core-spread", "core: decision µs, zone spread", Goal::Limit(200.0)),
    row("core-both", "core: decision µs, both", Goal::Limit(200.0)),
    row("core-unlike", "core: decision µs, no two pods alike", Goal::None),
    row("core-resident", "core: resident MiB, 5,000 nodes and 50,000 pods", Goal::Limit(150.0)),
    row("idle-resident", "controller-manager idle: resident MiB", Goal::Limit(20.0)),
    row("idle-cpu", "controller-manager idle: % of a core", Goal::Limit(0.2)),
    row("deployment-floor", "the same pods by hand, s (the floor)", Goal::None),
    row("deployment-wall", "Deployment 0 to all ready, s", Goal::Times(1.25, "deployment-floor")),
    row("deployment-cpu", "controller-manager CPU s per 1,000 of its pods", Goal::None),
    row("deployment-resident", "controller-manager resident MiB after", Goal::None),
    row("namespace-wall", "namespace of 10,000 objects gone, s (5 s of grace)", Goal::Limit(15.0)),
    row("namespace-cpu", "controller-manager CPU s for it", Goal::None),
    row("namespace-resident", "controller-manager resident MiB after", Goal::None),
    row("graph-wall", "owner graph of 50,000 objects collected, s", Goal::None),
    row("graph-pause", "longest pause meanwhile, s", Goal::Limit(1.0)),
    row("graph-cpu", "controller-manager CPU s for it", Goal::None),
    row("graph-resident", "controller-manager resident MiB after", Goal::None),
];
