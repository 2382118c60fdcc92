//! OpenAPI v2 and v3 documents of what is served, and discovery: pure functions from the scheme, the schemas
//! and whatever custom resources and aggregated APIs add, to bytes and entity tags.
//!
//! Owns no task and no channel. The only state is a table of entity tags; documents are built when asked for
//! and kept by nobody, so an idle server holds none of them. Refuses prose: descriptions are left out.

pub mod discovery;
mod paths;
mod proto;
mod schemas;
pub mod v2;
pub mod v3;

use bytes::Bytes;
use sha2::{Digest, Sha512};

/// A document ready to be served.
#[derive(Clone, Debug)]
pub struct Document {
    pub body: Bytes,
    /// The content of the `ETag` header, without its quotes.
    pub etag: String,
    pub content_type: &'static str,
}

impl Document {
    pub(crate) fn new(body: Vec<u8>, content_type: &'static str) -> Self {
        let etag = etag(&body);
        Self { body: body.into(), etag, content_type }
    }
}

/// The entity tag of a document: SHA-512 in upper-case hexadecimal, as upstream's.
pub fn etag(body: &[u8]) -> String {
    Sha512::digest(body).iter().map(|b| format!("{b:02X}")).collect()
}

/// Which generation of OpenAPI to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    V2,
    V3,
}

impl Style {
    fn reference(self, definition: &str) -> serde_json::Value {
        let prefix = match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        };
        serde_json::json!({ "$ref": format!("{prefix}{definition}") })
    }
}
