//! Runs many seeds and says what came of them; or shows by which seed each planted bug is found.

use clap::Parser;
use gantry_sim::{Mutation, simulate};
use std::time::Instant;

/// Simulates the control plane.
#[derive(Parser)]
#[command(name = "sim")]
struct Flags {
    /// The first seed.
    #[arg(long, env = "SIM_SEED_BASE", default_value_t = 1)]
    base: u64,
    /// How many seeds.
    #[arg(long, env = "SIM_SEEDS", default_value_t = 10_000)]
    seeds: u64,
    /// Give up after this many violations.
    #[arg(long, default_value_t = 1)]
    most: usize,
    /// Plant every bug in turn, and say which seed finds it.
    #[arg(long)]
    plant: bool,
    /// Plant only this one.
    #[arg(long)]
    only: Option<String>,
}

fn main() {
    let flags = Flags::parse();
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    }
    let sound = if flags.plant { plant(&flags) } else { run(&flags) };
    if !sound {
        std::process::exit(1);
    }
}

fn run(flags: &Flags) -> bool {
    let (begun, mut writes, mut virtual_seconds, mut bad) = (Instant::now(), 0, 0.0, Vec::new());
    for seed in flags.base..flags.base + flags.seeds {
        let outcome = simulate(seed, None);
        writes += outcome.writes;
        virtual_seconds += outcome.took.as_secs_f64();
        if outcome.violation.is_some() {
            println!("{outcome}\n");
            bad.push(seed);
            if bad.len() >= flags.most {
                break;
            }
        }
        let done = seed - flags.base + 1;
        if done.is_multiple_of(1000) || done == flags.seeds {
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            println!(
                "{done} seeds, {rate:.1} a second, {writes} writes, {virtual_seconds:.0} virtual seconds"
            );
        }
    }
    println!("seeds {} to {}: {} violations {bad:?}", flags.base, flags.base + flags.seeds - 1, bad.len());
    bad.is_empty()
}

fn plant(flags: &Flags) -> bool {
    let mut all = true;
    for mutation in Mutation::ALL.iter().copied() {
        if flags.only.as_ref().is_some_and(|only| *only != format!("{mutation:?}")) {
            continue;
        }
        let found = gantry_sim::first_finding(mutation, flags.base..flags.base + flags.seeds);
        all &= found.is_some();
        match found {
            Some(outcome) => println!("{mutation:?}: found by seed {} ({})", outcome.seed, mutation.broken()),
            None => println!("{mutation:?}: not found"),
        }
    }
    all
}
