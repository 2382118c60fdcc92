//! The types every Gantry crate shares.
//!
//! Owns: names of kinds and resources ([`gvk`]), the one table of kinds ([`scheme`]), the stored object
//! ([`object::Object`]) and the object being worked on ([`document::Document`]), field paths and field errors
//! in upstream's words ([`field`]), [`status::Status`] errors, identities ([`user`]), and small value types.
//!
//! Refuses: IO, clocks, randomness that is not handed in, and knowledge of any single kind beyond its row in
//! the scheme. `serde_json::Value` may appear here and in `gantry-machinery`, nowhere above.

pub mod document;
pub mod field;
pub mod gvk;
pub mod json;
pub mod names;
pub mod object;
pub mod quantity;
pub mod reader;
pub mod scheme;
pub mod status;
pub mod time;
pub mod user;

pub use document::Document;
pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind};
pub use object::{Meta, Object, Revision};
pub use status::{Status, StatusResult};
pub use user::UserInfo;

/// The Kubernetes API types of the one served version, re-exported so that the version is chosen once.
pub use k8s_openapi;
