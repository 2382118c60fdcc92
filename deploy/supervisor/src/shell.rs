//! Running other programs, with errors that say which command failed and why.

use anyhow::{Context, bail};
use std::process::{Command, Stdio};

/// Runs a command and returns its standard output.
///
/// # Errors
/// With the command line and the end of its error output, when it cannot be started or fails.
pub fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let line = || format!("{program} {}", args.join(" "));
    let out = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{}`: is it installed?", line()))?;
    if !out.status.success() {
        bail!("`{}` failed: {}", line(), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs a command whose failure means there was nothing to do.
pub fn attempt(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
