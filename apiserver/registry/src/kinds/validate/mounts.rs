//! Volume mounts and volume devices of a container.

use super::paths;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{Container, Volume, VolumeDevice, VolumeMount};
use std::collections::{BTreeMap, BTreeSet};

/// The pod's sound volumes by name.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Volume>;

pub fn mounts(container: &Container, volumes: &Volumes<'_>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let devices = list(&container.volume_devices);
    let mut seen = BTreeSet::new();
    for (i, mount) in list(&container.volume_mounts).iter().enumerate() {
        let at = path.index(i);
        let (name_at, path_at) = (at.child("name"), at.child("mountPath"));
        if mount.name.is_empty() {
            errs.push(Error::required(&name_at, ""));
        }
        if !volumes.contains_key(mount.name.as_str()) {
            errs.push(Error::not_found(&name_at, &mount.name));
        }
        let target = &mount.mount_path;
        if target.is_empty() {
            errs.push(Error::required(&path_at, ""));
        }
        if !seen.insert(target) {
            errs.push(Error::invalid(&path_at, target, "must be unique"));
        }
        if devices.iter().any(|d| d.name == mount.name) {
            errs.push(Error::invalid(&name_at, &mount.name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| d.device_path == *target) {
            errs.push(Error::invalid(&path_at, target, "must not already exist as a path in volumeDevices"));
        }
        let (sub, expr) = (text(&mount.sub_path), text(&mount.sub_path_expr));
        if !sub.is_empty() {
            errs.extend(paths::local_descending(sub, &path.child("subPath")));
        }
        if !expr.is_empty() {
            if !sub.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errs.push(Error::invalid(&at.child("subPathExpr"), expr, why));
            }
            errs.extend(paths::local_descending(expr, &path.child("subPathExpr")));
        }
        errs.extend(propagation(mount, container, &path.child("mountPropagation")));
        errs.extend(recursive_read_only(mount, &path.child("recursiveReadOnly")));
    }
    errs
}

fn propagation(mount: &VolumeMount, container: &Container, path: &Path) -> ErrorList {
    const MODES: &[&str] = &["Bidirectional", "HostToContainer", "None"];
    let Some(mode) = &mount.mount_propagation else { return ErrorList::new() };
    let mut errs = ErrorList::new();
    if !MODES.contains(&mode.as_str()) {
        errs.push(Error::not_supported(path, mode, MODES));
    }
    let privileged = container.security_context.as_ref().is_some_and(|s| flag(s.privileged));
    if mode == "Bidirectional" && !privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errs.push(Error::forbidden(path, why));
    }
    errs
}

fn recursive_read_only(mount: &VolumeMount, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount.read_only) {
                errs.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|p| p != "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errs.push(Error::forbidden(path, why));
            }
        }
        Some(other) => {
            errs.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]));
        }
    }
    errs
}

pub fn devices(container: &Container, volumes: &Volumes<'_>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let mounts = list(&container.volume_mounts);
    let (mut names, mut targets) = (BTreeSet::new(), BTreeSet::new());
    for (i, VolumeDevice { name, device_path: target }) in list(&container.volume_devices).iter().enumerate()
    {
        let (name_at, path_at) = (path.index(i).child("name"), path.index(i).child("devicePath"));
        let volume = volumes.get(name.as_str());
        if name.is_empty() {
            errs.push(Error::required(&name_at, ""));
        }
        if names.contains(name) {
            errs.push(Error::invalid(&name_at, name, "must be unique"));
        }
        match volume {
            Some(v) if v.persistent_volume_claim.is_none() && v.ephemeral.is_none() => {
                let why =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errs.push(Error::invalid(&name_at, name, why));
            }
            Some(_) => {}
            None => errs.push(Error::not_found(&name_at, name)),
        }
        if target.is_empty() {
            errs.push(Error::required(&path_at, ""));
        }
        if targets.contains(target) {
            errs.push(Error::invalid(&path_at, target, "must be unique"));
        }
        if !target.is_empty() && paths::no_backsteps(target, path).is_some() {
            errs.push(Error::invalid(&path_at, target, "can not contain backsteps ('..')"));
        } else {
            targets.insert(target);
        }
        if mounts.iter().any(|m| m.name == *name) {
            errs.push(Error::invalid(&name_at, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|m| m.mount_path == *target) {
            errs.push(Error::invalid(&path_at, target, "must not already exist as a path in volumeMounts"));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
    errs
}
