//! The port every daemon has: health, metrics, version, configuration.

use crate::health::{Answer, Checks};
use crate::serving::{Peer, ServeOptions, serve};
use crate::tls::TlsSource;
use crate::{metrics, version};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What an [`Authorize`] decides on.
pub struct Ask {
    pub method: Method,
    pub path: String,
    pub headers: http::HeaderMap,
    pub peer: Option<Peer>,
}

/// The verdict on a request to a path outside the always-allowed ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// 401: nobody we know.
    Unauthenticated,
    /// 403: known, but may not.
    Forbidden,
}

type Deciding = Pin<Box<dyn Future<Output = Verdict> + Send>>;

/// Authenticates and authorizes; upstream delegates both to the apiserver.
pub type Authorize = Arc<dyn Fn(Ask) -> Deciding + Send + Sync>;

/// The answer of a [`Ops::tree`].
pub struct Reply {
    pub code: u16,
    /// Its content type.
    pub kind: &'static str,
    pub body: Vec<u8>,
}

type Replying = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Tree = Arc<dyn Fn(String) -> Replying + Send + Sync>;

type Page = Arc<dyn Fn() -> (&'static str, Vec<u8>) + Send + Sync>;

/// The handler of the port. `/healthz`, `/livez` and `/readyz` are open to everyone, as upstream's
/// `--authorization-always-allow-paths` has it; everything else asks [`Authorize`], and is refused where
/// there is none.
#[derive(Clone, Default)]
pub struct Ops {
    pub healthz: Checks,
    pub livez: Checks,
    pub readyz: Checks,
    authorize: Option<Authorize>,
    pages: HashMap<String, Page>,
    trees: Vec<(String, Tree)>,
}

impl Ops {
    /// With the ping check on all three paths and the metrics and version pages.
    pub fn new() -> Self {
        metrics::init();
        Self {
            healthz: Checks::with_ping(),
            livez: Checks::with_ping(),
            readyz: Checks::with_ping(),
            authorize: None,
            pages: HashMap::new(),
            trees: Vec::new(),
        }
        .page("/metrics", || (metrics::CONTENT_TYPE, metrics::page()))
        .page("/version", || ("application/json", serde_json::to_vec(&version::info()).unwrap_or_default()))
    }

    #[must_use]
    pub fn authorized_by(mut self, authorize: Authorize) -> Self {
        self.authorize = Some(authorize);
        self
    }

    /// Adds a page, such as `/configz`: its content type and body.
    #[must_use]
    pub fn page(
        mut self,
        path: &str,
        body: impl Fn() -> (&'static str, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        self.pages.insert(path.into(), Arc::new(body));
        self
    }

    /// Adds a path with all below it, such as `/debug`; the answer depends on the rest of the path, which is
    /// empty or begins with a slash.
    #[must_use]
    pub fn tree<F>(mut self, path: &str, answer: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Reply> + Send + 'static,
    {
        self.trees.push((path.into(), Arc::new(move |rest| Box::pin(answer(rest)))));
        self
    }

    /// The tree a path is in, and the rest of the path.
    fn below(&self, path: &str) -> Option<(&Tree, String)> {
        self.trees.iter().find_map(|(root, tree)| {
            let rest = path.strip_prefix(root.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| (tree, rest.to_owned()))
        })
    }

    pub async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path().to_owned();
        if let Some(answer) = self.health(&path, parts.uri.query().unwrap_or("")) {
            return text(answer.code, "text/plain; charset=utf-8", answer.body.into_bytes());
        }
        let (page, below) = (self.pages.get(&path), self.below(&path));
        if page.is_none() && below.is_none() {
            return text(404, "text/plain; charset=utf-8", b"404 page not found\n".to_vec());
        }
        let verdict = match &self.authorize {
            None => Verdict::Forbidden,
            Some(authorize) => {
                let peer = parts.extensions.get::<Peer>().cloned();
                authorize(Ask { method: parts.method, path: path.clone(), headers: parts.headers, peer })
                    .await
            }
        };
        match verdict {
            Verdict::Unauthenticated => text(401, "text/plain; charset=utf-8", b"Unauthorized\n".to_vec()),
            Verdict::Forbidden => text(
                403,
                "text/plain; charset=utf-8",
                format!("Forbidden: cannot get path \"{path}\"\n").into_bytes(),
            ),
            Verdict::Allowed => match (page, below) {
                (Some(page), _) => {
                    let (kind, body) = page();
                    text(200, kind, body)
                }
                (None, Some((tree, rest))) => {
                    let reply = tree(rest).await;
                    text(reply.code, reply.kind, reply.body)
                }
                (None, None) => text(404, "text/plain; charset=utf-8", b"404 page not found\n".to_vec()),
            },
        }
    }

    fn health(&self, path: &str, query: &str) -> Option<Answer> {
        let (root, one) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.strip_prefix('/')?, ""));
        let checks = match root {
            "healthz" => &self.healthz,
            "livez" => &self.livez,
            "readyz" => &self.readyz,
            _ => return None,
        };
        if one.is_empty() { Some(checks.answer(root, query)) } else { checks.answer_one(one) }
    }

    /// Serves until `stop`.
    pub async fn serve(self, listener: TcpListener, tls: Option<Arc<TlsSource>>, stop: CancellationToken) {
        let ops = Arc::new(self);
        serve(listener, tls, ServeOptions::default(), stop, move |request| {
            let ops = ops.clone();
            async move { ops.handle(request).await }
        })
        .await;
    }
}

fn text(code: u16, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    headers.insert("X-Content-Type-Options", http::HeaderValue::from_static("nosniff"));
    response
}
