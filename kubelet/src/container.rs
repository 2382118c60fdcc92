//! The runtime's configuration of one container.

use crate::ctx::Ctx;
use crate::{environment, images, sandbox};
use gantry_kubelet_core::observed::definition_hash;
use gantry_kubelet_core::{env, hosts, pods, resources};
use gantry_kubelet_cri::{cri, labels};
use gantry_kubelet_volumes::Mounted;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;

/// What a container's configuration depends on beyond its pod.
pub struct Inputs<'a> {
    pub restart_count: i32,
    pub image: &'a images::Ready,
    pub pod_ips: &'a [String],
    pub volumes: &'a Mounted,
    /// Whose processes an ephemeral container shares.
    pub target: Option<String>,
}

/// Builds the configuration and prepares the files it mounts.
///
/// # Errors
/// The message of a `CreateContainerConfigError`.
pub async fn config(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    inputs: &Inputs<'_>,
) -> Result<cri::ContainerConfig, String> {
    verify_non_root(pod, container, inputs.image)?;
    let variables = environment::build(ctx, pod, container, inputs.pod_ips).await?;
    let map: HashMap<String, String> = variables.iter().cloned().collect();
    let expand = |list: Option<&Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|t| env::expand_map(t, &map)).collect()
    };
    let mounts = mounts(ctx, pod, container, inputs, &map).await?;
    let name = &container.name;
    let log_dir = ctx.log_dir(pod).join(name);
    std::fs::create_dir_all(&log_dir).map_err(|e| format!("create container log directory failed: {e}"))?;
    let tags = HashMap::from([
        (labels::POD_NAME.to_owned(), pods::name(pod).to_owned()),
        (labels::POD_NAMESPACE.to_owned(), pods::namespace(pod).to_owned()),
        (labels::POD_UID.to_owned(), pods::uid(pod).to_owned()),
        (labels::CONTAINER_NAME.to_owned(), name.clone()),
    ]);
    let image = cri::ImageSpec {
        image: inputs.image.image_ref.clone(),
        user_specified_image: container.image.clone().unwrap_or_default(),
        ..Default::default()
    };
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: name.clone(),
            attempt: u32::try_from(inputs.restart_count).unwrap_or(0),
        }),
        image: Some(image),
        command: expand(container.command.as_ref()),
        args: expand(container.args.as_ref()),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: variables
            .into_iter()
            .map(|(key, value)| cri::KeyValue { key, value: value.into_bytes() })
            .collect(),
        mounts,
        labels: tags,
        annotations: annotations(pod, container, inputs.restart_count),
        log_path: format!("{name}/{}.log", inputs.restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(linux(ctx, pod, container, inputs)),
        ..Default::default()
    })
}

fn annotations(pod: &Pod, container: &Container, restarts: i32) -> HashMap<String, String> {
    let text = |o: &Option<String>, default: &str| o.clone().unwrap_or_else(|| default.into());
    let mut out = HashMap::from([
        (labels::HASH.to_owned(), format!("{:x}", definition_hash(container))),
        (labels::RESTART_COUNT.to_owned(), restarts.to_string()),
        (
            labels::TERMINATION_PATH.to_owned(),
            text(&container.termination_message_path, "/dev/termination-log"),
        ),
        (labels::TERMINATION_POLICY.to_owned(), text(&container.termination_message_policy, "File")),
    ]);
    if let Some(s) = pod.metadata.deletion_grace_period_seconds {
        out.insert(labels::POD_DELETION_GRACE.into(), s.to_string());
    }
    if let Some(s) = pods::spec(pod).termination_grace_period_seconds {
        out.insert(labels::POD_GRACE.into(), s.to_string());
    }
    let hook = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(json) = hook.and_then(|h| serde_json::to_string(h).ok()) {
        out.insert(labels::PRE_STOP.into(), json);
    }
    if let Some(json) =
        container.ports.as_ref().filter(|p| !p.is_empty()).and_then(|p| serde_json::to_string(p).ok())
    {
        out.insert(labels::PORTS.into(), json);
    }
    out
}

fn verify_non_root(pod: &Pod, container: &Container, image: &images::Ready) -> Result<(), String> {
    let own = container.security_context.as_ref();
    let whole = pods::spec(pod).security_context.as_ref();
    let wanted = own.and_then(|s| s.run_as_non_root).or(whole.and_then(|s| s.run_as_non_root));
    if wanted != Some(true) {
        return Ok(());
    }
    let at = format!("(pod: {:?}, container: {})", pods::display(pod), container.name);
    match own.and_then(|s| s.run_as_user).or(whole.and_then(|s| s.run_as_user)) {
        Some(0) => Err(format!("container's runAsUser breaks non-root policy {at}")),
        Some(_) => Ok(()),
        None if image.uid == Some(0) || (image.uid.is_none() && image.username.is_empty()) => {
            Err(format!("container has runAsNonRoot and image will run as root {at}"))
        }
        None if image.uid.is_none() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {at}",
            image.username
        )),
        None => Ok(()),
    }
}

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn linux(ctx: &Ctx, pod: &Pod, container: &Container, inputs: &Inputs<'_>) -> cri::LinuxContainerConfig {
    let own = container.security_context.clone().unwrap_or_default();
    let whole = pods::spec(pod).security_context.clone().unwrap_or_default();
    let int = |value: i64| cri::Int64Value { value };
    let limits = resources::container_cgroup(pod, container, ctx.config.cfs_quota, 100_000);
    let user = own.run_as_user.or(whole.run_as_user).or(inputs.image.uid);
    let username = if user.is_none() { inputs.image.username.clone() } else { String::new() };
    let profile = own.seccomp_profile.as_ref().or(whole.seccomp_profile.as_ref());
    let seccomp = sandbox::seccomp(profile, &ctx.config.root_dir).or_else(|| {
        use cri::security_profile::ProfileType as T;
        let kind = if ctx.config.seccomp_default { T::RuntimeDefault } else { T::Unconfined };
        Some(cri::SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() })
    });
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    let options = own.se_linux_options.as_ref().or(whole.se_linux_options.as_ref());
    let security = cri::LinuxContainerSecurityContext {
        capabilities: own.capabilities.as_ref().map(|c| cri::Capability {
            add_capabilities: c.add.clone().unwrap_or_default(),
            drop_capabilities: c.drop.clone().unwrap_or_default(),
            ..Default::default()
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(sandbox::namespaces(pod, inputs.target.clone())),
        selinux_options: options.map(|s| cri::SeLinuxOption {
            user: s.user.clone().unwrap_or_default(),
            role: s.role.clone().unwrap_or_default(),
            r#type: s.type_.clone().unwrap_or_default(),
            level: s.level.clone().unwrap_or_default(),
        }),
        run_as_user: user.map(int),
        run_as_username: username,
        run_as_group: own.run_as_group.or(whole.run_as_group).map(int),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: sandbox::groups(pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp,
        ..Default::default()
    };
    let resources = cri::LinuxContainerResources {
        cpu_shares: limits.cpu_shares.and_then(|s| i64::try_from(s).ok()).unwrap_or(0),
        cpu_quota: limits.cpu_quota.unwrap_or(0),
        cpu_period: limits.cpu_period.and_then(|s| i64::try_from(s).ok()).unwrap_or(0),
        memory_limit_in_bytes: limits.memory.unwrap_or(0),
        oom_score_adj: resources::oom_score_adj(pod, container, ctx.memory_capacity),
        ..Default::default()
    };
    cri::LinuxContainerConfig { resources: Some(resources), security_context: Some(security) }
}

async fn mounts(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    inputs: &Inputs<'_>,
    map: &HashMap<String, String>,
) -> Result<Vec<cri::Mount>, String> {
    let mut out = Vec::new();
    let mut hosts_file = !pods::host_network(pod) && !inputs.pod_ips.is_empty() || pods::host_network(pod);
    for (i, m) in container.volume_mounts.iter().flatten().enumerate() {
        hosts_file &= m.mount_path != "/etc/hosts";
        let volume = inputs.volumes.paths.get(&m.name).ok_or_else(|| {
            format!("cannot find volume {:?} to mount into container {:?}", m.name, container.name)
        })?;
        let sub = match m.sub_path_expr.as_deref().filter(|s| !s.is_empty()) {
            Some(text) => expand_strictly(text, map)?,
            None => m.sub_path.clone().unwrap_or_default(),
        };
        let host = if sub.is_empty() {
            volume.path.clone()
        } else {
            if sub.starts_with('/') {
                return Err(format!("error SubPath `{sub}` must not be an absolute path"));
            }
            if sub.split('/').any(|p| p == "..") {
                return Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"));
            }
            ctx.volumes.sub_path(pod, &container.name, i, &m.name, volume, &sub).await.map_err(|error| {
                tracing::warn!(pod = pods::display(pod), volume = m.name, %error, "failed to prepare a sub-path");
                format!("failed to prepare subPath for volumeMount {:?} of container {:?}", m.name, container.name)
            })?
        };
        let propagation = match m.mount_propagation.as_deref() {
            Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional,
            _ => cri::MountPropagation::PropagationPrivate,
        };
        out.push(cri::Mount {
            container_path: absolute(&m.mount_path),
            host_path: host.to_string_lossy().into_owned(),
            readonly: m.read_only == Some(true) || volume.read_only,
            propagation: propagation as i32,
            ..Default::default()
        });
    }
    let dir = ctx.volumes.pod_dir(pods::uid(pod));
    if hosts_file {
        let path = dir.join("etc-hosts");
        write_hosts(ctx, pod, inputs.pod_ips, &path)
            .map_err(|e| format!("failed to write hosts file: {e}"))?;
        out.push(file_mount("/etc/hosts", &path));
    }
    if let Some(at) = container.termination_message_path.as_deref().filter(|p| !p.is_empty()) {
        // A file of its own for each instance.
        let own = dir.join("containers").join(&container.name);
        let path = own.join(format!("{:08x}", rand::random::<u32>()));
        let write = || {
            std::fs::create_dir_all(&own)?;
            std::fs::write(&path, "")?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
        };
        write().map_err(|e: std::io::Error| format!("failed to create termination-log file: {e}"))?;
        out.push(file_mount(at, &path));
    }
    Ok(out)
}

fn file_mount(at: &str, path: &std::path::Path) -> cri::Mount {
    cri::Mount {
        container_path: at.into(),
        host_path: path.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// As [`env::expand_map`], but an unknown name is an error.
fn expand_strictly(text: &str, map: &HashMap<String, String>) -> Result<String, String> {
    let missing = std::cell::RefCell::new(None);
    let out = env::expand(text, |name| {
        let found = map.get(name).cloned();
        if found.is_none() {
            missing.replace(Some(name.to_owned()));
        }
        found
    });
    match missing.into_inner() {
        Some(name) => Err(format!("missing value for {name:?}")),
        None => Ok(out),
    }
}

fn write_hosts(ctx: &Ctx, pod: &Pod, ips: &[String], path: &std::path::Path) -> std::io::Result<()> {
    let aliases = pods::spec(pod).host_aliases.as_deref().unwrap_or_default();
    let text = if pods::host_network(pod) {
        hosts::host_network(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), aliases)
    } else {
        let (name, domain) = sandbox::hostname(ctx, pod);
        let name = name.strip_suffix(&format!(".{domain}")).map(str::to_owned).unwrap_or(name);
        hosts::managed(ips, &name, &domain, aliases)
    };
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}
