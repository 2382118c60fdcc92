//! `DefaultStorageClass`, `StorageObjectInUseProtection` and `PersistentVolumeClaimResize`.

use crate::{forbidden, is, resources};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::quantity::Quantity;
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Document, GroupResource, StatusResult};
use k8s_openapi::api::storage::v1::StorageClass;
use std::cmp::Reverse;
use std::sync::Arc;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const STORAGE_CLASSES: GroupResource = GroupResource::new("storage.k8s.io", "storageclasses");
const ATTRIBUTES_CLASSES: GroupResource = GroupResource::new("storage.k8s.io", "volumeattributesclasses");

/// Gives a claim without a class the cluster's default one.
pub struct DefaultStorageClass {
    reader: Arc<dyn ObjectReader>,
}

impl DefaultStorageClass {
    pub const NAME: &str = "DefaultStorageClass";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The newest of the classes marked as default, the first by name among equals.
    fn default_class(&self) -> Option<String> {
        let marked = |class: &StorageClass| {
            let annotations = class.metadata.annotations.as_ref();
            [
                "storageclass.kubernetes.io/is-default-class",
                "storageclass.beta.kubernetes.io/is-default-class",
            ]
            .iter()
            .any(|key| annotations.and_then(|a| a.get(*key)).is_some_and(|v| v == "true"))
        };
        let classes = self.reader.list(&STORAGE_CLASSES, None).into_iter();
        classes
            .filter_map(|o| o.typed::<StorageClass>().ok())
            .filter(marked)
            .min_by_key(|class| {
                let meta = &class.metadata;
                (Reverse(meta.creation_timestamp.as_ref().map(|t| t.0)), meta.name.clone())
            })
            .and_then(|class| class.metadata.name)
    }
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create
            && subresource.is_empty()
            && is(kind, &resources::PERSISTENT_VOLUME_CLAIMS)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let Some(claim) = request.object.as_deref_mut() else { return Ok(()) };
        // The beta annotation is an answer too; the empty name is one as well.
        let chosen = claim.annotation(CLASS_ANNOTATION).is_some() || claim.has(&["spec", "storageClassName"]);
        if !chosen && let Some(class) = self.default_class() {
            claim.set_at(&["spec", "storageClassName"], class);
        }
        Ok(())
    }
}

/// Keeps volumes, claims and attribute classes until nothing uses them.
pub struct StorageObjectInUseProtection;

impl StorageObjectInUseProtection {
    pub const NAME: &str = "StorageObjectInUseProtection";
}

fn finalizer(kind: &Kind) -> Option<&'static str> {
    if is(kind, &resources::PERSISTENT_VOLUMES) {
        Some("kubernetes.io/pv-protection")
    } else if is(kind, &resources::PERSISTENT_VOLUME_CLAIMS) {
        Some("kubernetes.io/pvc-protection")
    } else if is(kind, &ATTRIBUTES_CLASSES) {
        Some("kubernetes.io/vac-protection")
    } else {
        None
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && finalizer(kind).is_some()
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let (Some(finalizer), Some(object)) = (finalizer(request.kind), request.object.as_deref_mut()) else {
            return Ok(());
        };
        let mut finalizers = object.finalizers();
        if !finalizers.iter().any(|f| f == finalizer) {
            finalizers.push(finalizer.to_owned());
            object.set_at(&["metadata", "finalizers"], finalizers);
        }
        Ok(())
    }
}

/// Lets claims grow where they are bound and their class says that its volumes can.
pub struct PersistentVolumeClaimResize {
    reader: Arc<dyn ObjectReader>,
}

impl PersistentVolumeClaimResize {
    pub const NAME: &str = "PersistentVolumeClaimResize";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    fn may_expand(&self, new: &Document, old: &Document) -> bool {
        let name = class(new);
        if name.is_empty() || name != class(old) {
            return false;
        }
        let found = self.reader.get(&STORAGE_CLASSES, "", name);
        let found = found.and_then(|o| o.typed::<StorageClass>().ok());
        found.and_then(|class| class.allow_volume_expansion).unwrap_or(false)
    }
}

fn class(claim: &Document) -> &str {
    let field = || claim.str_at(&["spec", "storageClassName"]);
    claim.annotation(CLASS_ANNOTATION).or_else(field).unwrap_or_default()
}

fn size(claim: &Document) -> Quantity {
    let amount = claim.str_at(&["spec", "resources", "requests", "storage"]);
    amount.and_then(|q| q.parse().ok()).unwrap_or_default()
}

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Update
            && subresource.is_empty()
            && is(kind, &resources::PERSISTENT_VOLUME_CLAIMS)
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else { return Ok(()) };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != Some("Bound") {
            return Err(forbidden(request, "Only bound persistent volume claims can be expanded"));
        }
        if self.may_expand(new, old) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
                   must support resize";
        Err(forbidden(request, why))
    }
}
