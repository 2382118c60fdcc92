//! The spec of a persistent volume, by itself or inline in an attachment.

use super::{affinity, meta, persistent_plugins as own, resources, volume_plugins as plugins, volumes};
use crate::kinds::core::pod_defaults::resource_list;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::PersistentVolumeSpec;

pub const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// Of volumes and their sources, what is set where nothing is.
pub fn default_spec(s: &mut PersistentVolumeSpec) {
    resource_list(&mut s.capacity);
    if let Some(p) = &mut s.host_path {
        p.type_.get_or_insert_default();
    }
    if let Some(r) = &mut s.rbd {
        default_text(&mut r.pool, "rbd");
        default_text(&mut r.user, "admin");
        default_text(&mut r.keyring, "/etc/ceph/keyring");
    }
    if let Some(i) = &mut s.iscsi {
        default_text(&mut i.iscsi_interface, "default");
    }
    if let Some(d) = &mut s.azure_disk {
        d.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        d.fs_type.get_or_insert_with(|| "ext4".to_owned());
        d.read_only.get_or_insert(false);
        d.kind.get_or_insert_with(|| "Shared".to_owned());
    }
    if let Some(v) = &mut s.scale_io {
        default_text(&mut v.storage_mode, "ThinProvisioned");
        default_text(&mut v.fs_type, "xfs");
    }
}

/// The access modes of a volume or a claim.
pub fn access_modes(modes: &[String], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let known = |m: &&String| ACCESS_MODES.contains(&m.as_str());
    for mode in modes.iter().filter(|m| !known(m)) {
        errs.push(Error::not_supported(path, mode, ACCESS_MODES));
    }
    let (once_pod, others): (Vec<_>, Vec<_>) =
        modes.iter().filter(known).partition(|m| *m == "ReadWriteOncePod");
    if !once_pod.is_empty() && !others.is_empty() {
        errs.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    errs
}

fn capacity(s: &PersistentVolumeSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let count = s.capacity.as_ref().map_or(0, |c| c.len());
    if count == 0 {
        errs.push(Error::required(path, ""));
    }
    if count > 1 || s.capacity.as_ref().is_none_or(|c| !c.contains_key("storage")) {
        errs.push(Error::not_supported(path, &s.capacity, &["storage"]));
    }
    for (name, q) in s.capacity.iter().flatten() {
        let Some(amount) = resources::parse(q) else { continue };
        let at = path.key(name);
        errs.extend(basic(&amount, &at));
        if amount.sign() <= 0 {
            errs.push(Error::invalid(&at, &amount.to_string(), "must be greater than zero"));
        }
    }
    errs
}

/// An amount that is not negative.
pub fn basic(amount: &gantry_types::quantity::Quantity, path: &Path) -> Option<Error> {
    let value = amount.value();
    (value < 0).then(|| Error::invalid(path, &value, "must be a valid resource quantity"))
}

fn sources(s: &PersistentVolumeSpec, name: &str, path: &Path) -> (usize, ErrorList) {
    let (mut count, mut errs) = (0, ErrorList::new());
    let mut take = |named: &str, found: Option<ErrorList>| {
        let Some(found) = found else { return };
        if count > 0 && named != "flexVolume" {
            errs.push(Error::forbidden(&path.child(named), "may not specify more than 1 volume type"));
        } else {
            errs.extend(found);
            count += 1;
        }
    };
    let at = |field: &str| path.child(field);
    take("hostPath", s.host_path.as_ref().map(|v| volumes::host_path(v, &at("hostPath"))));
    let gce = s.gce_persistent_disk.as_ref();
    take("gcePersistentDisk", gce.map(|v| plugins::gce(v, &at("persistentDisk"))));
    let aws = s.aws_elastic_block_store.as_ref();
    take("awsElasticBlockStore", aws.map(|v| plugins::aws(v, &at("awsElasticBlockStore"))));
    take("glusterfs", s.glusterfs.as_ref().map(|v| own::glusterfs(v, &at("glusterfs"))));
    take("flocker", s.flocker.as_ref().map(|v| plugins::flocker(v, &at("flocker"))));
    take("nfs", s.nfs.as_ref().map(|v| volumes::nfs(v, &at("nfs"))));
    take("rbd", s.rbd.as_ref().map(|v| own::rbd(v, &at("rbd"))));
    take("quobyte", s.quobyte.as_ref().map(|v| plugins::quobyte(v, &at("quobyte"))));
    take("cephFS", s.cephfs.as_ref().map(|v| own::cephfs(v, &at("cephfs"))));
    take("iscsi", s.iscsi.as_ref().map(|v| own::iscsi(v, name, &at("iscsi"))));
    take("cinder", s.cinder.as_ref().map(|v| own::cinder(v, &at("cinder"))));
    take("fc", s.fc.as_ref().map(|v| plugins::fc(v, &at("fc"))));
    take("flexVolume", s.flex_volume.as_ref().map(|v| own::flex(v, &at("flexVolume"))));
    take("azureFile", s.azure_file.as_ref().map(|v| own::azure_file(v, &at("azureFile"))));
    let vsphere = s.vsphere_volume.as_ref();
    take("vsphereVolume", vsphere.map(|v| plugins::vsphere(v, &at("vsphereVolume"))));
    let photon = s.photon_persistent_disk.as_ref();
    take("photonPersistentDisk", photon.map(|v| plugins::photon(v, &at("photonPersistentDisk"))));
    let portworx = s.portworx_volume.as_ref();
    take("portworxVolume", portworx.map(|v| plugins::portworx(v, &at("portworxVolume"))));
    take("azureDisk", s.azure_disk.as_ref().map(|v| plugins::azure_disk(v, &at("azureDisk"))));
    take("scaleIO", s.scale_io.as_ref().map(|v| own::scale_io(v, &at("scaleIO"))));
    take(
        "local",
        s.local.as_ref().map(|v| {
            let mut errs = own::local(v, &at("local"));
            if s.node_affinity.is_none() {
                errs.push(Error::required(&at("nodeAffinity"), "Local volume requires node affinity"));
            }
            errs
        }),
    );
    take("storageos", s.storageos.as_ref().map(|v| own::storageos(v, &at("storageos"))));
    take("csi", s.csi.as_ref().map(|v| own::csi(v, &at("csi"))));
    (count, errs)
}

/// Whether a path leads to the root once its steps are taken.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/').filter(|p| !matches!(*p, "" | ".")) {
        depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
    }
    path.starts_with('/') && depth == 0
}

/// What both forms of a spec share.
fn common(s: &PersistentVolumeSpec, name: &str, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let at = path.child("accessModes");
    if list(&s.access_modes).is_empty() {
        errs.push(Error::required(&at, ""));
    }
    errs.extend(access_modes(list(&s.access_modes), &at));
    let (count, found) = sources(s, name, path);
    errs.extend(found);
    if count == 0 {
        errs.push(Error::required(path, "must specify a volume type"));
    }
    let recycled = text(&s.persistent_volume_reclaim_policy) == "Recycle";
    if recycled && s.host_path.as_ref().is_some_and(|p| is_root(&p.path)) {
        let at = path.child("persistentVolumeReclaimPolicy");
        errs.push(Error::forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    errs
}

/// A spec within an attachment: a CSI source and how to access it, no more.
pub fn inline(s: &PersistentVolumeSpec, path: &Path) -> ErrorList {
    let mut errs = common(s, "", path);
    let policy = text(&s.persistent_volume_reclaim_policy);
    for (field, wrong) in [
        ("claimRef", s.claim_ref.is_some()),
        ("capacity", s.capacity.as_ref().is_some_and(|c| !c.is_empty())),
        ("nodeAffinity", s.node_affinity.is_some()),
        ("storageClassName", !text(&s.storage_class_name).is_empty()),
    ] {
        if wrong {
            let why = "may not be specified in the context of inline volumes";
            errs.push(Error::forbidden(&path.child(field), why));
        }
    }
    if s.csi.is_none() {
        let why = "has to be specified in the context of inline volumes";
        errs.push(Error::required(&path.child("csi"), why));
    }
    if !matches!(policy, "" | "Retain") {
        let at = path.child("persistentVolumeReclaimPolicy");
        errs.push(Error::forbidden(&at, "may only be Retain in the context of inline volumes"));
    }
    if s.volume_mode.as_deref().is_some_and(|m| m != "Filesystem") {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errs.push(Error::forbidden(&path.child("volumeMode"), why));
    }
    errs
}

/// A volume's spec. `name` is the volume's; `invalid_values` lets node labels pass that are no label values,
/// as a stored volume may have them.
pub fn spec(s: &PersistentVolumeSpec, name: &str, invalid_values: bool, path: &Path) -> ErrorList {
    const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
    let mut errs = common(s, name, path);
    errs.extend(capacity(s, &path.child("capacity")));
    let policy = text(&s.persistent_volume_reclaim_policy);
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        errs.push(Error::not_supported(&path.child("persistentVolumeReclaimPolicy"), policy, POLICIES));
    }
    if let Some(n) = &s.node_affinity {
        let at = path.child("nodeAffinity").child("required");
        match &n.required {
            Some(selector) => errs.extend(affinity::node_selector(selector, invalid_values, &at)),
            None => errs.push(Error::required(&at, "must specify required node constraints")),
        }
    }
    let class = text(&s.storage_class_name);
    if !class.is_empty() {
        let messages = meta::subdomain_name(class, false);
        errs.extend(invalid_each(&path.child("storageClassName"), class, messages));
    }
    if let Some(mode) = s.volume_mode.as_deref().filter(|m| !VOLUME_MODES.contains(m)) {
        errs.push(Error::not_supported(&path.child("volumeMode"), mode, VOLUME_MODES));
    }
    if let Some(class) = &s.volume_attributes_class_name {
        let at = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errs.push(Error::required(&at, "an empty string is disallowed"));
        } else {
            errs.extend(invalid_each(&at, class, meta::subdomain_name(class, false)));
        }
        if s.csi.is_none() {
            let why = "has to be specified when using volumeAttributesClassName";
            errs.push(Error::required(&path.child("csi"), why));
        }
    }
    errs
}

#[cfg(test)]
mod tests {
    #[test]
    fn roots_are_known_by_any_name() {
        let check = |path: &str, want: bool| assert_eq!(super::is_root(path), want, "{path}");
        check("/", true);
        check("//", true);
        check("/a/..", true);
        check("/../.", true);
        check("/a", false);
        check("a/..", false);
        check("", false);
    }
}
