//! The stored form of an object: its metadata parsed once, beside one shared serialized body.

use bytes::Bytes;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A position in the store's history: grows with every write, never repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// Parses a `resourceVersion`; the empty string is 0 ("any").
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self(0)) } else { text.parse().ok().map(Self) }
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The metadata selectors, indexes and owners need; everything else stays in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub name: Box<str>,
    /// Empty for cluster-scoped objects.
    pub namespace: Box<str>,
    pub uid: Box<str>,
    pub labels: BTreeMap<Box<str>, Box<str>>,
    pub deleting: bool,
    /// Selectable fields beyond name and namespace (`spec.nodeName`), as the kind's strategy lists them.
    pub fields: Box<[(&'static str, Box<str>)]>,
}

/// An object as it is cached and served. Cloning is cheap; the body is never copied.
#[derive(Clone, Debug)]
pub struct Object(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    meta: Meta,
    revision: Revision,
    body: Bytes,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    metadata: HeadMeta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(default)]
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

impl Object {
    /// Wraps a serialized body that already carries `revision` as its `metadata.resourceVersion`.
    pub fn new(meta: Meta, revision: Revision, body: Bytes) -> Self {
        Self(Arc::new(Inner { meta, revision, body }))
    }

    /// Reads the metadata out of a JSON body, without building the rest. `fields` stays empty.
    ///
    /// # Errors
    /// Where the body is not a JSON object with sound metadata.
    pub fn parse_meta(body: &[u8]) -> Result<Meta, serde_json::Error> {
        let head: Head<'_> = serde_json::from_slice(body)?;
        let m = head.metadata;
        Ok(Meta {
            name: m.name.into(),
            namespace: m.namespace.into(),
            uid: m.uid.into(),
            labels: m.labels.unwrap_or_default(),
            deleting: m.deletion_timestamp.is_some(),
            fields: Box::default(),
        })
    }

    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    pub fn name(&self) -> &str {
        &self.0.meta.name
    }

    pub fn namespace(&self) -> &str {
        &self.0.meta.namespace
    }

    pub fn uid(&self) -> &str {
        &self.0.meta.uid
    }

    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// The JSON body in the storage version, `resourceVersion` included.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The object as a typed value.
    ///
    /// # Errors
    /// Where the body does not fit the type.
    pub fn typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0.body)
    }

    /// A selectable field: `metadata.name`, `metadata.namespace`, or one of the kind's own.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => self.0.meta.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| &**v),
        }
    }
}
