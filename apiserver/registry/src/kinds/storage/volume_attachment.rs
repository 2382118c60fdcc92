//! `storage.k8s.io/v1` VolumeAttachment.

use crate::kinds::prelude::*;
use crate::kinds::validate::{meta, persistent_volume, volumes::driver_name};
use crate::kinds::{go_types, print};
use gantry_types::k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentStatus, VolumeError,
};

/// A volume attached, or to be, to a node: what and where never change, the status is the attacher's.
pub struct VolumeAttachments;

const MESSAGE_MAX: usize = 1024;
const METADATA_MAX: usize = 256 * 1024;

fn source(s: &VolumeAttachmentSource, path: &Path) -> ErrorList {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&s.inline_volume_spec, s.persistent_volume_name.as_deref()) {
        (None, None) => vec![Error::required(path, ONE)],
        (Some(_), Some(_)) => vec![Error::forbidden(path, ONE)],
        (None, Some("")) => {
            let why = "must specify non empty persistentVolumeName";
            vec![Error::required(&path.child("persistentVolumeName"), why)]
        }
        (None, Some(_)) => ErrorList::new(),
        (Some(inline), None) => persistent_volume::inline(inline, &path.child("inlineVolumeSpec")),
    }
}

fn volume_error(e: Option<&VolumeError>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let Some(e) = e else { return errs };
    if text(&e.message).len() > MESSAGE_MAX {
        // Upstream names the other limit.
        errs.push(Error::too_long(&path.child("message"), METADATA_MAX));
    }
    if let Some(code) = e.error_code.filter(|c| *c < 0) {
        let why = names::inclusive_range_error(0, i64::from(i32::MAX));
        errs.push(Error::invalid(&path.child("errorCode"), &code, why));
    }
    errs
}

fn status(s: &VolumeAttachmentStatus, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let size: usize = s.attachment_metadata.iter().flatten().map(|(k, v)| k.len() + v.len()).sum();
    if size > METADATA_MAX {
        errs.push(Error::too_long(&path.child("attachmentMetadata"), METADATA_MAX));
    }
    errs.extend(volume_error(s.attach_error.as_ref(), &path.child("attachError")));
    errs.extend(volume_error(s.detach_error.as_ref(), &path.child("detachError")));
    errs
}

fn validate(attachment: &VolumeAttachment) -> ErrorList {
    let (spec, path) = (&attachment.spec, Path::new("spec"));
    let mut errs = meta::object_meta(&attachment.metadata, false, meta::subdomain_name);
    errs.extend(driver_name(&spec.attacher, &path.child("attacher")));
    errs.extend(source(&spec.source, &path.child("source")));
    let node = &spec.node_name;
    errs.extend(invalid_each(&path.child("nodeName"), node, meta::subdomain_name(node, false)));
    if let Some(s) = &attachment.status {
        errs.extend(status(s, &Path::new("status")));
    }
    if let Some(name) = &spec.source.persistent_volume_name {
        let at = path.child("source").child("persistentVolumeName");
        errs.extend(invalid_each(&at, name, meta::subdomain_name(name, false)));
    }
    errs
}

impl Strategy for VolumeAttachments {
    type Kind = VolumeAttachment;

    fn default(&self, attachment: &mut VolumeAttachment) {
        if let Some(inline) = &mut attachment.spec.source.inline_volume_spec {
            persistent_volume::default_spec(inline);
        }
        attachment.status.get_or_insert_default();
    }

    fn prepare_create(&self, _cx: &Context<'_>, attachment: &mut VolumeAttachment) {
        attachment.status = Some(VolumeAttachmentStatus::default());
    }

    fn prepare_update(&self, cx: &Context<'_>, new: &mut VolumeAttachment, old: &VolumeAttachment) {
        if cx.subresource == "status" {
            new.spec.clone_from(&old.spec);
            meta::reset_for_status(&mut new.metadata, &old.metadata);
        } else {
            new.status.clone_from(&old.status);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, attachment: &VolumeAttachment) -> ErrorList {
        validate(attachment)
    }

    fn validate_update(
        &self,
        _cx: &Context<'_>,
        new: &VolumeAttachment,
        old: &VolumeAttachment,
    ) -> ErrorList {
        let mut errs = validate(new);
        errs.extend(meta::object_meta_update(&new.metadata, &old.metadata));
        if new.spec != old.spec {
            let printed = go_types::print("VolumeAttachmentSpec", &new.spec);
            errs.push(invalid_raw(&Path::new("spec"), printed, meta::IMMUTABLE));
        }
        errs
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["metadata", "spec"] } else { &["status"] }
    }

    fn row(&self, attachment: &VolumeAttachment, now: Timestamp) -> Vec<Cell> {
        let spec = &attachment.spec;
        vec![
            print::name(&attachment.metadata),
            spec.attacher.as_str().into(),
            text(&spec.source.persistent_volume_name).into(),
            spec.node_name.as_str().into(),
            Cell::Bool(attachment.status.as_ref().is_some_and(|s| s.attached)),
            print::age(attachment.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
