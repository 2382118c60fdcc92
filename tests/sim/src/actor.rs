//! Who makes a write, and what they meant to write to: known to the witness of the store.

use crate::api::Asked;
use gantry_types::Document;
use http::Method;
use std::sync::Arc;

tokio::task_local! {
    /// Whose request is being served.
    pub static ACTOR: Actor;
}

/// The one behind a request.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A controller's service account, `scheduler`, `kubelet`, `user`.
    pub name: Arc<str>,
    pub intent: Arc<Intent>,
    /// Whether they will never hear what came of it.
    pub unanswered: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verb {
    #[default]
    Other,
    Create,
    Update,
    Patch,
    Delete,
    Evict,
    Bind,
}

/// What a request says it is about, as its sender wrote it.
#[derive(Clone, Debug, Default)]
pub struct Intent {
    pub verb: Verb,
    pub resource: String,
    pub namespace: String,
    pub name: String,
    /// The identity the sender requires.
    pub uid: Option<String>,
    /// The revision the sender requires.
    pub revision: Option<String>,
}

impl Actor {
    /// The actor of a request as it leaves its sender.
    pub fn of(name: &Arc<str>, asked: &Asked) -> Self {
        let place = asked.place();
        let verb = match (&asked.method, place.subresource.as_str()) {
            (&Method::POST, "binding") => Verb::Bind,
            (&Method::POST, "eviction") => Verb::Evict,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, _) => Verb::Update,
            (&Method::PATCH, _) => Verb::Patch,
            (&Method::DELETE, _) => Verb::Delete,
            _ => Verb::Other,
        };
        let at: &[&str] = match verb {
            Verb::Delete => &["preconditions"],
            Verb::Evict => &["deleteOptions", "preconditions"],
            _ => &["metadata"],
        };
        let body = if verb == Verb::Other { None } else { Document::from_json(&asked.body).ok() };
        let text = |field: &str| {
            let path: Vec<&str> = at.iter().copied().chain([field]).collect();
            body.as_ref()?.str_at(&path).filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let intent = Intent {
            verb,
            uid: text("uid"),
            revision: text("resourceVersion"),
            resource: place.resource,
            namespace: place.namespace,
            name: place.name,
        };
        Self { name: name.clone(), intent: Arc::new(intent), unanswered: false }
    }
}
