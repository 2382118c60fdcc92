//! What a resource brings to its cache: where it is stored and how a stored value becomes an object.

use bytes::Bytes;
use gantry_storage::KeyValue;
use gantry_types::{GroupResource, Meta, Object};
use std::sync::Arc;

/// A stored value, read: its metadata, and the JSON body in the storage version without `resourceVersion`.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// `fields` holds the kind's selectable fields.
    pub meta: Meta,
    pub body: Bytes,
}

/// Why a stored value cannot be served. The key stays known, so that it can be deleted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// Turns a stored value into an object's parts. Runs once per change, on the feed task.
pub type Decode = Arc<dyn Fn(&KeyValue) -> Result<Decoded, DecodeError> + Send + Sync>;

/// Turns a value in upstream's protobuf envelope (`k8s\0…`) into JSON.
pub type Convert = Arc<dyn Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync>;

/// One stored resource.
#[derive(Clone)]
pub struct ResourceConfig {
    pub resource: GroupResource,
    /// With the slash at the end: `/registry/pods/`.
    pub prefix: String,
    pub namespaced: bool,
    pub decode: Decode,
    /// Selectable fields worth an index, for lists and for waking watchers (`spec.nodeName`).
    pub indexed_fields: &'static [&'static str],
    /// Whether lists by a label's value use an index. Costs some 50 bytes per label of an object.
    pub index_labels: bool,
}

/// The usual [`Decode`]: JSON as it is, the protobuf envelope through `convert`, selectable fields by `fields`.
pub fn json_decoder(
    fields: impl Fn(&[u8]) -> Vec<(&'static str, String)> + Send + Sync + 'static,
    convert: Option<Convert>,
) -> Decode {
    Arc::new(move |kv| {
        let body = match (&convert, kv.value.starts_with(b"k8s\0")) {
            (_, false) => kv.value.clone(),
            (Some(convert), true) => Bytes::from(convert(&kv.value).map_err(DecodeError)?),
            (None, true) => return Err(DecodeError("protobuf is not supported for this resource".into())),
        };
        let mut meta = Object::parse_meta(&body).map_err(|e| DecodeError(e.to_string()))?;
        meta.fields = fields(&body).into_iter().map(|(k, v)| (k, v.into_boxed_str())).collect();
        Ok(Decoded { meta, body })
    })
}
