//! Volumes and mounts.

use super::text::Text;
use k8s_openapi::api::core::v1::{
    Container, HostPathVolumeSource, NFSVolumeSource, PersistentVolumeSpec, ProjectedVolumeSource, Volume,
};

pub fn mounts(t: &mut Text, c: &Container) {
    let mut all = c.volume_mounts.clone().unwrap_or_default();
    all.sort_by(|a, b| a.mount_path.cmp(&b.mount_path));
    t.line(2, if all.is_empty() { "Mounts:\t<none>" } else { "Mounts:" });
    for m in all {
        let mut flags = if m.read_only == Some(true) { "ro" } else { "rw" }.to_owned();
        if let Some(path) = m.sub_path.filter(|p| !p.is_empty()) {
            flags += &format!(",path={}", gantry_types::field::go_quote(&path));
        }
        t.line(3, &format!("{} from {} ({flags})", m.mount_path, m.name));
    }
    if let Some(devices) = c.volume_devices.as_ref().filter(|d| !d.is_empty()) {
        t.line(2, "Devices:");
        for d in devices {
            t.line(3, &format!("{} from {}", d.device_path, d.name));
        }
    }
}

pub fn volumes(t: &mut Text, all: &[Volume], space: &str) {
    if all.is_empty() {
        t.line(0, &format!("{space}Volumes:\t<none>"));
        return;
    }
    t.line(0, &format!("{space}Volumes:"));
    for v in all {
        t.line(1, &format!("{}{}:", if space.is_empty() { "" } else { " " }, v.name));
        source(t, v);
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn host_path(t: &mut Text, h: &HostPathVolumeSource) {
    t.pair(2, "Type", "HostPath (bare host directory volume)");
    t.pair(2, "Path", &h.path);
    t.pair(2, "HostPathType", text(&h.type_));
}

fn nfs(t: &mut Text, n: &NFSVolumeSource) {
    t.pair(2, "Type", "NFS (an NFS mount that lasts the lifetime of a pod)");
    t.pair(2, "Server", &n.server);
    t.pair(2, "Path", &n.path);
    t.pair(2, "ReadOnly", n.read_only.unwrap_or(false));
}

/// Where a persistent volume's data is.
pub fn persistent(t: &mut Text, v: &PersistentVolumeSpec) {
    if let Some(h) = &v.host_path {
        host_path(t, h);
    } else if let Some(n) = &v.nfs {
        nfs(t, n);
    } else if let Some(l) = &v.local {
        t.pair(2, "Type", "LocalVolume (a persistent volume backed by local storage on a node)");
        t.pair(2, "Path", &l.path);
    } else if let Some(c) = &v.csi {
        t.pair(2, "Type", "CSI (a Container Storage Interface (CSI) volume source)");
        t.pair(2, "Driver", &c.driver);
        t.pair(2, "FSType", text(&c.fs_type));
        t.pair(2, "VolumeHandle", &c.volume_handle);
        t.pair(2, "ReadOnly", c.read_only.unwrap_or(false));
        t.labels("    VolumeAttributes", c.volume_attributes.as_ref());
    } else {
        t.line(1, "<unknown>");
    }
}

fn source(t: &mut Text, v: &Volume) {
    if let Some(h) = &v.host_path {
        host_path(t, h);
    } else if let Some(e) = &v.empty_dir {
        t.pair(2, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
        t.pair(2, "Medium", text(&e.medium));
        t.pair(2, "SizeLimit", e.size_limit.as_ref().map_or("<unset>", |q| &q.0));
    } else if let Some(s) = &v.secret {
        t.pair(2, "Type", "Secret (a volume populated by a Secret)");
        t.pair(2, "SecretName", text(&s.secret_name));
        t.pair(2, "Optional", s.optional.unwrap_or(false));
    } else if let Some(m) = &v.config_map {
        t.pair(2, "Type", "ConfigMap (a volume populated by a ConfigMap)");
        t.pair(2, "Name", &m.name);
        t.pair(2, "Optional", m.optional.unwrap_or(false));
    } else if let Some(c) = &v.persistent_volume_claim {
        t.pair(
            2,
            "Type",
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        );
        t.pair(2, "ClaimName", &c.claim_name);
        t.pair(2, "ReadOnly", c.read_only.unwrap_or(false));
    } else if let Some(p) = &v.projected {
        projected(t, p);
    } else if let Some(d) = &v.downward_api {
        t.pair(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
        t.line(2, "Items:");
        for item in d.items.iter().flatten() {
            let from = item
                .field_ref
                .as_ref()
                .map(|f| &f.field_path)
                .or(item.resource_field_ref.as_ref().map(|r| &r.resource));
            t.line(3, &format!("{} -> {}", from.map_or("", String::as_str), item.path));
        }
    } else if let Some(n) = &v.nfs {
        nfs(t, n);
    } else if let Some(c) = &v.csi {
        t.pair(2, "Type", "CSI (a Container Storage Interface (CSI) volume source)");
        t.pair(2, "Driver", &c.driver);
        t.pair(2, "FSType", text(&c.fs_type));
        t.pair(2, "ReadOnly", c.read_only.unwrap_or(false));
        t.labels("    VolumeAttributes", c.volume_attributes.as_ref());
    } else if v.ephemeral.is_some() {
        t.pair(2, "Type", "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)");
    } else if let Some(i) = &v.image {
        t.pair(2, "Type", "Image (a container image or OCI artifact)");
        t.pair(2, "Reference", text(&i.reference));
        t.pair(2, "PullPolicy", text(&i.pull_policy));
    } else {
        t.line(1, "<unknown>");
    }
}

fn projected(t: &mut Text, p: &ProjectedVolumeSource) {
    t.pair(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for s in p.sources.iter().flatten() {
        if let Some(secret) = &s.secret {
            t.pair(2, "SecretName", &secret.name);
            t.pair(2, "Optional", secret.optional.unwrap_or(false));
        } else if s.downward_api.is_some() {
            t.pair(2, "DownwardAPI", true);
        } else if let Some(m) = &s.config_map {
            t.pair(2, "ConfigMapName", &m.name);
            t.pair(2, "Optional", m.optional.unwrap_or(false));
        } else if let Some(token) = &s.service_account_token {
            t.pair(2, "TokenExpirationSeconds", token.expiration_seconds.unwrap_or_default());
        }
    }
}
