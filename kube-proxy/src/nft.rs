//! The kernel's rules, through `nft`.

use anyhow::{Context, bail};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Runs one transaction: all of it, or nothing.
///
/// # Errors
/// With what `nft` says.
pub async fn run(transaction: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run nft: is nftables installed?")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(transaction.as_bytes()).await?;
    }
    let out = child.wait_with_output().await?;
    if !out.status.success() {
        bail!("nft refused the rules: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
