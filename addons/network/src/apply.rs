//! Brings a plan about with `ip`, `nft` and one file. Every step may be repeated.

use crate::config::{Backend, Config};
use crate::plan::{self, Plan, VXLAN_LINK};
use anyhow::{Context, bail};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Makes the node's network as `wanted` says; `before` is what was applied last, for removing what went.
///
/// # Errors
/// With the step that failed; the next call repeats all.
pub fn apply(config: &Config, wanted: &Plan, before: Option<&Plan>) -> anyhow::Result<()> {
    let (Some(own), Some(local), Some(cni)) = (wanted.own, wanted.local, &wanted.cni) else {
        tracing::info!("waiting for the node to have an address and a pod range");
        return Ok(());
    };
    sysctl("net/ipv4/ip_forward", "1")?;
    // A Service's answer between two pods of one bridge must pass the connection tracker, too.
    sysctl("net/bridge/bridge-nf-call-iptables", "1")?;
    if config.backend == Backend::Vxlan {
        overlay(local, own)?;
    }
    for (gone, node) in
        before.into_iter().flat_map(|b| &b.routes).filter(|(r, _)| !wanted.routes.contains_key(r))
    {
        tracing::info!("node {node} has gone, removing the route to {gone}");
        // Gone already when its link went.
        let _ = ip(&["route", "del", &gone.to_string()]);
    }
    for command in plan::route_commands(config, wanted) {
        ip(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    nft(&plan::masquerade(config, own))?;
    // Last: once the file is there the runtime says the network is ready.
    write_if_changed(config, cni)
}

fn overlay(local: std::net::Ipv4Addr, own: ipnet::Ipv4Net) -> anyhow::Result<()> {
    if ip(&["link", "show", VXLAN_LINK]).is_err() {
        let (local, mac) = (local.to_string(), plan::overlay_mac(local));
        ip(&[
            "link",
            "add",
            VXLAN_LINK,
            "address",
            &mac,
            "type",
            "vxlan",
            "id",
            "1",
            "dstport",
            "4789",
            "local",
            &local,
            "nolearning",
        ])?;
    }
    ip(&["addr", "replace", &format!("{}/32", plan::overlay_address(own)), "dev", VXLAN_LINK])?;
    ip(&["link", "set", VXLAN_LINK, "up"])
}

fn write_if_changed(config: &Config, text: &str) -> anyhow::Result<()> {
    let file = config.cni_conf_dir.join("10-gantry.conflist");
    if fs::read_to_string(&file).is_ok_and(|now| now == text) {
        return Ok(());
    }
    fs::create_dir_all(&config.cni_conf_dir)?;
    let fresh = config.cni_conf_dir.join(".10-gantry.new");
    fs::write(&fresh, text).with_context(|| fresh.display().to_string())?;
    fs::rename(fresh, file)?;
    tracing::info!("wrote the node's CNI configuration");
    Ok(())
}

fn sysctl(name: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{name}");
    match fs::write(&path, value) {
        // Without the bridge filter there is nothing to switch on.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && name.contains("bridge") => Ok(()),
        other => other.with_context(|| format!("cannot set {path}")),
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let out = Command::new("ip").args(args).stdin(Stdio::null()).output().context("cannot run ip")?;
    if !out.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}

fn nft(text: &str) -> anyhow::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run nft")?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    let out = child.wait_with_output()?;
    if !out.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
