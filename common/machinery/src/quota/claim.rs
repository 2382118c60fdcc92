//! Claims of volumes: by number and size, in all and by storage class.

use super::amounts::{Amounts, one};
use super::names_fit;
use gantry_types::k8s_openapi::api::core::v1::{PersistentVolumeClaim, ScopedResourceSelectorRequirement};
use gantry_types::quantity::Quantity;

const NUMBER: &str = "persistentvolumeclaims";
const SIZE: &str = "requests.storage";
const COUNT: &str = "count/persistentvolumeclaims";
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";

pub(super) fn covers(name: &str) -> bool {
    let of_class = |r: &str| name.strip_suffix(r).is_some_and(|rest| rest.ends_with(BY_CLASS));
    matches!(name, NUMBER | SIZE | COUNT) || of_class(NUMBER) || of_class(SIZE)
}

fn class(claim: &PersistentVolumeClaim) -> &str {
    let annotations = claim.metadata.annotations.as_ref();
    let annotated = annotations.and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"));
    let stated = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_ref());
    annotated.or(stated).map_or("", String::as_str)
}

/// What is asked for or already given, whichever is more, in whole bytes.
fn size(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let resources = claim.spec.as_ref().and_then(|s| s.resources.as_ref());
    let asked = resources.and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    let mut size = Quantity::try_from(asked?).ok()?;
    let given = claim.status.as_ref().and_then(|s| s.allocated_resources.as_ref());
    if let Some(given) = given.and_then(|g| g.get("storage")).and_then(|q| Quantity::try_from(q).ok())
        && given > size
    {
        size = given;
    }
    size.round_up(0);
    Some(size)
}

pub(super) fn usage(claim: &PersistentVolumeClaim) -> Amounts {
    let mut out = Amounts::from([(NUMBER.to_owned(), one()), (COUNT.to_owned(), one())]);
    let (class, size) = (class(claim), size(claim));
    if !class.is_empty() {
        out.insert(format!("{class}{BY_CLASS}{NUMBER}"), one());
        out.extend(size.clone().map(|size| (format!("{class}{BY_CLASS}{SIZE}"), size)));
    }
    out.extend(size.map(|size| (SIZE.to_owned(), size)));
    out
}

pub(super) fn in_scope(claim: &PersistentVolumeClaim, scope: &ScopedResourceSelectorRequirement) -> bool {
    if scope.scope_name != "VolumeAttributesClass" {
        return false;
    }
    let (spec, status) = (claim.spec.as_ref(), claim.status.as_ref());
    let wanted = spec.and_then(|s| s.volume_attributes_class_name.as_deref());
    let current = status.and_then(|s| s.current_volume_attributes_class_name.as_deref());
    let target = status.and_then(|s| s.modify_volume_status.as_ref());
    let target = target.and_then(|m| m.target_volume_attributes_class_name.as_deref());
    let names: Vec<&str> =
        [wanted, current, target].into_iter().flatten().filter(|n| !n.is_empty()).collect();
    names_fit(scope, &names)
}
