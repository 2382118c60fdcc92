//! Runs many seeds and says what came of them; or shows by which seed each planted bug is found.

use clap::Parser;
use gantry_sim::{Mutation, forks};
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
    /// Runs at a time.
    #[arg(long, env = "SIM_JOBS", default_value_t = 1)]
    jobs: usize,
    /// Give up after this many violations.
    #[arg(long, default_value_t = 1)]
    most: usize,
    /// Print each seed's fingerprint.
    #[arg(long)]
    fingerprints: bool,
    /// Plant every bug in turn, and say which seed finds it.
    #[arg(long)]
    plant: bool,
    /// Plant only this one.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    }
    forks::at_fixed_addresses()?;
    forks::warm_up();
    let sound = if flags.plant { plant(&flags)? } else { run(&flags)? };
    if !sound {
        std::process::exit(1);
    }
    Ok(())
}

fn run(flags: &Flags) -> std::io::Result<bool> {
    let last = flags.base + flags.seeds - 1;
    println!("seeds {} to {last}", flags.base);
    let (begun, mut writes, mut virtual_seconds, mut bad) = (Instant::now(), 0, 0.0, Vec::new());
    forks::each(flags.base..=last, flags.jobs, None, |told| {
        writes += told.writes;
        virtual_seconds += told.took.as_secs_f64();
        if flags.fingerprints {
            println!("{} {:x} {} {:?}", told.seed, told.fingerprint, told.writes, told.took);
        }
        if !told.sound() {
            println!("{}\n", told.text);
            bad.push(told.seed);
        }
        let done = told.seed - flags.base + 1;
        if done.is_multiple_of(1000) || done == flags.seeds {
            let rate = done as f64 / begun.elapsed().as_secs_f64();
            println!(
                "{done} seeds, {rate:.1} a second, {writes} writes, {virtual_seconds:.0} virtual seconds"
            );
        }
        bad.len() < flags.most
    })?;
    println!("{} violations {bad:?}", bad.len());
    Ok(bad.is_empty())
}

fn plant(flags: &Flags) -> std::io::Result<bool> {
    let mut all = true;
    for mutation in Mutation::ALL.iter().copied() {
        if flags.only.as_ref().is_some_and(|only| *only != format!("{mutation:?}")) {
            continue;
        }
        let seeds = flags.base..flags.base + flags.seeds;
        match forks::first_finding(mutation, seeds, flags.jobs)? {
            Some(told) => println!("{mutation:?}: found by seed {} ({})", told.seed, mutation.broken()),
            None => {
                println!("{mutation:?}: not found");
                all = false;
            }
        }
    }
    Ok(all)
}
