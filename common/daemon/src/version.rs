//! What this build calls itself.

use serde::Serialize;

/// The Kubernetes release whose API and behaviour this build carries.
pub const KUBERNETES: &str = "v1.36.2";
/// What `gitVersion` says: the release, with our name as build metadata, which semantic versioning ignores
/// in comparisons.
pub const GIT_VERSION: &str = "v1.36.2+gantry";
pub const MAJOR: &str = "1";
pub const MINOR: &str = "36";

/// The body of `/version`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    pub major: &'static str,
    pub minor: &'static str,
    pub emulation_major: &'static str,
    pub emulation_minor: &'static str,
    pub min_compatibility_major: &'static str,
    pub min_compatibility_minor: &'static str,
    pub git_version: &'static str,
    pub git_commit: &'static str,
    pub git_tree_state: &'static str,
    pub build_date: &'static str,
    pub go_version: &'static str,
    pub compiler: &'static str,
    pub platform: &'static str,
}

/// This build's information.
pub fn info() -> Info {
    Info {
        major: MAJOR,
        minor: MINOR,
        emulation_major: MAJOR,
        emulation_minor: MINOR,
        min_compatibility_major: MAJOR,
        min_compatibility_minor: "35",
        git_version: GIT_VERSION,
        git_commit: option_env!("GANTRY_GIT_COMMIT").unwrap_or(""),
        git_tree_state: "clean",
        build_date: option_env!("GANTRY_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        go_version: "",
        compiler: "rustc",
        platform: if cfg!(target_arch = "aarch64") { "linux/arm64" } else { "linux/amd64" },
    }
}

/// The line `--version` prints.
pub fn line() -> String {
    format!("Kubernetes {GIT_VERSION}")
}

/// The `User-Agent` upstream's components send: `kube-scheduler/v1.36.2+gantry (linux/amd64)`.
pub fn user_agent(component: &str) -> String {
    format!("{component}/{GIT_VERSION} ({})", info().platform)
}
