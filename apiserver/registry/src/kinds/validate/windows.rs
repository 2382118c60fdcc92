//! Windows: security options, host processes, and what each operating system forbids.

use super::pod_spec::visit;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{PodSpec, WindowsSecurityContextOptions};

pub fn options(o: &WindowsSecurityContextOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if let Some(name) = &o.gmsa_credential_spec_name {
        errs.extend(invalid_each(
            &path.child("gmsaCredentialSpecName"),
            name,
            names::dns1123_subdomain(name),
        ));
    }
    if let Some(spec) = &o.gmsa_credential_spec {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errs.push(Error::invalid(&at, spec, "gmsaCredentialSpec cannot be an empty string"));
        } else if spec.len() > 64 * 1024 {
            errs.push(Error::invalid(&at, spec, "gmsaCredentialSpec size must be under 64 KiB"));
        }
    }
    if let Some(name) = &o.run_as_user_name {
        let at = path.child("runAsUserName");
        errs.extend(user_name_errors(name).into_iter().map(|why| Error::invalid(&at, name, why)));
    }
    errs
}

fn user_name_errors(name: &str) -> Vec<&'static str> {
    if name.is_empty() {
        return vec!["runAsUserName cannot be an empty string"];
    }
    if name.bytes().any(|b| b.is_ascii_control()) {
        return vec!["runAsUserName cannot contain control characters"];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut errs = Vec::new();
    if domain.is_some_and(|d| d.len() >= 256) {
        errs.push("runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|d| !is_netbios(d) && !is_dns_domain(d)) {
        errs.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        errs.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        errs.push("runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        errs.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|c| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        errs.push(r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    errs
}

fn is_netbios(domain: &str) -> bool {
    let count = domain.chars().count();
    (1..=15).contains(&count) && !domain.starts_with('.') && !domain.contains(|c| "\\/:*?\"<>|".contains(c))
}

fn is_dns_domain(domain: &str) -> bool {
    domain.split('.').all(|label| {
        let b = label.as_bytes();
        (1..=63).contains(&b.len())
            && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
            && b.first() != Some(&b'-')
            && b.last() != Some(&b'-')
    })
}

/// Host process containers come all together, and with host networking.
pub fn host_process(spec: &PodSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let pod_windows = spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref());
    let pod = pod_windows.and_then(|w| w.host_process);
    let (mut containers, mut host) = (0, 0);
    visit(spec, path, |c, at| {
        containers += 1;
        let own = c.security_context.as_ref().and_then(|s| s.windows_options.as_ref()?.host_process);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let at = at.child("securityContext").child("windowsOptions").child("hostProcess");
            let why = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            errs.push(Error::invalid(&at, &own, why));
        }
        host += usize::from(own.or(pod) == Some(true));
    });
    if host > 0 {
        if host != containers {
            let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
            errs.push(Error::invalid(path, "", why));
        }
        if !flag(spec.host_network) {
            let why = "hostNetwork must be true if pod contains any hostProcess containers";
            errs.push(Error::invalid(&path.child("hostNetwork"), &false, why));
        }
    }
    errs
}

/// What `spec.os` forbids.
pub fn by_os(spec: &PodSpec, path: &Path) -> ErrorList {
    let Some(os) = &spec.os else { return ErrorList::new() };
    let at = path.child("os");
    match os.name.as_str() {
        "" => vec![Error::required(&at.child("name"), "")],
        "linux" => linux(spec, path),
        "windows" => windows(spec, path),
        other => vec![Error::not_supported(&at, other, &["linux", "windows"])],
    }
}

fn linux(spec: &PodSpec, path: &Path) -> ErrorList {
    const WHY: &str = "windows options cannot be set for a linux pod";
    let mut errs = ErrorList::new();
    if spec.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()) {
        errs.push(Error::forbidden(&path.child("securityContext").child("windowsOptions"), WHY));
    }
    visit(spec, path, |c, at| {
        if c.security_context.as_ref().is_some_and(|s| s.windows_options.is_some()) {
            errs.push(Error::forbidden(&at.child("securityContext").child("windowsOptions"), WHY));
        }
    });
    errs
}

fn windows(spec: &PodSpec, path: &Path) -> ErrorList {
    const WHY: &str = "cannot be set for a windows pod";
    let mut errs = ErrorList::new();
    let s = spec.security_context.clone().unwrap_or_default();
    let of_context = path.child("securityContext");
    for (at, field, set) in [
        (&of_context, "appArmorProfile", s.app_armor_profile.is_some()),
        (&of_context, "seLinuxOptions", s.se_linux_options.is_some()),
        (path, "hostUsers", spec.host_users.is_some()),
        (path, "hostPID", flag(spec.host_pid)),
        (path, "hostIPC", flag(spec.host_ipc)),
        (&of_context, "seccompProfile", s.seccomp_profile.is_some()),
        (&of_context, "fsGroup", s.fs_group.is_some()),
        (&of_context, "fsGroupChangePolicy", s.fs_group_change_policy.is_some()),
        (&of_context, "sysctls", !list(&s.sysctls).is_empty()),
        (path, "shareProcessNamespace", spec.share_process_namespace.is_some()),
        (&of_context, "runAsUser", s.run_as_user.is_some()),
        (&of_context, "runAsGroup", s.run_as_group.is_some()),
        (&of_context, "supplementalGroups", s.supplemental_groups.is_some()),
        (&of_context, "supplementalGroupsPolicy", s.supplemental_groups_policy.is_some()),
        (&of_context, "seLinuxChangePolicy", s.se_linux_change_policy.is_some()),
    ] {
        if set {
            errs.push(Error::forbidden(&at.child(field), WHY));
        }
    }
    visit(spec, path, |c, at| {
        let Some(s) = &c.security_context else { return };
        let at = at.child("securityContext");
        for (field, set) in [
            ("appArmorProfile", s.app_armor_profile.is_some()),
            ("seLinuxOptions", s.se_linux_options.is_some()),
            ("seccompProfile", s.seccomp_profile.is_some()),
            ("capabilities", s.capabilities.is_some()),
            ("readOnlyRootFilesystem", s.read_only_root_filesystem.is_some()),
            ("privileged", s.privileged.is_some()),
            ("allowPrivilegeEscalation", s.allow_privilege_escalation.is_some()),
            ("procMount", s.proc_mount.is_some()),
            ("runAsUser", s.run_as_user.is_some()),
            ("runAsGroup", s.run_as_group.is_some()),
        ] {
            if set {
                errs.push(Error::forbidden(&at.child(field), WHY));
            }
        }
    });
    errs
}
