//! Sources only persistent volumes have, or have with a secret of any namespace.

use super::volume_plugins::{flex_driver, initiator_error, required};
use super::volumes::driver_name;
use super::{meta, paths};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    AzureFilePersistentVolumeSource, CSIPersistentVolumeSource, CephFSPersistentVolumeSource,
    CinderPersistentVolumeSource, FlexPersistentVolumeSource, GlusterfsPersistentVolumeSource,
    ISCSIPersistentVolumeSource, LocalVolumeSource, RBDPersistentVolumeSource, ScaleIOPersistentVolumeSource,
    SecretReference, StorageOSPersistentVolumeSource,
};

fn secret_set(name: &Option<String>, namespace: &Option<String>, path: &Path) -> ErrorList {
    required(&[("name", text(name)), ("namespace", text(namespace))], &path.child("secretRef"))
}

pub fn glusterfs(s: &GlusterfsPersistentVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("endpoints", &s.endpoints), ("path", &s.path)], path);
    let at = path.child("endpointsNamespace");
    match s.endpoints_namespace.as_deref() {
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errs.push(Error::invalid(&at, "", why));
        }
        Some(namespace) => errs.extend(invalid_each(&at, namespace, meta::label_name(namespace, false))),
        None => {}
    }
    errs
}

pub fn rbd(s: &RBDPersistentVolumeSource, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if s.monitors.is_empty() {
        errs.push(Error::required(&path.child("monitors"), ""));
    }
    errs.extend(required(&[("image", &s.image)], path));
    errs
}

pub fn cephfs(s: &CephFSPersistentVolumeSource, path: &Path) -> ErrorList {
    if s.monitors.is_empty() { vec![Error::required(&path.child("monitors"), "")] } else { ErrorList::new() }
}

pub fn iscsi(s: &ISCSIPersistentVolumeSource, volume: &str, path: &Path) -> ErrorList {
    let mut errs = required(&[("targetPortal", &s.target_portal), ("iqn", &s.iqn)], path);
    if s.initiator_name.is_some() && format!("{volume}:{}", s.target_portal).len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errs.push(Error::invalid(&path.child("targetportal"), &s.target_portal, why));
    }
    let given =
        [("iqn", Some(&s.iqn).filter(|n| !n.is_empty())), ("initiatorname", s.initiator_name.as_ref())];
    for (field, name) in given {
        if let Some(name) = name.filter(|n| initiator_error(n).is_some()) {
            errs.push(Error::invalid(&path.child(field), name, "must be valid format"));
        }
    }
    if !(0..=255).contains(&s.lun) {
        errs.push(Error::invalid(&path.child("lun"), &s.lun, names::inclusive_range_error(0, 255)));
    }
    if (flag(s.chap_auth_discovery) || flag(s.chap_auth_session)) && s.secret_ref.is_none() {
        errs.push(Error::required(&path.child("secretRef"), ""));
    }
    if let Some(secret) = &s.secret_ref {
        errs.extend(required(&[("name", text(&secret.name))], &path.child("secretRef")));
    }
    errs
}

pub fn cinder(s: &CinderPersistentVolumeSource, path: &Path) -> ErrorList {
    let mut errs = required(&[("volumeID", &s.volume_id)], path);
    errs.extend(s.secret_ref.iter().flat_map(|r| secret_set(&r.name, &r.namespace, path)));
    errs
}

pub fn flex(s: &FlexPersistentVolumeSource, path: &Path) -> ErrorList {
    flex_driver(&s.driver, s.options.as_ref(), path)
}

pub fn azure_file(s: &AzureFilePersistentVolumeSource, path: &Path) -> ErrorList {
    let mut fields = vec![("secretName", s.secret_name.as_str()), ("shareName", s.share_name.as_str())];
    fields.extend(s.secret_namespace.as_deref().map(|n| ("secretNamespace", n)));
    required(&fields, path)
}

pub fn scale_io(s: &ScaleIOPersistentVolumeSource, path: &Path) -> ErrorList {
    let volume = text(&s.volume_name);
    required(&[("gateway", &s.gateway), ("system", &s.system), ("volumeName", volume)], path)
}

pub fn local(s: &LocalVolumeSource, path: &Path) -> ErrorList {
    let at = path.child("path");
    if s.path.is_empty() {
        return vec![Error::required(&at, "")];
    }
    paths::no_backsteps(&s.path, &at).into_iter().collect()
}

pub fn storageos(s: &StorageOSPersistentVolumeSource, path: &Path) -> ErrorList {
    let (volume, namespace) = (text(&s.volume_name), text(&s.volume_namespace));
    let mut errs = required(&[("volumeName", volume)], path);
    for (field, value) in [("volumeName", volume), ("volumeNamespace", namespace)] {
        if !value.is_empty() {
            errs.extend(invalid_each(&path.child(field), value, names::dns1123_label(value)));
        }
    }
    errs.extend(s.secret_ref.iter().flat_map(|r| secret_set(&r.name, &r.namespace, path)));
    errs
}

fn secret_reference(r: Option<&SecretReference>, path: &Path) -> ErrorList {
    let Some(r) = r else { return ErrorList::new() };
    let (name, namespace) = (text(&r.name), text(&r.namespace));
    let mut errs = required(&[("name", name), ("namespace", namespace)], path);
    if !name.is_empty() {
        errs.extend(invalid_each(&path.child("name"), name, names::dns1123_subdomain(name)));
    }
    if !namespace.is_empty() {
        errs.extend(invalid_each(&path.child("namespace"), namespace, names::dns1123_label(namespace)));
    }
    errs
}

pub fn csi(s: &CSIPersistentVolumeSource, path: &Path) -> ErrorList {
    let mut errs = driver_name(&s.driver, &path.child("driver"));
    errs.extend(required(&[("volumeHandle", &s.volume_handle)], path));
    for (field, secret) in [
        ("controllerPublishSecretRef", &s.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &s.controller_expand_secret_ref),
        ("nodePublishSecretRef", &s.node_publish_secret_ref),
        ("nodeExpandSecretRef", &s.node_expand_secret_ref),
    ] {
        errs.extend(secret_reference(secret.as_ref(), &path.child(field)));
    }
    errs
}
