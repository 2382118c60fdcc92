//! `DefaultStorageClass` and `StorageObjectInUseProtection`.

use crate::{is, resources};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{GroupResource, StatusResult};
use k8s_openapi::api::storage::v1::StorageClass;
use std::cmp::Reverse;
use std::sync::Arc;

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
        let chosen = claim.annotation("volume.beta.kubernetes.io/storage-class").is_some()
            || claim.has(&["spec", "storageClassName"]);
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
