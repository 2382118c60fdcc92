//! Answering requests.

use crate::book::Book;
use crate::discovery;
use crate::form::{self, Item};
use crate::gate::Gate;
use crate::kinds::{Node, Pod};
use crate::query::Options;
use crate::route::{GROUP, Route, asked, route};
use bytes::Bytes;
use gantry_client::{Informer, Key};
use gantry_daemon::ops::Ops;
use gantry_daemon::serving::Peer;
use gantry_types::gvk::GroupResource;
use gantry_types::{Status, StatusResult};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use jiff::Timestamp;
use parking_lot::RwLock;
use std::sync::Arc;

type Answer = Response<Full<Bytes>>;

const JSON: &str = "application/json";
const NODES: GroupResource = GroupResource::new("", "nodes");
const PODS: GroupResource = GroupResource::new("", "pods");
/// As metrics-server names them in refusals.
const NODE_METRICS: GroupResource = GroupResource::new(GROUP, "nodemetrics");
const POD_METRICS: GroupResource = GroupResource::new(GROUP, "podmetrics");

pub struct Server {
    pub gate: Arc<Gate>,
    pub book: Arc<RwLock<Book>>,
    pub nodes: Informer<Node>,
    pub pods: Informer<Pod>,
    pub ops: Ops,
}

/// The form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Object,
    /// With its `apiVersion`.
    Table(&'static str),
}

/// The first form a client takes that there is; the order of its ranges is that of its wishes.
fn accepted(headers: &HeaderMap) -> StatusResult<Form> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let form = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(parts.next()?, JSON | "*/*" | "application/*" | "") {
            return None;
        }
        let parameters: Vec<&str> = parts.collect();
        let of = |key: &str| parameters.iter().find_map(|p| p.strip_prefix(key)?.strip_prefix('='));
        match (of("as"), of("g"), of("v")) {
            (None, ..) => Some(Form::Object),
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Form::Table("meta.k8s.io/v1")),
            (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => Some(Form::Table("meta.k8s.io/v1beta1")),
            _ => None,
        }
    };
    accept.split(',').find_map(form).ok_or_else(|| {
        Status::not_acceptable("only the following media types are accepted: application/json")
    })
}

fn answer(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn not_found() -> Answer {
    answer(404, "text/plain; charset=utf-8", "404 page not found\n")
}

impl Server {
    /// Serves one request.
    pub async fn handle(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        // Health for everyone, metrics and version for those allowed.
        if ["/healthz", "/livez", "/readyz", "/metrics", "/version"].iter().any(|p| path.starts_with(p)) {
            return self.ops.handle(request).await;
        }
        self.respond(&request).await.unwrap_or_else(|status| answer(status.code(), JSON, status.to_json()))
    }

    async fn respond(&self, request: &Request<Incoming>) -> StatusResult<Answer> {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        let user = self.gate.user(request.extensions().get::<Peer>(), headers).await?;
        let found = route(path);
        let options = Options::parse(request.uri().query().unwrap_or_default());
        // Whoever may not ask is not told that the question was wrong.
        let (watch, single) = match &options {
            Ok(o) => (o.watch, o.fields.exact("metadata.name")),
            Err(_) => (false, None),
        };
        self.gate.pass(&user, &asked(method, path, &found, watch, single)).await?;
        if found == Route::Nothing {
            return Ok(not_found());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Status::method_not_supported(&GroupResource::new(GROUP, ""), method.as_str()));
        }
        let now = Timestamp::now();
        match found {
            Route::Nothing => Ok(not_found()),
            Route::Page(page) => {
                let document = discovery::page(page, headers);
                Ok(answer(200, document.content_type, document.body))
            }
            Route::Nodes { name: Some(name) } => self.node(&name, headers, &options?, now),
            Route::Nodes { name: None } => self.nodes(headers, &options?, now),
            Route::Pods { namespace: Some(namespace), name: Some(name) } => {
                self.pod(&namespace, &name, headers, &options?, now)
            }
            Route::Pods { namespace, .. } => self.pods(namespace.as_deref(), headers, &options?, now),
        }
    }

    fn node(
        &self,
        name: &str,
        headers: &HeaderMap,
        options: &Options,
        now: Timestamp,
    ) -> StatusResult<Answer> {
        let form = accepted(headers)?;
        let node = self.nodes.store().get(&Key::new("", name));
        let node = node.ok_or_else(|| Status::not_found(&NODES, name))?;
        let usage = self.book.read().node(name).ok_or_else(|| Status::not_found(&NODE_METRICS, name))?;
        let item = Item::node(name, node.metadata.labels.as_ref(), &usage, now);
        Ok(one(form, item, options))
    }

    fn nodes(&self, headers: &HeaderMap, options: &Options, now: Timestamp) -> StatusResult<Answer> {
        let form = accepted(headers)?;
        refuse_watch(options, "nodes")?;
        let nodes = self.nodes.store().list();
        let book = self.book.read();
        let item = |node: &'_ Arc<Node>| {
            let usage = book.node(node.name())?;
            Some((node.clone(), usage))
        };
        let fits = |node: &&Arc<Node>| {
            options.labels.matches(&node.metadata.labels)
                && options.fields.matches(|f| (f == "metadata.name").then(|| node.name()))
        };
        let used: Vec<_> = nodes.iter().filter(fits).filter_map(item).collect();
        drop(book);
        let items: Vec<Item<'_>> = used
            .iter()
            .map(|(node, usage)| Item::node(node.name(), node.metadata.labels.as_ref(), usage, now))
            .collect();
        Ok(all(form, "NodeMetricsList", &items, options))
    }

    fn pod(
        &self,
        namespace: &str,
        name: &str,
        headers: &HeaderMap,
        options: &Options,
        now: Timestamp,
    ) -> StatusResult<Answer> {
        let form = accepted(headers)?;
        let key = Key::new(namespace, name);
        let pod = self.pods.store().get(&key).ok_or_else(|| Status::not_found(&PODS, name))?;
        let book = self.book.read();
        let usage = book.pod(&key).ok_or_else(|| Status::not_found(&POD_METRICS, key.as_str()))?;
        Ok(one(form, Item::pod(namespace, name, pod.metadata.labels.as_ref(), &usage, now), options))
    }

    fn pods(
        &self,
        namespace: Option<&str>,
        headers: &HeaderMap,
        options: &Options,
        now: Timestamp,
    ) -> StatusResult<Answer> {
        let form = accepted(headers)?;
        refuse_watch(options, "pods")?;
        let store = self.pods.store();
        let pods = match namespace {
            Some(namespace) => store.list_namespace(namespace),
            None => store.list(),
        };
        let mut pods: Vec<(Key, &Pod)> = pods.iter().map(|pod| (Key::of(&**pod), &**pod)).collect();
        // By namespace, then by name: keys are ordered as one text.
        pods.sort_by(|(a, _), (b, _)| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        let book = self.book.read();
        let item = |(key, pod): &'_ (Key, &'_ Pod)| {
            let field = |f: &str| match f {
                "metadata.name" => pod.metadata.name.as_deref(),
                "metadata.namespace" => pod.metadata.namespace.as_deref(),
                _ => None,
            };
            if !options.labels.matches(&pod.metadata.labels) || !options.fields.matches(field) {
                return None;
            }
            book.pod(key)
        };
        let used: Vec<_> = pods.iter().filter_map(|pod| Some((pod, item(pod)?))).collect();
        let items: Vec<Item<'_>> = used
            .iter()
            .map(|((key, pod), usage)| {
                Item::pod(key.namespace(), key.name(), pod.metadata.labels.as_ref(), usage, now)
            })
            .collect();
        Ok(all(form, "PodMetricsList", &items, options))
    }
}

fn refuse_watch(options: &Options, resource: &'static str) -> StatusResult<()> {
    if options.watch {
        return Err(Status::method_not_supported(&GroupResource::new(GROUP, resource), "watch"));
    }
    Ok(())
}

fn one(form: Form, item: Item<'_>, options: &Options) -> Answer {
    let body = match form {
        Form::Object => item.object(),
        Form::Table(version) => form::table(version, &[item], options.include),
    };
    answer(200, JSON, body)
}

fn all(form: Form, kind: &'static str, items: &[Item<'_>], options: &Options) -> Answer {
    let body = match form {
        Form::Object => form::list(kind, items),
        Form::Table(version) => form::table(version, items, options.include),
    };
    answer(200, JSON, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_negotiated() {
        let check = |accept: Option<&str>, want: Option<Form>| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let got = accepted(&headers);
            assert_eq!(got.as_ref().ok(), want.as_ref(), "{accept:?}");
            assert!(want.is_some() || got.is_err_and(|s| s.code() == 406));
        };
        check(None, Some(Form::Object));
        check(Some("application/vnd.kubernetes.protobuf, */*"), Some(Form::Object));
        check(Some("application/vnd.kubernetes.protobuf,application/json"), Some(Form::Object));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check(Some(table), Some(Form::Table("meta.k8s.io/v1")));
        check(
            Some("application/json;as=Table;g=meta.k8s.io;v=v1beta1"),
            Some(Form::Table("meta.k8s.io/v1beta1")),
        );
        check(Some("application/json; q=0.8"), Some(Form::Object));
        check(Some("application/vnd.kubernetes.protobuf"), None);
        check(Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), None);
    }
}
