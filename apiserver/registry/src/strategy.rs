//! What a kind adds to the generic pipeline: its defaults, rules, selectable fields and table row.
//!
//! A kind implements [`Strategy`] on its typed form; the pipeline holds it as [`AnyStrategy`], which converts
//! once at its border. Everything a kind does not override is the plain behaviour of a Kubernetes object.

use gantry_types::field::ErrorList;
use gantry_types::k8s_openapi::Metadata;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Document, Status, StatusResult, UserInfo};
use serde::{Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// What a strategy may know about the request it serves.
pub struct Context<'a> {
    pub user: &'a UserInfo,
    pub now: Timestamp,
    pub dry_run: bool,
    /// Empty on the main resource, otherwise `status`, `resize`, ….
    pub subresource: &'a str,
}

/// One cell of a Table row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Int(i64),
    Bool(bool),
    Null,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<i32> for Cell {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}

/// How a deletion of this kind begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Gone at once unless finalizers hold it.
    Immediate,
    /// Marked with `deletionTimestamp` and kept for that many seconds, until its owner deletes it for good.
    Graceful { seconds: i64 },
}

/// The finalizers the garbage collector works by, as the default for a deletion without `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Orphan,
}

/// What a kind adds. All functions are pure.
pub trait Strategy: Send + Sync + 'static {
    type Kind: Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + Send;

    /// Sees to what the typed form cannot tell or would not take. Runs before [`Strategy::default`].
    ///
    /// # Errors
    /// `BadRequest` for what upstream's decoding refuses.
    fn read(&self, _object: &mut Document) -> StatusResult<()> {
        Ok(())
    }

    /// Functional defaults, after the schema's own: runs on every write and on objects read from the store
    /// that were written by an older version.
    fn default(&self, _object: &mut Self::Kind) {}

    /// What [`Strategy::default`] does when nothing but the status changed, without looking at the rest, which
    /// has its defaults. False: not known without the rest.
    fn default_status(&self, _object: &mut Document) -> bool {
        false
    }

    /// Clears what clients may not set (status on the main resource), sets what the server sets.
    fn prepare_create(&self, _cx: &Context<'_>, _object: &mut Self::Kind) {}

    /// Keeps what this endpoint may not change: the main resource keeps `status`, `/status` keeps the rest;
    /// `cx.subresource` tells which. The pipeline bumps `metadata.generation` when [`Strategy::spec_changed`].
    fn prepare_update(&self, _cx: &Context<'_>, _object: &mut Self::Kind, _old: &Self::Kind) {}

    fn validate_create(&self, cx: &Context<'_>, object: &Self::Kind) -> ErrorList;

    fn validate_update(&self, cx: &Context<'_>, object: &Self::Kind, old: &Self::Kind) -> ErrorList;

    /// Texts for `Warning` headers.
    fn warnings(&self, _cx: &Context<'_>, _object: &Self::Kind, _old: Option<&Self::Kind>) -> Vec<String> {
        Vec::new()
    }

    /// Whether the generation grows, on an update of the main resource. `None`: the kind has no generation.
    fn spec_changed(&self, _object: &Self::Kind, _old: &Self::Kind) -> Option<bool> {
        None
    }

    /// Whether an update without `resourceVersion` is taken as "whatever is there".
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// Whether a PUT to a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// `requested` is `gracePeriodSeconds` of the delete options.
    fn deletion(&self, _object: &Self::Kind, _requested: Option<i64>) -> Deletion {
        Deletion::Immediate
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }

    /// Said to a deletion that leaves what becomes of dependents to the default.
    fn propagation_warning(&self) -> Option<&'static str> {
        None
    }

    /// How long an object lives in the store; `None` for ever. Events use it.
    fn ttl(&self) -> Option<std::time::Duration> {
        None
    }

    /// Selectable fields beyond `metadata.name` and `metadata.namespace`, in a fixed order.
    fn fields(&self, _object: &Self::Kind) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names of the fields [`Strategy::fields`] yields, for refusing other field selectors.
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where in an object the fields are, for kinds whose names for them say it wrong.
    fn field_members(&self) -> &'static [&'static str] {
        self.field_names()
    }

    /// Fields that plain updates and applies through `subresource` never come to own, as dotted paths
    /// (`["status"]` on the main resource, `["spec"]` on `status`).
    fn reset_fields(&self, _subresource: &str) -> &'static [&'static str] {
        &[]
    }

    /// The cells of one Table row, in the order of the scheme's columns (wide ones included).
    fn row(&self, object: &Self::Kind, now: Timestamp) -> Vec<Cell>;

    /// `metadata.name` rules beyond "a path segment": the messages, empty when sound. `prefix` when the name
    /// is a `generateName`.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;
}

/// An object as a strategy leaves it, with what is wrong about it and what is worth a `Warning` header.
#[derive(Debug)]
pub struct Judged {
    pub object: Document,
    pub errors: ErrorList,
    pub warnings: Vec<String>,
}

/// A kind's strategy with its type erased, as the pipeline holds it.
pub trait AnyStrategy: Send + Sync + 'static {
    fn default(&self, object: Document) -> StatusResult<Document>;
    /// As [`Strategy::default_status`].
    fn default_status(&self, object: &mut Document) -> bool;
    /// Prepares, defaults and judges a new object, typed once for all three.
    fn create(&self, cx: &Context<'_>, object: Document) -> StatusResult<Judged>;
    /// The same for an object about to replace `old`.
    fn update(&self, cx: &Context<'_>, object: Document, old: &Document) -> StatusResult<Judged>;
    fn allow_unconditional_update(&self) -> bool;
    fn allow_create_on_update(&self) -> bool;
    fn deletion(&self, object: &Document, requested: Option<i64>) -> StatusResult<Deletion>;
    fn default_propagation(&self) -> Propagation;
    fn propagation_warning(&self) -> Option<&'static str>;
    fn ttl(&self) -> Option<std::time::Duration>;
    fn fields(&self, body: &[u8]) -> Vec<(&'static str, String)>;
    fn field_names(&self) -> &'static [&'static str];
    fn reset_fields(&self, subresource: &str) -> &'static [&'static str];
    fn row(&self, body: &[u8], now: Timestamp) -> Vec<Cell>;
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;
}

/// Erases a strategy's type.
pub fn erase<S: Strategy>(strategy: S) -> Arc<dyn AnyStrategy> {
    Arc::new(Erased(strategy))
}

struct Erased<S>(S);

fn typed<K: DeserializeOwned>(object: &Document) -> StatusResult<K> {
    object.to_typed().map_err(|e| Status::bad_request(e.to_string()))
}

fn untyped<K: Serialize>(object: &K) -> StatusResult<Document> {
    Document::from_typed(object).map_err(Status::internal)
}

/// Of a body, only the parts selectable fields are made from: runs on every change of every object, so the
/// rest is skipped unread. Takes in a section's members that begin like a wanted one (`status.podIP` is the
/// first of `podIPs`). `None` where a field is not a member of a section.
fn excerpt(body: &[u8], names: &[&str]) -> Option<String> {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (section, member) = name.split_once('.')?;
        wanted.entry(section).or_default().push(member);
    }
    let top: BTreeMap<&str, &RawValue> = serde_json::from_slice(body).ok()?;
    let mut out = String::from("{");
    for (section, members) in wanted {
        let Some(raw) = top.get(section) else { continue };
        let inside: BTreeMap<&str, &RawValue> = serde_json::from_str(raw.get()).ok()?;
        out.push_str(if out.len() > 1 { ",\"" } else { "\"" });
        out.push_str(section);
        out.push_str("\":{");
        let mut first = true;
        for (key, value) in inside.iter().filter(|(k, _)| members.iter().any(|m| k.starts_with(m))) {
            out.push_str(if std::mem::take(&mut first) { "\"" } else { ",\"" });
            out.push_str(key);
            out.push_str("\":");
            out.push_str(value.get());
        }
        out.push('}');
    }
    out.push('}');
    Some(out)
}

impl<S: Strategy> AnyStrategy for Erased<S> {
    fn default(&self, mut object: Document) -> StatusResult<Document> {
        self.0.read(&mut object)?;
        let mut kind = typed(&object)?;
        self.0.default(&mut kind);
        untyped(&kind)
    }

    fn default_status(&self, object: &mut Document) -> bool {
        self.0.default_status(object)
    }

    fn create(&self, cx: &Context<'_>, object: Document) -> StatusResult<Judged> {
        let mut kind = typed(&object)?;
        self.0.prepare_create(cx, &mut kind);
        self.0.default(&mut kind);
        Ok(Judged {
            errors: self.0.validate_create(cx, &kind),
            warnings: self.0.warnings(cx, &kind, None),
            object: untyped(&kind)?,
        })
    }

    fn update(&self, cx: &Context<'_>, object: Document, old: &Document) -> StatusResult<Judged> {
        let (mut kind, old) = (typed(&object)?, typed(old)?);
        self.0.prepare_update(cx, &mut kind, &old);
        self.0.default(&mut kind);
        if cx.subresource != "status" && self.0.spec_changed(&kind, &old) == Some(true) {
            let generation = &mut kind.metadata_mut().generation;
            *generation = Some(generation.unwrap_or(0) + 1);
        }
        Ok(Judged {
            errors: self.0.validate_update(cx, &kind, &old),
            warnings: self.0.warnings(cx, &kind, Some(&old)),
            object: untyped(&kind)?,
        })
    }

    fn allow_unconditional_update(&self) -> bool {
        self.0.allow_unconditional_update()
    }

    fn allow_create_on_update(&self) -> bool {
        self.0.allow_create_on_update()
    }

    fn deletion(&self, object: &Document, requested: Option<i64>) -> StatusResult<Deletion> {
        Ok(self.0.deletion(&typed(object)?, requested))
    }

    fn default_propagation(&self) -> Propagation {
        self.0.default_propagation()
    }

    fn propagation_warning(&self) -> Option<&'static str> {
        self.0.propagation_warning()
    }

    fn ttl(&self) -> Option<std::time::Duration> {
        self.0.ttl()
    }

    fn fields(&self, body: &[u8]) -> Vec<(&'static str, String)> {
        let members = self.0.field_members();
        if members.is_empty() {
            return Vec::new();
        }
        let kind = match excerpt(body, members) {
            Some(text) => serde_json::from_str(&text),
            None => serde_json::from_slice(body),
        };
        kind.map(|kind| self.0.fields(&kind)).unwrap_or_default()
    }

    fn field_names(&self) -> &'static [&'static str] {
        self.0.field_names()
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        self.0.reset_fields(subresource)
    }

    fn row(&self, body: &[u8], now: Timestamp) -> Vec<Cell> {
        serde_json::from_slice(body).map(|kind| self.0.row(&kind, now)).unwrap_or_default()
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        self.0.validate_name(name, prefix)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_selectable_parts_are_read() {
        let check = |names: &[&str], want: Option<&str>| {
            let body =
                br#"{"kind":"Pod","spec":{"a":[1],"nodeName":"n"},"status":{"podIPs":[{"ip":"i"}],"x":{}}}"#;
            assert_eq!(super::excerpt(body, names).as_deref(), want);
        };
        check(
            &["spec.nodeName", "status.podIP"],
            Some(r#"{"spec":{"nodeName":"n"},"status":{"podIPs":[{"ip":"i"}]}}"#),
        );
        check(&["spec.nodeName", "type"], None);
        check(&["other.x"], Some("{}"));
    }
}
