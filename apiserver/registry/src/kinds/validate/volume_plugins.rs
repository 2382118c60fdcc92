//! Volume types of single vendors, most of them long served by CSI drivers only.

use super::paths;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, AzureFileVolumeSource, CephFSVolumeSource,
    CinderVolumeSource, FCVolumeSource, FlexVolumeSource, FlockerVolumeSource, GCEPersistentDiskVolumeSource,
    GitRepoVolumeSource, GlusterfsVolumeSource, ISCSIVolumeSource, LocalObjectReference,
    PhotonPersistentDiskVolumeSource, PortworxVolumeSource, QuobyteVolumeSource, RBDVolumeSource,
    ScaleIOVolumeSource, StorageOSVolumeSource, VsphereVirtualDiskVolumeSource,
};
use std::collections::BTreeMap;

/// Fields that must not be empty.
pub(super) fn required(fields: &[(&str, &str)], path: &Path) -> ErrorList {
    let missing = fields.iter().filter(|(_, value)| value.is_empty());
    missing.map(|(field, _)| Error::required(&path.child(field), "")).collect()
}

fn secret_named(secret: Option<&LocalObjectReference>, path: &Path) -> Option<Error> {
    let at = path.child("secretRef").child("name");
    secret.filter(|s| s.name.is_empty()).map(|_| Error::required(&at, ""))
}

fn partition(n: Option<i32>, path: &Path) -> Option<Error> {
    let n = n.filter(|n| !(0..=255).contains(n))?;
    Some(Error::invalid(&path.child("partition"), &n, names::inclusive_range_error(1, 255)))
}

pub fn git_repo(s: &GitRepoVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("repository", &s.repository)], path);
    errs.extend(paths::local_descending(text(&s.directory), &path.child("directory")));
    errs
}

pub fn gce(s: &GCEPersistentDiskVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("pdName", &s.pd_name)], path);
    errs.extend(partition(s.partition, path));
    errs
}

pub fn aws(s: &AWSElasticBlockStoreVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("volumeID", &s.volume_id)], path);
    errs.extend(partition(s.partition, path));
    errs
}

/// `iqn.YYYY-MM.<name>:<rest>`, anywhere in the text up to its end.
fn is_iqn(name: &str) -> bool {
    name.match_indices("iqn.").any(|(at, _)| {
        let rest = &name.as_bytes()[at + 4..];
        let digits =
            |r: std::ops::Range<usize>| rest.get(r).is_some_and(|d| d.iter().all(u8::is_ascii_digit));
        if !(digits(0..4) && rest.get(4) == Some(&b'-') && digits(5..7) && rest.get(7) == Some(&b'.')) {
            return false;
        }
        let rest = &name[at + 12..];
        let host = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')).count();
        let tail = &rest[host..];
        let bad = |c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace();
        host > 0 && tail.len() > 1 && tail.starts_with(':') && !tail[1..].contains(bad)
    })
}

/// `<prefix>` and that many letters or digits.
fn is_coded(name: &str, prefix: &str, n: usize) -> bool {
    let Some(rest) = name.strip_prefix(prefix) else { return false };
    let mut chars = rest.chars();
    chars.next().is_some() && chars.clone().count() == n && chars.all(|c| c.is_ascii_alphanumeric())
}

/// What is wrong with an initiator's or target's name.
pub(super) fn initiator_error(name: &str) -> Option<&'static str> {
    let known = ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p));
    if !known {
        return Some("must be valid format starting with iqn, eui, or naa");
    }
    let sound = match &name[..3] {
        "iqn" => is_iqn(name),
        "eui" => is_coded(name, "eui", 16),
        _ => is_coded(name, "naa", 32),
    };
    (!sound).then_some("must be valid format")
}

/// `path` is the volume's.
pub fn iscsi(s: &ISCSIVolumeSource, volume: &str, path: &Path) -> ErrorList {
    let at = path.child("iscsi");
    let mut errs = required(&[("targetPortal", &s.target_portal), ("iqn", &s.iqn)], &at);
    if !s.iqn.is_empty() {
        errs.extend(initiator_error(&s.iqn).map(|why| Error::invalid(&at.child("iqn"), &s.iqn, why)));
    }
    if !(0..=255).contains(&s.lun) {
        errs.push(Error::invalid(&at.child("lun"), &s.lun, names::inclusive_range_error(0, 255)));
    }
    if (flag(s.chap_auth_discovery) || flag(s.chap_auth_session)) && s.secret_ref.is_none() {
        errs.push(Error::required(&at.child("secretRef"), ""));
    }
    if let Some(name) = &s.initiator_name {
        let why = initiator_error(name);
        errs.extend(why.map(|why| Error::invalid(&at.child("initiatorname"), name, why)));
        if format!("{volume}:{}", s.target_portal).len() > 64 {
            let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
            errs.push(Error::invalid(&path.child("name"), volume, why));
        }
    }
    errs
}

pub fn glusterfs(s: &GlusterfsVolumeSource, path: &Path) -> ErrorList {
    required(&[("endpoints", &s.endpoints), ("path", &s.path)], path)
}

pub fn flocker(s: &FlockerVolumeSource, path: &Path) -> ErrorList {
    let (name, uuid) = (text(&s.dataset_name), text(&s.dataset_uuid));
    let mut errs = ErrorList::new();
    if name.is_empty() && uuid.is_empty() {
        errs.push(Error::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errs.push(Error::invalid(path, "resource", why));
    }
    if name.contains('/') {
        errs.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
    errs
}

pub fn rbd(s: &RBDVolumeSource, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.monitors.is_empty() {
        errs.push(Error::required(&path.child("monitors"), ""));
    }
    errs.extend(required(&[("image", &s.image)], path));
    errs
}

pub fn cinder(s: &CinderVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("volumeID", &s.volume_id)], path);
    errs.extend(secret_named(s.secret_ref.as_ref(), path));
    errs
}

pub fn cephfs(s: &CephFSVolumeSource, path: &Path) -> ErrorList {
    if s.monitors.is_empty() { vec![Error::required(&path.child("monitors"), "")] } else { ErrorList::new() }
}

pub fn quobyte(s: &QuobyteVolumeSource, path: &Path) -> ErrorList {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let mut errs = ErrorList::new();
    if s.registry.is_empty() {
        errs.push(Error::required(&path.child("registry"), PAIRS));
    } else if text(&s.tenant).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errs.push(Error::required(&path.child("tenant"), why));
    } else {
        let is_pair =
            |p: &str| p.rsplit_once(':').is_some_and(|(h, _)| !h.contains(':') || h.starts_with('['));
        for _ in s.registry.split(',').filter(|p| !is_pair(p)) {
            errs.push(Error::invalid(&path.child("registry"), &s.registry, PAIRS));
        }
    }
    errs.extend(required(&[("volume", &s.volume)], path));
    errs
}

pub fn fc(s: &FCVolumeSource, path: &Path) -> ErrorList {
    let (targets, wwids) = (list(&s.target_wwns), list(&s.wwids));
    let mut errs = ErrorList::new();
    let at = path.child("targetWWNs");
    if targets.is_empty() && wwids.is_empty() {
        errs.push(Error::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !targets.is_empty() && !wwids.is_empty() {
        errs.push(Error::invalid(&at, targets, "targetWWNs and wwids can not be specified simultaneously"));
    }
    if !targets.is_empty() {
        let at = path.child("lun");
        match s.lun {
            None => errs.push(Error::required(&at, "lun is required if targetWWNs is specified")),
            Some(n) if !(0..=255).contains(&n) => {
                errs.push(Error::invalid(&at, &n, names::inclusive_range_error(0, 255)));
            }
            Some(_) => {}
        }
    }
    errs
}

pub fn flex(s: &FlexVolumeSource, path: &Path) -> ErrorList {
    flex_driver(&s.driver, s.options.as_ref(), path)
}

/// The driver and the options of a flex volume, of a pod's or a persistent one.
pub(super) fn flex_driver(
    driver: &str,
    options: Option<&BTreeMap<String, String>>,
    path: &Path,
) -> ErrorList {
    let mut errs = required(&[("driver", driver)], path);
    for key in options.into_iter().flatten().map(|(k, _)| k) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(n, _)| n);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errs.push(Error::invalid(&path.child("options").key(key), key, why));
        }
    }
    errs
}

pub fn azure_file(s: &AzureFileVolumeSource, path: &Path) -> ErrorList {
    required(&[("secretName", &s.secret_name), ("shareName", &s.share_name)], path)
}

pub fn azure_disk(s: &AzureDiskVolumeSource, path: &Path) -> ErrorList {
    const CACHING: &[&str] = &["None", "ReadOnly", "ReadWrite"];
    const KINDS: &[&str] = &["Dedicated", "Managed", "Shared"];
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    let mut errs = required(&[("diskName", &s.disk_name), ("diskURI", &s.disk_uri)], path);
    if let Some(mode) = s.caching_mode.as_deref().filter(|m| !CACHING.contains(m)) {
        errs.push(Error::not_supported(&path.child("cachingMode"), mode, CACHING));
    }
    let Some(kind) = s.kind.as_deref() else { return errs };
    if !KINDS.contains(&kind) {
        errs.push(Error::not_supported(&path.child("kind"), kind, KINDS));
    }
    let (start, form) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !s.disk_uri.starts_with(start) {
        errs.push(Error::not_supported(&path.child("diskURI"), &s.disk_uri, &[form]));
    }
    errs
}

pub fn vsphere(s: &VsphereVirtualDiskVolumeSource, path: &Path) -> ErrorList {
    required(&[("volumePath", &s.volume_path)], path)
}

pub fn photon(s: &PhotonPersistentDiskVolumeSource, path: &Path) -> ErrorList {
    required(&[("pdID", &s.pd_id)], path)
}

pub fn portworx(s: &PortworxVolumeSource, path: &Path) -> ErrorList {
    required(&[("volumeID", &s.volume_id)], path)
}

pub fn scale_io(s: &ScaleIOVolumeSource, path: &Path) -> ErrorList {
    let volume = text(&s.volume_name);
    required(&[("gateway", &s.gateway), ("system", &s.system), ("volumeName", volume)], path)
}

pub fn storageos(s: &StorageOSVolumeSource, path: &Path) -> ErrorList {
    let (volume, namespace) = (text(&s.volume_name), text(&s.volume_namespace));
    let mut errs = required(&[("volumeName", volume)], path);
    for (field, value) in [("volumeName", volume), ("volumeNamespace", namespace)] {
        if !value.is_empty() {
            errs.extend(invalid_each(&path.child(field), value, names::dns1123_label(value)));
        }
    }
    errs.extend(secret_named(s.secret_ref.as_ref(), path));
    errs
}
