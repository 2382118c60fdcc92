//! `xtask tidy`: the house rules a tool can check. Prints every violation with its reason; fails if any.

mod graph;
mod source;

use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Args)]
pub struct Flags {
    /// Write the crate graph as it is now over the golden file.
    #[arg(long)]
    bless: bool,
}

/// One broken rule.
pub struct Violation {
    pub place: String,
    pub rule: &'static str,
}

pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let root = root()?;
    let mut violations = graph::check(&root, flags.bless)?;
    let mut warnings = Vec::new();
    for file in tracked(&root)? {
        let text = std::fs::read_to_string(root.join(&file)).unwrap_or_default();
        source::check_any(&file, &text, &mut violations);
        if file.ends_with(".rs") {
            source::check_rust(&file, &text, &mut violations, &mut warnings);
        }
    }
    for warning in &warnings {
        println!("warning: {warning}");
    }
    for v in &violations {
        println!("{}: {}", v.place, v.rule);
    }
    if !violations.is_empty() {
        bail!("{} house rule(s) broken", violations.len());
    }
    println!("tidy: ok");
    Ok(())
}

fn root() -> anyhow::Result<PathBuf> {
    let manifest = env!("CARGO_MANIFEST_DIR");
    Path::new(manifest).parent().map(Path::to_path_buf).context("xtask stands in no workspace")
}

/// The files git knows or would add.
fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
}
