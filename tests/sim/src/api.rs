//! The API of a simulation: requests in, the real registry's pipeline, answers out. No transport, no identity.

use crate::actor::{ACTOR, Actor};
use crate::store::MemoryStore;
use bytes::{BufMut, Bytes, BytesMut};
use gantry_admission::{DefaultTolerationSeconds, NamespaceLifecycle, Priority};
use gantry_machinery::selector::{FieldSelector, Selector};
use gantry_registry::admission::Chain;
use gantry_registry::generic::options::{DeleteOptions, WriteOptions};
use gantry_registry::generic::patch::PatchKind;
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Registry, Request, resource_configs, scale};
use gantry_registry::kinds::strategy_with;
use gantry_types::scheme::{self, Kind};
use gantry_types::{Document, Object, Status, StatusResult, UserInfo};
use gantry_watch_cache::{Caches, Filter, ListOptions, Settings, WatchOptions, Watcher};
use http::Method;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What is served, and whether the garbage and namespace collectors are told of it.
const SERVED: &[(&str, &str, bool)] = &[
    ("", "ConfigMap", true),
    ("", "Namespace", true),
    ("", "Node", true),
    ("", "PersistentVolume", false),
    ("", "PersistentVolumeClaim", true),
    ("", "Pod", true),
    ("", "ReplicationController", false),
    ("", "Service", false),
    ("apps", "ControllerRevision", true),
    ("apps", "DaemonSet", true),
    ("apps", "Deployment", true),
    ("apps", "ReplicaSet", true),
    ("apps", "StatefulSet", true),
    ("batch", "Job", true),
    ("coordination.k8s.io", "Lease", false),
    ("policy", "PodDisruptionBudget", true),
    ("storage.k8s.io", "CSIDriver", false),
    ("storage.k8s.io", "CSINode", false),
    ("storage.k8s.io", "CSIStorageCapacity", false),
    ("storage.k8s.io", "StorageClass", false),
    ("storage.k8s.io", "VolumeAttachment", false),
];

/// Pods stand the loss of their node this long where they do not say.
const TOLERATION: i64 = 20;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    /// Of the body.
    pub media: String,
    pub body: Bytes,
}

impl Asked {
    pub fn new(method: Method, path: impl Into<String>, media: &str, body: impl Into<Bytes>) -> Self {
        Self { method, path: path.into(), query: String::new(), media: media.into(), body: body.into() }
    }

    /// A write of JSON.
    pub fn json(method: Method, path: impl Into<String>, body: impl ToString) -> Self {
        Self::new(method, path, "application/json", body.to_string().into_bytes())
    }

    pub fn place(&self) -> Place {
        Place::parse(&self.path)
    }
}

/// One answer.
pub enum Answered {
    Whole(u16, Bytes),
    Watch(Box<Watcher>, &'static Kind),
}

/// What a path names. Empty where a part is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
}

impl Place {
    fn parse(path: &str) -> Self {
        let mut parts = path.trim_matches('/').split('/').map(str::to_owned);
        let mut place = Self::default();
        if parts.next().as_deref() == Some("apis") {
            place.group = parts.next().unwrap_or_default();
        }
        place.version = parts.next().unwrap_or_default();
        let mut rest: Vec<String> = parts.collect();
        let own = rest.get(2).is_none_or(|sub| matches!(sub.as_str(), "status" | "finalize"));
        if rest.first().is_some_and(|r| r == "namespaces") && !own {
            place.namespace = rest[1].clone();
            rest.drain(..2);
        }
        let mut rest = rest.into_iter();
        place.resource = rest.next().unwrap_or_default();
        place.name = rest.next().unwrap_or_default();
        place.subresource = rest.next().unwrap_or_default();
        place
    }
}

pub struct Api {
    registry: Registry,
    pub store: Arc<MemoryStore>,
    user: UserInfo,
    discovery: [Bytes; 2],
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn query(text: &str, key: &str) -> String {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(k, _)| *k == key).map(|(_, v)| unescape(v)).unwrap_or_default()
}

fn discovery(core: bool) -> Bytes {
    let mut groups: Vec<&str> = SERVED.iter().map(|(g, ..)| *g).filter(|g| g.is_empty() == core).collect();
    groups.dedup();
    let items: Vec<String> = groups.into_iter().map(group).collect();
    format!(
        r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{{}},"items":[{}]}}"#,
        items.join(",")
    )
    .into()
}

fn group(group: &str) -> String {
    let told = SERVED.iter().filter(|(g, _, told)| *g == group && *told);
    let kinds = told.filter_map(|(_, name, _)| {
        scheme::KINDS.iter().find(|k| k.group == group && k.kind == *name && k.version == "v1")
    });
    let resources: Vec<String> = kinds
        .map(|k| {
            let scope = if k.namespaced() { "Namespaced" } else { "Cluster" };
            let verbs = r#"["create","delete","deletecollection","get","list","patch","update","watch"]"#;
            format!(
                r#"{{"resource":"{}","responseKind":{{"group":"{group}","version":"v1","kind":"{}"}},"scope":"{scope}","verbs":{verbs}}}"#,
                k.plural, k.kind
            )
        })
        .collect();
    format!(
        r#"{{"metadata":{{"name":"{group}"}},"versions":[{{"version":"v1","freshness":"Current","resources":[{}]}}]}}"#,
        resources.join(",")
    )
}

impl Api {
    /// Needs a runtime around it: the caches feed themselves.
    pub fn new(store: Arc<MemoryStore>) -> Self {
        let served = |kind: &Kind| SERVED.iter().any(|(g, k, _)| *g == kind.group && *k == kind.kind);
        let strategy_of = move |kind: &Kind| {
            let current = served(kind) && kind.version == "v1";
            current.then(|| strategy_with(kind, Duration::from_secs(3600))).flatten()
        };
        let caches = Caches::start(store.clone(), Settings::default(), resource_configs(&strategy_of));
        let registry = Registry::new(store.clone(), caches.clone(), &strategy_of);
        registry.set_admission(Chain::new(vec![
            Box::new(NamespaceLifecycle::new(caches.clone())),
            Box::new(Priority::new(caches.clone())),
            Box::new(DefaultTolerationSeconds::new(TOLERATION, TOLERATION)),
        ]));
        let discovery = [discovery(true), discovery(false)];
        Self { registry, store, user: UserInfo::system_apiserver(), discovery }
    }

    /// Serves one request on behalf of `actor`.
    pub async fn handle(&self, actor: Actor, asked: &Asked) -> Answered {
        let name = actor.name.clone();
        match ACTOR.scope(actor, self.serve(&name, asked)).await {
            Ok(answered) => answered,
            Err(status) => Answered::Whole(status.code(), status.to_json().into()),
        }
    }

    /// [`Api::handle`] for those who want the bytes of an object, or the refusal.
    ///
    /// # Errors
    /// The status.
    pub async fn ask(&self, actor: Actor, asked: &Asked) -> Result<Bytes, (u16, String)> {
        match self.handle(actor, asked).await {
            Answered::Whole(code, body) if code < 300 => Ok(body),
            Answered::Whole(code, body) => Err((code, String::from_utf8_lossy(&body).into_owned())),
            Answered::Watch(..) => Err((400, "a watch".into())),
        }
    }

    async fn serve(&self, actor: &str, asked: &Asked) -> StatusResult<Answered> {
        match asked.path.as_str() {
            "/api" => return Ok(Answered::Whole(200, self.discovery[0].clone())),
            "/apis" => return Ok(Answered::Whole(200, self.discovery[1].clone())),
            _ => {}
        }
        let place = asked.place();
        if place.resource == "events" {
            // Heard by nobody.
            return Ok(Answered::Whole(201, asked.body.clone()));
        }
        let endpoint = self.registry.get(&place.group, &place.version, &place.resource);
        let endpoint = endpoint.ok_or_else(Status::no_such_path)?;
        let named = !place.name.is_empty();
        match asked.method {
            Method::GET if named => Self::get(endpoint, &place).await,
            Method::GET if query(&asked.query, "watch") == "true" => {
                Self::watch(endpoint, &place, asked).await
            }
            Method::GET => Self::list(endpoint, &place, asked).await,
            Method::DELETE if !named => self.delete_all(endpoint, &place, asked, actor).await,
            _ => self.write(endpoint, &place, asked, actor).await,
        }
    }

    fn filter(endpoint: &Endpoint, place: &Place, asked: &Asked) -> StatusResult<Filter> {
        let bad = |e: gantry_machinery::selector::SelectorError| Status::bad_request(e.0);
        let mut filter = Filter::all((!place.namespace.is_empty()).then_some(place.namespace.as_str()));
        let labels = Selector::parse(&query(&asked.query, "labelSelector")).map_err(bad)?;
        let fields = FieldSelector::parse(&query(&asked.query, "fieldSelector")).map_err(bad)?;
        fields.check(endpoint.strategy.field_names()).map_err(bad)?;
        if !labels.is_everything() || !fields.is_everything() {
            filter.predicate = Some(Arc::new(move |object: &Object| {
                labels.matches(&object.meta().labels) && fields.matches(|name| object.field(name))
            }));
        }
        Ok(filter)
    }

    async fn get(endpoint: &Arc<Endpoint>, place: &Place) -> StatusResult<Answered> {
        let found = endpoint.cache.get(&place.namespace, &place.name, "").await?;
        let object = found.ok_or_else(|| Status::not_found(&endpoint.kind.group_resource(), &place.name))?;
        let object = if place.subresource == "scale" { scale::scale_object(&object)? } else { object };
        Ok(Answered::Whole(200, object.body().clone()))
    }

    async fn list(endpoint: &Arc<Endpoint>, place: &Place, asked: &Asked) -> StatusResult<Answered> {
        let filter = Self::filter(endpoint, place, asked)?;
        let page = endpoint.cache.list(&ListOptions { filter, ..ListOptions::default() }).await?;
        let mut out = BytesMut::new();
        let (kind, revision) = (endpoint.kind, page.revision);
        let head = format!(
            r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{revision}"}},"items":["#,
            kind.list_kind(),
            kind.api_version()
        );
        out.put_slice(head.as_bytes());
        for (n, object) in page.items.iter().enumerate() {
            if n > 0 {
                out.put_u8(b',');
            }
            out.put_slice(object.body());
        }
        out.put_slice(b"]}");
        Ok(Answered::Whole(200, out.freeze()))
    }

    async fn watch(endpoint: &Arc<Endpoint>, place: &Place, asked: &Asked) -> StatusResult<Answered> {
        let initial = query(&asked.query, "sendInitialEvents");
        let timeout = query(&asked.query, "timeoutSeconds").parse().unwrap_or(300);
        let options = WatchOptions {
            filter: Self::filter(endpoint, place, asked)?,
            resource_version: query(&asked.query, "resourceVersion"),
            send_initial_events: (!initial.is_empty()).then_some(initial == "true"),
            bookmarks: query(&asked.query, "allowWatchBookmarks") == "true",
            timeout: Some(Duration::from_secs(timeout)),
        };
        Ok(Answered::Watch(Box::new(endpoint.cache.watch(options).await?), endpoint.kind))
    }

    fn request<'a>(&'a self, place: &'a Place, options: &'a WriteOptions) -> Request<'a> {
        Request {
            user: &self.user,
            namespace: &place.namespace,
            name: &place.name,
            subresource: &place.subresource,
            options,
            now: Timestamp::now(),
            warnings: Vec::new(),
        }
    }

    async fn delete_all(
        &self,
        endpoint: &Arc<Endpoint>,
        place: &Place,
        asked: &Asked,
        actor: &str,
    ) -> StatusResult<Answered> {
        let options = delete_options(&asked.body)?;
        let write = WriteOptions { default_manager: actor.to_owned(), ..WriteOptions::default() };
        let filter = Self::filter(endpoint, place, asked)?;
        let page = endpoint.cache.list(&ListOptions { filter, ..ListOptions::default() }).await?;
        for object in &page.items {
            let mut rq = self.request(place, &write);
            (rq.namespace, rq.name) = (object.namespace(), object.name());
            match endpoint.delete(&mut rq, &options).await {
                Err(status) if !status.is_not_found() => return Err(status),
                _ => {}
            }
        }
        Ok(Answered::Whole(200, Bytes::from_static(b"{}")))
    }

    async fn write(
        &self,
        endpoint: &Arc<Endpoint>,
        place: &Place,
        asked: &Asked,
        actor: &str,
    ) -> StatusResult<Answered> {
        let options = WriteOptions { default_manager: actor.to_owned(), ..WriteOptions::default() };
        let mut rq = self.request(place, &options);
        let read = || Document::from_json(&asked.body).map_err(|e| Status::bad_request(e.to_string()));
        let object = match (&asked.method, place.subresource.as_str()) {
            (&Method::POST, "binding") => {
                let binding = read()?.to_typed().map_err(|e| Status::bad_request(e.to_string()))?;
                endpoint.bind(&rq, &binding).await?;
                return Ok(Answered::Whole(201, success()));
            }
            (&Method::POST, "eviction") => {
                let delete = read()?.get_at(&["deleteOptions"]).unwrap_or_default();
                let budgets = self.registry.get("policy", "v1", "poddisruptionbudgets");
                let budgets = budgets.ok_or_else(Status::no_such_path)?;
                endpoint.evict(&mut rq, &delete, budgets).await?;
                return Ok(Answered::Whole(201, success()));
            }
            (&Method::POST, _) => {
                let created = endpoint.create(&mut rq, typed(endpoint.kind, read()?)).await?;
                return Ok(Answered::Whole(201, created.body().clone()));
            }
            (&Method::PUT, "finalize") => endpoint.finalize_namespace(&mut rq, read()?).await?.object,
            (&Method::PUT, _) => {
                let wanted = typed(endpoint.kind, read()?);
                endpoint.update(&mut rq, false, &move |_| Ok(Wanted::from(wanted.clone()))).await?.object
            }
            (&Method::PATCH, _) => {
                let kind = PatchKind::parse(&asked.media);
                let kind = kind.ok_or_else(|| Status::unsupported_media_type(&*asked.media))?;
                endpoint.patch(&mut rq, kind, &asked.body).await?.object
            }
            (&Method::DELETE, _) => {
                let deleted = endpoint.delete(&mut rq, &delete_options(&asked.body)?).await?;
                let body = deleted.object.map(|o| o.body().clone());
                return Ok(Answered::Whole(200, body.unwrap_or_else(success)));
            }
            _ => return Err(Status::failure(405, "MethodNotAllowed", "no such method")),
        };
        Ok(Answered::Whole(200, object.body().clone()))
    }
}

fn success() -> Bytes {
    Bytes::from_static(br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success"}"#)
}

fn typed(kind: &Kind, mut object: Document) -> Document {
    object.set_type(&kind.api_version(), kind.kind);
    object
}

fn delete_options(body: &[u8]) -> StatusResult<DeleteOptions> {
    if body.is_empty() {
        return Ok(DeleteOptions::default());
    }
    serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: [&str; 5]) {
        let p = Place::parse(path);
        let got = [&p.group, &p.namespace, &p.resource, &p.name, &p.subresource].map(String::as_str);
        assert_eq!(got, expected, "{path}");
    }

    #[test]
    fn paths_are_read_as_the_api_has_them() {
        check("/api/v1/pods", ["", "", "pods", "", ""]);
        check("/api/v1/namespaces/a/pods/p/status", ["", "a", "pods", "p", "status"]);
        check("/api/v1/namespaces/a", ["", "", "namespaces", "a", ""]);
        check("/api/v1/namespaces/a/finalize", ["", "", "namespaces", "a", "finalize"]);
        check("/apis/apps/v1/namespaces/a/deployments", ["apps", "a", "deployments", "", ""]);
        assert_eq!(query("watch=true&fieldSelector=a%21%3Db", "fieldSelector"), "a!=b");
    }
}
