//! What the server tells about itself: discovery, OpenAPI and the keys of its tokens.

use crate::cx::Cx;
use crate::http::negotiate::{Accepted, Media};
use crate::http::respond::{self, Answer};
use crate::resources::wrong_method;
use bytes::Bytes;
use gantry_auth::token::Discovery as TokenKeys;
use gantry_openapi::discovery::{self, Aggregated, Group};
use gantry_openapi::{Document, v2, v3};
use gantry_types::StatusResult;
use http::{HeaderValue, Method, Response, StatusCode, header};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Documents about what is served. Discovery is small and made anew; of OpenAPI only entity tags are kept.
pub struct Published {
    pub tokens: Option<TokenKeys>,
    /// What this server serves itself.
    local: Vec<Group>,
    shown: RwLock<Arc<Shown>>,
    server_address: String,
    v3_etags: OnceLock<BTreeMap<String, String>>,
    v2_etags: [OnceLock<String>; 2],
}

/// What clients are shown: local and remote groups, in order.
struct Shown {
    groups: Vec<Group>,
    /// The entity tags of remote OpenAPI documents by their key.
    remote_tags: BTreeMap<String, String>,
}

impl Published {
    /// `server_address` is the host and port clients are told to use.
    pub fn new(tokens: Option<TokenKeys>, server_address: String) -> Self {
        let local = discovery::builtin_groups();
        let shown = Shown { groups: local.clone(), remote_tags: BTreeMap::new() };
        Self {
            tokens,
            local,
            shown: RwLock::new(Arc::new(shown)),
            server_address,
            v3_etags: OnceLock::new(),
            v2_etags: Default::default(),
        }
    }

    /// Replaces what is shown: groups made from the local ones, and tags of remote OpenAPI documents.
    pub fn show(&self, merge: impl FnOnce(&[Group]) -> Vec<Group>, remote_tags: BTreeMap<String, String>) {
        *self.shown.write() = Arc::new(Shown { groups: merge(&self.local), remote_tags });
    }

    fn shown(&self) -> Arc<Shown> {
        self.shown.read().clone()
    }

    /// The groups there are with their versions, remote ones included.
    pub fn group_versions(&self) -> Vec<(String, Vec<String>)> {
        let versions = |g: &Group| g.versions.iter().map(|v| v.name.to_string()).collect();
        self.shown().groups.iter().map(|g| (g.name.to_string(), versions(g))).collect()
    }

    /// The answer, where the path is one of discovery's or OpenAPI's.
    ///
    /// # Errors
    /// 405 for anything but reads.
    pub fn answer(&self, cx: &Cx) -> StatusResult<Option<Answer>> {
        let path = cx.path.trim_end_matches('/');
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let answer = match parts.as_slice() {
            ["api"] => self.root(cx, true),
            ["apis"] => self.root(cx, false),
            ["api", version] => self.version(cx, "", version),
            ["apis", group] => self.group(cx, group),
            ["apis", group, version] => self.version(cx, group, version),
            ["openapi", "v2"] => Some(Ok(self.openapi_v2(cx))),
            ["openapi", "v3"] => Some(Ok(tagged(cx, self.openapi_index()))),
            ["openapi", "v3", "api", version] => self.openapi_v3(cx, "", version).map(Ok),
            ["openapi", "v3", "apis", group, version] => self.openapi_v3(cx, group, version).map(Ok),
            _ => None,
        };
        match answer {
            Some(_) if !matches!(cx.method, Method::GET | Method::HEAD) => Err(wrong_method()),
            other => other.transpose(),
        }
    }

    fn group(&self, cx: &Cx, name: &str) -> Option<StatusResult<Answer>> {
        let shown = self.shown();
        let group = shown.groups.iter().find(|g| g.name == name && !name.is_empty())?;
        Some(plain(cx, discovery::api_group(group)))
    }

    fn openapi_index(&self) -> Document {
        let shown = self.shown();
        if shown.remote_tags.is_empty() {
            return v3::index(self.v3_etags());
        }
        let mut tags = self.v3_etags().clone();
        tags.extend(shown.remote_tags.clone());
        v3::index(&tags)
    }

    fn root(&self, cx: &Cx, legacy: bool) -> Option<StatusResult<Answer>> {
        let accept = cx.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let form = accept.split(',').find_map(|range| Aggregated::parse(range.trim()));
        let document = match (form, legacy) {
            (Some(form), _) => {
                let mut answer = tagged(cx, discovery::aggregated(&self.shown().groups, form, legacy));
                let headers = answer.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
                return Some(Ok(answer));
            }
            (None, true) => discovery::api_versions(&self.server_address),
            (None, false) => discovery::api_group_list(&self.shown().groups),
        };
        Some(plain(cx, document))
    }

    fn version(&self, cx: &Cx, group: &str, version: &str) -> Option<StatusResult<Answer>> {
        let group = self.local.iter().find(|g| g.name == group)?;
        let version = group.versions.iter().find(|v| v.name == version)?;
        Some(plain(cx, discovery::api_resource_list(&group.name, version)))
    }

    fn v3_etags(&self) -> &BTreeMap<String, String> {
        self.v3_etags.get_or_init(|| v3::etags(&self.local))
    }

    fn openapi_v2(&self, cx: &Cx) -> Answer {
        let accept = cx.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let protobuf = accept.split(',').any(|range| v2::accepts_protobuf(range.trim()));
        let known = &self.v2_etags[usize::from(protobuf)];
        if let Some(etag) = known.get().filter(|etag| has_tag(cx, etag)) {
            return unchanged(etag);
        }
        let custom = Default::default();
        let document =
            if protobuf { v2::protobuf(&self.local, &custom) } else { v2::json(&self.local, &custom) };
        known.get_or_init(|| document.etag.clone());
        tagged(cx, document)
    }

    fn openapi_v3(&self, cx: &Cx, group: &str, version: &str) -> Option<Answer> {
        let (group, version) = {
            let group = self.local.iter().find(|g| g.name == group)?;
            (group, group.versions.iter().find(|v| v.name == version)?)
        };
        let key = v3::key(&group.name, &version.name);
        let etag = self.v3_etags().get(&key)?;
        let hash = cx.query.text("hash");
        if !hash.is_empty() && hash != etag {
            let mut moved = Response::new(Default::default());
            *moved.status_mut() = StatusCode::MOVED_PERMANENTLY;
            if let Ok(place) = HeaderValue::from_str(&format!("/openapi/v3/{key}?hash={etag}")) {
                moved.headers_mut().insert(header::LOCATION, place);
            }
            return Some(moved);
        }
        let mut answer =
            if has_tag(cx, etag) { unchanged(etag) } else { tagged(cx, v3::document(&group.name, version)) };
        if !hash.is_empty() {
            let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
            answer.headers_mut().insert(header::CACHE_CONTROL, forever);
        }
        Some(answer)
    }
}

/// A small document in the accepted form.
fn plain(cx: &Cx, document: Document) -> StatusResult<Answer> {
    let accepted = cx.accepted(false)?;
    // Discovery as protobuf has no schema here; JSON is what its clients fall back to.
    let media = if accepted.media == Media::Protobuf { Media::Json } else { accepted.media };
    respond::object(200, &document.body, Accepted { media, ..accepted }, cx.accepts_gzip())
}

fn has_tag(cx: &Cx, etag: &str) -> bool {
    let tags = cx.headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    tags.split(',').any(|tag| tag.trim().trim_start_matches("W/").trim_matches('"') == etag)
}

fn tag_headers(answer: &mut Answer, etag: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        answer.headers_mut().insert(header::ETAG, value);
    }
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
}

fn unchanged(etag: &str) -> Answer {
    let mut answer = Response::new(Default::default());
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    tag_headers(&mut answer, etag);
    answer
}

/// A document with its entity tag; 304 for who has it already.
fn tagged(cx: &Cx, document: Document) -> Answer {
    if has_tag(cx, &document.etag) {
        return unchanged(&document.etag);
    }
    let pretty = cx.pretty() && document.content_type.starts_with("application/json;g=");
    let body: Bytes = if pretty { crate::http::json::indent(&document.body).into() } else { document.body };
    let accepted = Accepted::default();
    let mut answer = match respond::object(200, &body, accepted, cx.accepts_gzip()) {
        Ok(answer) => answer,
        Err(_) => respond::bytes(200, document.content_type, body),
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(document.content_type));
    tag_headers(&mut answer, &document.etag);
    answer
}
