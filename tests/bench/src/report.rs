//! Figures on their way from the programs that take them to one table: a file of lines
//! `<figure> TAB <side> TAB <value>`.

use anyhow::Context;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Where a program puts its figures.
#[derive(Clone, Debug, clap::Args)]
pub struct Report {
    /// Append the figures to this file, for `bench-cluster table`.
    #[arg(long = "out", global = true)]
    out: Option<PathBuf>,
    /// Whose figures these are: ours or upstream.
    #[arg(long, global = true, default_value = OURS)]
    side: String,
}

pub const OURS: &str = "ours";
pub const UPSTREAM: &str = "upstream";

impl Report {
    /// Prints a figure, and keeps it where a file was named.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(&self, figure: &str, value: f64) -> anyhow::Result<()> {
        println!("{figure:<40} {value:>12.3}");
        let Some(out) = &self.out else { return Ok(()) };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(out)?;
        writeln!(file, "{figure}\t{}\t{value}", self.side).with_context(|| out.display().to_string())
    }
}

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most this.
    Limit(f64),
    /// At most this share of upstream's.
    Share(f64),
    /// At most this many times another of our own figures.
    Times(f64, &'static str),
    /// Shown, not held to anything.
    None,
    /// As [`Goal::None`], for what is the better the more of it there is.
    More,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub figure: &'static str,
    pub what: &'static str,
    pub goal: Goal,
}

/// The table of what is in `lines`: ours, upstream's, how many times better ours is, the goal, and whether it is
/// met. Figures nobody took are left out.
pub fn table(rows: &[Row], lines: &str) -> String {
    let mut figures: HashMap<(&str, &str), f64> = HashMap::new();
    for line in lines.lines() {
        let mut parts = line.split('\t');
        if let (Some(figure), Some(side), Some(Ok(value))) =
            (parts.next(), parts.next(), parts.next().map(str::parse))
        {
            figures.insert((figure, side), value);
        }
    }
    let get = |figure: &str, side: &str| figures.get(&(figure, side)).copied();
    let mut out = String::from("| | ours | upstream | ratio | goal | |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let (ours, theirs) = (get(row.figure, OURS), get(row.figure, UPSTREAM));
        if ours.is_none() && theirs.is_none() {
            continue;
        }
        let (less, more) = if row.goal == Goal::More { (theirs, ours) } else { (ours, theirs) };
        let ratio = less.zip(more).filter(|(less, _)| *less > 0.0).map(|(less, more)| more / less);
        let (goal, limit) = match row.goal {
            Goal::None | Goal::More => (String::new(), None),
            Goal::Limit(most) => (format!("≤ {most}"), Some(most)),
            Goal::Share(share) => (format!("≤ 1/{:.0}", 1.0 / share), theirs.map(|t| t * share)),
            Goal::Times(times, other) => (format!("≤ {times} × floor"), get(other, OURS).map(|o| o * times)),
        };
        let met = match ours.zip(limit) {
            Some((ours, limit)) if ours <= limit => "met",
            Some(_) => "missed",
            None => "",
        };
        let text = |value: Option<f64>| value.map_or(String::from("–"), short);
        let times = ratio.map_or(String::from("–"), |r| format!("{} ×", short(r)));
        // Writing to a string does not fail.
        let _ =
            writeln!(out, "| {} | {} | {} | {times} | {goal} | {met} |", row.what, text(ours), text(theirs));
    }
    out
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(goal: Goal, lines: &str, expected: &str) {
        let rows = [Row { figure: "cpu", what: "CPU", goal }];
        assert_eq!(table(&rows, lines).lines().nth(2).unwrap_or(""), expected);
    }

    #[test]
    fn goals_are_judged_by_the_figures_of_the_run() {
        let both = "cpu\tours\t0.5\ncpu\tupstream\t10\n";
        check(Goal::Share(0.1), both, "| CPU | 0.500 | 10.0 | 20.0 × | ≤ 1/10 | met |");
        check(Goal::Share(0.02), both, "| CPU | 0.500 | 10.0 | 20.0 × | ≤ 1/50 | missed |");
        check(Goal::Limit(0.4), "cpu\tours\t0.5\n", "| CPU | 0.500 | – | – | ≤ 0.4 | missed |");
        check(Goal::Share(0.1), "cpu\tours\t0.5\n", "| CPU | 0.500 | – | – | ≤ 1/10 |  |");
        check(Goal::More, both, "| CPU | 0.500 | 10.0 | 0.050 × |  |  |");
        check(Goal::None, "other\tours\t0.5\n", "");
        let floor = "cpu\tours\t5\nleast\tours\t4\n";
        check(Goal::Times(1.5, "least"), floor, "| CPU | 5.00 | – | – | ≤ 1.5 × floor | met |");
    }

    #[test]
    fn the_last_figure_taken_counts() {
        check(Goal::Limit(2.0), "cpu\tours\t9\ncpu\tours\t1\n", "| CPU | 1.00 | – | – | ≤ 2 | met |");
    }
}
