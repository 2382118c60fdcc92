//! Security contexts of pods and containers.

use super::{paths, windows};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

use super::meta::go_json;
use super::options::PodOptions;
use serde::Serialize;

fn ids(id: Option<i64>, path: &Path) -> ErrorList {
    let Some(id) = id else { return ErrorList::new() };
    names::user_or_group_id(id).into_iter().map(|m| Error::invalid(path, &id, m)).collect()
}

pub fn pod(s: &PodSecurityContext, spec: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ids(s.fs_group, &path.child("fsGroup"));
    errs.extend(ids(s.run_as_user, &path.child("runAsUser")));
    errs.extend(ids(s.run_as_group, &path.child("runAsGroup")));
    for (i, g) in list(&s.supplemental_groups).iter().enumerate() {
        errs.extend(ids(Some(*g), &path.child("supplementalGroups").index(i)));
    }
    if flag(spec.share_process_namespace) && flag(spec.host_pid) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errs.push(Error::invalid(&path.child("shareProcessNamespace"), &true, why));
    }
    errs.extend(sysctls(s, spec, options, &path.child("sysctls")));
    let one_of = |field: &str, value: &Option<String>, all: &[&str]| {
        let bad = value.as_deref().filter(|v| !all.contains(v))?;
        Some(Error::not_supported(&path.child(field), bad, all))
    };
    errs.extend(one_of("fsGroupChangePolicy", &s.fs_group_change_policy, &["Always", "OnRootMismatch"]));
    errs.extend(seccomp(s.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    if let Some(o) = &s.windows_options {
        errs.extend(windows::options(o, &path.child("windowsOptions")));
    }
    errs.extend(app_armor(s.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    errs.extend(one_of("supplementalGroupsPolicy", &s.supplemental_groups_policy, &["Merge", "Strict"]));
    let policies: &[&str] =
        if options.allow_any_selinux_policy { &["MountOption", "Recursive"] } else { &["Recursive"] };
    errs.extend(one_of("seLinuxChangePolicy", &s.se_linux_change_policy, policies));
    errs
}

const SYSCTL_RE: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl_name(name: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= 253
        && name.split(['.', '/']).all(|segment| {
            let b = segment.as_bytes();
            end(b.first())
                && end(b.last())
                && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'_'))
        })
}

fn sysctls(s: &PodSecurityContext, spec: &PodSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut seen = std::collections::BTreeSet::new();
    for (i, c) in list(&s.sysctls).iter().enumerate() {
        let at = path.index(i).child("name");
        if c.name.is_empty() {
            errs.push(Error::required(&at, ""));
        } else if !is_sysctl_name(&c.name) {
            let why = format!("must have at most 253 characters and match regex {SYSCTL_RE}");
            errs.push(Error::invalid(&at, &c.name, why));
        } else if seen.contains(&c.name) {
            errs.push(Error::duplicate(&at, &c.name));
        }
        if !options.allow_host_sysctls {
            errs.extend(host_sysctl(&c.name, spec, &at));
        }
        seen.insert(&c.name);
    }
    errs
}

/// A namespaced sysctl in a namespace the pod shares with the host.
pub fn host_sysctl(name: &str, spec: &PodSpec, path: &Path) -> Option<Error> {
    const IPC: &str = "kernel.sem kernel.shmall kernel.shmmax kernel.shmmni kernel.shm_rmid_forced kernel.shm \
        kernel.msgmax kernel.msgmnb kernel.msgmni kernel.msg";
    // Slashes separate too, where they come first.
    let slashed = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        c => c,
    };
    let dotted: String = if slashed { name.chars().map(swap).collect() } else { name.to_owned() };
    let dotted = dotted.split('*').next().unwrap_or_default();
    let ipc = IPC.split_whitespace().any(|n| n == dotted) || dotted.starts_with("fs.mqueue.");
    if dotted.starts_with("net.") && flag(spec.host_network) {
        return Some(Error::invalid(path, name, "may not be specified when 'hostNetwork' is true"));
    }
    (ipc && flag(spec.host_ipc))
        .then(|| Error::invalid(path, name, "may not be specified when 'hostIPC' is true"))
}

fn seccomp(profile: Option<&SeccompProfile>, path: &Path) -> ErrorList {
    let Some(p) = profile else { return ErrorList::new() };
    let mut errs = ErrorList::new();
    let at = path.child("type");
    match p.type_.as_str() {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => errs.push(Error::required(&at, "type is required when seccompProfile is set")),
        other => errs.push(Error::not_supported(&at, other, &["Localhost", "RuntimeDefault", "Unconfined"])),
    }
    let at = path.child("localhostProfile");
    match (&p.localhost_profile, p.type_ == "Localhost") {
        (None, true) => errs.push(Error::required(&at, "must be set when seccomp type is Localhost")),
        (Some(local), true) => errs.extend(paths::local_descending(local, &at)),
        (Some(local), false) => {
            /// As Go prints the internal type.
            #[derive(Serialize)]
            #[serde(rename_all = "PascalCase")]
            struct Printed<'a> {
                r#type: &'a str,
                localhost_profile: &'a str,
            }
            let printed = go_json(&Printed { r#type: &p.type_, localhost_profile: local });
            errs.push(invalid_raw(&at, printed, "can only be set when seccomp type is Localhost"));
        }
        (None, false) => {}
    }
    errs
}

pub fn app_armor(profile: Option<&AppArmorProfile>, path: &Path) -> ErrorList {
    let Some(p) = profile else { return ErrorList::new() };
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    let mut errs = ErrorList::new();
    let (at, type_at) = (path.child("localhostProfile"), path.child("type"));
    match p.type_.as_str() {
        "Localhost" => match &p.localhost_profile {
            None => errs.push(Error::required(&at, NEEDED)),
            Some(local) => {
                if local.trim() != local {
                    errs.push(Error::invalid(&at, local, "must not be padded with whitespace"));
                } else if local.is_empty() {
                    errs.push(Error::required(&at, NEEDED));
                }
                if local.len() > 4095 {
                    errs.push(Error::too_long(&at, 4095));
                }
            }
        },
        "RuntimeDefault" | "Unconfined" => {
            let why = "can only be set when AppArmor type is Localhost";
            errs.extend(p.localhost_profile.as_ref().map(|local| Error::invalid(&at, local, why)));
        }
        "" => errs.push(Error::required(&type_at, "type is required when appArmorProfile is set")),
        other => {
            let types = ["Localhost", "RuntimeDefault", "Unconfined"];
            errs.push(Error::not_supported(&type_at, other, &types));
        }
    }
    errs
}

pub fn container(s: &SecurityContext, host_users: bool, path: &Path) -> ErrorList {
    let mut errs = ids(s.run_as_user, &path.child("runAsUser"));
    errs.extend(ids(s.run_as_group, &path.child("runAsGroup")));
    if let Some(mount) = &s.proc_mount {
        let at = path.child("procMount");
        if !matches!(mount.as_str(), "Default" | "Unmasked") {
            errs.push(Error::not_supported(&at, mount, &["Default", "Unmasked"]));
        }
        if host_users && mount == "Unmasked" {
            errs.push(Error::invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
    }
    errs.extend(seccomp(s.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    if s.allow_privilege_escalation == Some(false) {
        let printed = || crate::kinds::go_types::print("SecurityContext", s);
        if flag(s.privileged) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errs.push(invalid_raw(path, printed(), why));
        }
        let added = s.capabilities.as_ref().map(|c| list(&c.add)).unwrap_or_default();
        for _ in added.iter().filter(|c| *c == "CAP_SYS_ADMIN") {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errs.push(invalid_raw(path, printed(), why));
        }
    }
    if let Some(o) = &s.windows_options {
        errs.extend(windows::options(o, &path.child("windowsOptions")));
    }
    errs.extend(app_armor(s.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    errs
}
