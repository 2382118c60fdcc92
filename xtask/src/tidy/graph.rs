//! The crate graph: who may depend on whom, against a committed golden file.

use super::Violation;
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const GOLDEN: &str = "xtask/crate-graph.txt";
/// Daemons meet only through the API; none may depend on another.
const DAEMONS: &[&str] = &[
    "gantry-apiserver",
    "gantry-scheduler",
    "gantry-controller-manager",
    "gantry-kubelet",
    "gantry-kube-proxy",
];
/// Pure cores: algebra only.
const PURE: &[&str] = &[
    "gantry-machinery",
    "gantry-scheduler-core",
    "gantry-scheduler-plugins",
    "gantry-kubelet-core",
    "gantry-kube-proxy-core",
];
const PURE_MAY_USE: &[&str] = &["gantry-types", "gantry-machinery", "gantry-scheduler-core"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

pub fn check(root: &Path, bless: bool) -> anyhow::Result<Vec<Violation>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
        .current_dir(root)
        .output()
        .context("cargo metadata")?;
    let metadata: Metadata = serde_json::from_slice(&out.stdout)
        .with_context(|| format!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr)))?;
    let graph: BTreeMap<String, Vec<String>> = metadata
        .packages
        .into_iter()
        .map(|p| {
            let own = p.dependencies.into_iter().filter(|d| d.path.is_some() && d.kind.is_none());
            let mut names: Vec<String> = own.map(|d| d.name).collect();
            names.sort();
            (p.name, names)
        })
        .collect();
    let text: String =
        graph.iter().map(|(name, to)| format!("{name}: {}\n", to.join(" ")).replace(": \n", ":\n")).collect();
    let golden = root.join(GOLDEN);
    if bless {
        std::fs::write(&golden, &text)?;
    }
    let mut violations = Vec::new();
    if std::fs::read_to_string(&golden).unwrap_or_default() != text {
        violations.push(Violation {
            place: GOLDEN.into(),
            rule: "the crate graph changed: if the change is meant, run `cargo xtask tidy --bless` and commit it",
        });
    }
    for (name, to) in &graph {
        for dep in to {
            if name.starts_with("gantry-")
                && DAEMONS.contains(&dep.as_str())
                && !name.ends_with("integration")
                && !name.ends_with("testkit")
                && name != "gantry-sim"
            {
                violations.push(Violation {
                    place: format!("{name} -> {dep}"),
                    rule: "no crate depends on a daemon: they meet only through the API",
                });
            }
            if PURE.contains(&name.as_str()) && !PURE_MAY_USE.contains(&dep.as_str()) {
                violations.push(Violation {
                    place: format!("{name} -> {dep}"),
                    rule: "a pure core depends on types and machinery only",
                });
            }
        }
    }
    Ok(violations)
}
