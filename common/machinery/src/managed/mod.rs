//! Field ownership and server-side apply.
//!
//! [`update`] keeps `metadata.managedFields` right through creates, updates and patches; [`apply`] merges an
//! applied object into the live one, finds conflicts and drops what the applier no longer states. Both follow
//! upstream's structured merge: list types, map keys, atomic places, sets, and anything untyped.
//!
//! Objects come in the version of the request. Entries written in other versions are compared through
//! [`Versions`]; time is an argument.

mod apply;
mod check;
mod compare;
mod element;
mod entries;
mod merge;
mod set;
#[cfg(test)]
mod tests;
mod update;
mod walk;

pub use apply::apply;
pub use check::{check, print_errors};
pub use compare::{Comparison, compare, compare_plain, field_set};
pub use element::{Element, compare_values, same_value};
pub use entries::{Entry, Operation, Owner, decode, encode};
pub use merge::{merge, remove};
pub use set::{Path, Set, print_path};
pub use update::{keep_times, manager_name, update};

use crate::schema::Schema;
use gantry_types::k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

/// The annotation `kubectl apply` keeps its last input in.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How many `Update` entries an object may have.
pub const MAX_UPDATERS: usize = 10;

/// Objects in other versions of their kind, for entries that were written in those.
pub trait Versions {
    /// The object in another version, and that version's schema; `None` where the version is not served any
    /// more, which drops the entry.
    fn convert<'s>(
        &'s self,
        object: &Map<String, Value>,
        api_version: &str,
    ) -> Option<(Map<String, Value>, Schema<'s>)>;
}

/// For kinds with one version.
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert<'s>(&'s self, _: &Map<String, Value>, _: &str) -> Option<(Map<String, Value>, Schema<'s>)> {
        None
    }
}

/// What one request is about.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    pub schema: Schema<'r>,
    /// The request's version, as in `apiVersion`.
    pub api_version: &'r str,
    /// Empty on the main resource.
    pub subresource: &'r str,
    /// From [`manager_name`]; empty becomes `unknown`.
    pub manager: &'r str,
    pub now: Timestamp,
    /// Dotted paths that requests to this endpoint never come to own (`status` on the main resource).
    pub reset_fields: &'r [&'r str],
    pub versions: &'r (dyn Versions + Sync),
}

/// Paths nobody owns.
pub(crate) const STRIPPED: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];
