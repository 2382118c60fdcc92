//! Volumes of a pod.

use super::mounts::Volumes;
use super::options::PodOptions;
use super::{claim_template, containers, env, meta, paths, projected, resources, volume_plugins as plugins};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    CSIVolumeSource, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource,
    EmptyDirVolumeSource, EphemeralVolumeSource, HostPathVolumeSource, ImageVolumeSource, KeyToPath,
    NFSVolumeSource, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume,
};
use std::collections::BTreeSet;

/// The sound volumes by name, and what is wrong with the others.
pub fn volumes<'a>(
    all: &'a [Volume],
    pod: Option<&ObjectMeta>,
    options: &PodOptions,
    path: &Path,
) -> (Volumes<'a>, ErrorList) {
    let mut errs = ErrorList::new();
    let mut sound = Volumes::new();
    let pod_name = pod.map(|m| text(&m.name)).unwrap_or_default();
    let created: BTreeSet<String> = if pod_name.is_empty() {
        BTreeSet::new()
    } else {
        let own = all.iter().filter(|v| v.ephemeral.is_some());
        own.map(|v| format!("{pod_name}-{}", v.name)).collect()
    };
    for (i, v) in all.iter().enumerate() {
        let at = path.index(i);
        let name_at = at.child("name");
        let mut found = source(v, pod_name, options, &at);
        if v.name.is_empty() {
            found.push(Error::required(&name_at, ""));
        } else {
            found.extend(invalid_each(&name_at, &v.name, names::dns1123_label(&v.name)));
        }
        if sound.contains_key(v.name.as_str()) {
            found.push(Error::duplicate(&name_at, &v.name));
        }
        if found.is_empty() {
            sound.insert(&v.name, v);
        }
        errs.extend(found);
        if let Some(claim) = v.persistent_volume_claim.as_ref().filter(|c| created.contains(&c.claim_name)) {
            let at = at.child("persistentVolumeClaim").child("claimName");
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errs.push(Error::invalid(&at, &claim.claim_name, why));
        }
    }
    (sound, errs)
}

fn source(v: &Volume, pod_name: &str, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mut count = 0;
    // The field named in the complaint about a second source differs here and there from the one validated.
    let mut take = |named: &str, found: Option<ErrorList>| {
        let Some(found) = found else { return };
        if count > 0 {
            errs.push(Error::forbidden(&path.child(named), "may not specify more than 1 volume type"));
        } else {
            errs.extend(found);
            count += 1;
        }
    };
    let at = |field: &str| path.child(field);
    take("emptyDir", v.empty_dir.as_ref().map(|s| empty_dir(s, &at("emptyDir"))));
    take("hostPath", v.host_path.as_ref().map(|s| host_path(s, &at("hostPath"))));
    take("gitRepo", v.git_repo.as_ref().map(|s| plugins::git_repo(s, &at("gitRepo"))));
    let gce = v.gce_persistent_disk.as_ref();
    take("gcePersistentDisk", gce.map(|s| plugins::gce(s, &at("persistentDisk"))));
    let aws = v.aws_elastic_block_store.as_ref();
    take("awsElasticBlockStore", aws.map(|s| plugins::aws(s, &at("awsElasticBlockStore"))));
    take("secret", v.secret.as_ref().map(|s| secret(s, &at("secret"))));
    take("nfs", v.nfs.as_ref().map(|s| nfs(s, &at("nfs"))));
    take("iscsi", v.iscsi.as_ref().map(|s| plugins::iscsi(s, &v.name, path)));
    take("glusterfs", v.glusterfs.as_ref().map(|s| plugins::glusterfs(s, &at("glusterfs"))));
    take("flocker", v.flocker.as_ref().map(|s| plugins::flocker(s, &at("flocker"))));
    let claimed = v.persistent_volume_claim.as_ref();
    take("persistentVolumeClaim", claimed.map(|s| claim(s, &at("persistentVolumeClaim"))));
    take("rbd", v.rbd.as_ref().map(|s| plugins::rbd(s, &at("rbd"))));
    take("cinder", v.cinder.as_ref().map(|s| plugins::cinder(s, &at("cinder"))));
    take("cephFS", v.cephfs.as_ref().map(|s| plugins::cephfs(s, &at("cephfs"))));
    take("quobyte", v.quobyte.as_ref().map(|s| plugins::quobyte(s, &at("quobyte"))));
    take("downwarAPI", v.downward_api.as_ref().map(|s| downward_api(s, &at("downwardAPI"))));
    take("fc", v.fc.as_ref().map(|s| plugins::fc(s, &at("fc"))));
    take("flexVolume", v.flex_volume.as_ref().map(|s| plugins::flex(s, &at("flexVolume"))));
    take("configMap", v.config_map.as_ref().map(|s| config_map(s, &at("configMap"))));
    take("azureFile", v.azure_file.as_ref().map(|s| plugins::azure_file(s, &at("azureFile"))));
    take("vsphereVolume", v.vsphere_volume.as_ref().map(|s| plugins::vsphere(s, &at("vsphereVolume"))));
    let photon = v.photon_persistent_disk.as_ref();
    take("photonPersistentDisk", photon.map(|s| plugins::photon(s, &at("photonPersistentDisk"))));
    take("portworxVolume", v.portworx_volume.as_ref().map(|s| plugins::portworx(s, &at("portworxVolume"))));
    take("azureDisk", v.azure_disk.as_ref().map(|s| plugins::azure_disk(s, &at("azureDisk"))));
    take("storageos", v.storageos.as_ref().map(|s| plugins::storageos(s, &at("storageos"))));
    take("projected", v.projected.as_ref().map(|s| projected::volume(s, options, &at("projected"))));
    take("scaleIO", v.scale_io.as_ref().map(|s| plugins::scale_io(s, &at("scaleIO"))));
    take("csi", v.csi.as_ref().map(|s| csi(s, &at("csi"))));
    take("ephemeral", v.ephemeral.as_ref().map(|s| ephemeral(s, &v.name, pod_name, path)));
    take("image", v.image.as_ref().map(|s| image(s, options, &at("image"))));
    if count == 0 {
        errs.push(Error::required(path, "must specify a volume type"));
    }
    errs
}

fn empty_dir(s: &EmptyDirVolumeSource, path: &Path) -> ErrorList {
    let negative = s.size_limit.as_ref().and_then(resources::parse).is_some_and(|q| q.sign() < 0);
    let why = "SizeLimit field must be a valid resource quantity";
    if negative { vec![Error::forbidden(&path.child("sizeLimit"), why)] } else { ErrorList::new() }
}

pub(super) fn host_path(s: &HostPathVolumeSource, path: &Path) -> ErrorList {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if s.path.is_empty() {
        return vec![Error::required(&path.child("path"), "")];
    }
    let mut errs: ErrorList = paths::no_backsteps(&s.path, &path.child("path")).into_iter().collect();
    if let Some(t) = s.type_.as_deref().filter(|t| !TYPES.contains(t)) {
        errs.push(Error::not_supported(&path.child("type"), t, TYPES));
    }
    errs
}

fn items(items: &[KeyToPath], path: &Path) -> ErrorList {
    items.iter().enumerate().flat_map(|(i, k)| key_to_path(k, &path.index(i))).collect()
}

pub(super) fn key_to_path(k: &KeyToPath, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if k.key.is_empty() {
        errs.push(Error::required(&path.child("key"), ""));
    }
    if k.path.is_empty() {
        errs.push(Error::required(&path.child("path"), ""));
    }
    errs.extend(paths::local_non_reserved(&k.path, &path.child("path")));
    errs.extend(paths::mode(k.mode, &path.child("mode")));
    errs
}

fn secret(s: &SecretVolumeSource, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if text(&s.secret_name).is_empty() {
        errs.push(Error::required(&path.child("secretName"), ""));
    }
    errs.extend(paths::mode(s.default_mode, &path.child("defaultMode")));
    errs.extend(items(list(&s.items), &path.child("items")));
    errs
}

fn config_map(s: &ConfigMapVolumeSource, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.name.is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    }
    errs.extend(paths::mode(s.default_mode, &path.child("defaultMode")));
    errs.extend(items(list(&s.items), &path.child("items")));
    errs
}

pub(super) fn nfs(s: &NFSVolumeSource, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.server.is_empty() {
        errs.push(Error::required(&path.child("server"), ""));
    }
    if s.path.is_empty() {
        errs.push(Error::required(&path.child("path"), ""));
    }
    if !s.path.starts_with('/') {
        errs.push(Error::invalid(&path.child("path"), &s.path, "must be an absolute path"));
    }
    errs
}

fn claim(s: &PersistentVolumeClaimVolumeSource, path: &Path) -> ErrorList {
    if s.claim_name.is_empty() {
        vec![Error::required(&path.child("claimName"), "")]
    } else {
        ErrorList::new()
    }
}

fn downward_api(s: &DownwardAPIVolumeSource, path: &Path) -> ErrorList {
    let mut errs: ErrorList = paths::mode(s.default_mode, &path.child("defaultMode")).into_iter().collect();
    for file in list(&s.items) {
        errs.extend(downward_api_file(file, path));
    }
    errs
}

pub(super) fn downward_api_file(f: &DownwardAPIVolumeFile, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if f.path.is_empty() {
        errs.push(Error::required(&path.child("path"), ""));
    }
    errs.extend(paths::local_non_reserved(&f.path, &path.child("path")));
    match (&f.field_ref, &f.resource_field_ref) {
        (Some(field), resource) => {
            errs.extend(env::object_field(field, env::VOLUME_FIELDS, &path.child("fieldRef")));
            if resource.is_some() {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errs.push(Error::invalid(path, "resource", why));
            }
        }
        (None, Some(r)) => errs.extend(env::resource_field(r, &path.child("resourceFieldRef"), true)),
        (None, None) => errs.push(Error::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    errs.extend(paths::mode(f.mode, &path.child("mode")));
    errs
}

/// The name of a CSI driver.
pub fn driver_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errs = ErrorList::new();
    if name.len() > 63 {
        errs.push(Error::too_long(path, 63));
    }
    errs.extend(invalid_each(path, name, names::dns1123_subdomain(&name.to_lowercase())));
    errs
}

fn csi(s: &CSIVolumeSource, path: &Path) -> ErrorList {
    let mut errs = driver_name(&s.driver, &path.child("driver"));
    if let Some(secret) = &s.node_publish_secret_ref {
        if secret.name.is_empty() {
            errs.push(Error::required(&path.child("nodePublishSecretRef").child("name"), ""));
        } else {
            let messages = meta::subdomain_name(&secret.name, false);
            errs.extend(invalid_each(&path.child("name"), &secret.name, messages));
        }
    }
    errs
}

fn ephemeral(s: &EphemeralVolumeSource, volume: &str, pod_name: &str, path: &Path) -> ErrorList {
    let at = path.child("ephemeral").child("volumeClaimTemplate");
    let mut errs = match &s.volume_claim_template {
        None => vec![Error::required(&at, "")],
        Some(template) => claim_template::template(template, &at),
    };
    if !pod_name.is_empty() && !volume.is_empty() {
        let claim = format!("{pod_name}-{volume}");
        for m in meta::subdomain_name(&claim, false) {
            errs.push(Error::invalid(&path.child("name"), volume, format!("PVC name \"{claim}\": {m}")));
        }
    }
    errs
}

fn image(s: &ImageVolumeSource, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if options.is_pod && text(&s.reference).is_empty() {
        errs.push(Error::required(&path.child("reference"), ""));
    }
    errs.extend(containers::pull_policy(text(&s.pull_policy), &path.child("pullPolicy")));
    errs
}
