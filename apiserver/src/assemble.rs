//! The server and its filter chain, on one screen.

use crate::aggregation::{self, Aggregation};
use crate::config::{Config, go_duration};
use crate::cx::Cx;
use crate::health::Health;
use crate::http::body::Body;
use crate::http::inflight::InFlight;
use crate::http::negotiate::{self, Accepted};
use crate::http::respond::{self, Answer};
use crate::http::serve::{Peer, Service};
use crate::kubelet::Backends;
use crate::metrics::Metrics;
use crate::tls::Tls;
use crate::{published::Published, resources, route};
use futures::FutureExt;
use gantry_auth::authorize::RuleResolver;
use gantry_auth::token::Issuer;
use gantry_auth::{Authenticated, Authenticator, Connection, impersonate};
use gantry_registry::generic::Registry;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::user::Decision;
use gantry_types::{Status, StatusResult};
use gantry_watch_cache::Caches;
use http::{HeaderName, HeaderValue, Method, Request, header};
use rustls_pki_types::CertificateDer;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// Everything requests are served with.
pub struct Server {
    pub config: Config,
    pub registry: Registry,
    pub caches: Arc<Caches>,
    pub authenticator: Authenticator,
    pub authorizer: Arc<dyn RuleResolver>,
    pub issuer: Issuer,
    pub backends: Backends,
    pub aggregation: Aggregation,
    pub published: Published,
    pub health: Health,
    pub metrics: Metrics,
    pub inflight: InFlight,
    pub tls: Tls,
}

impl Service for Server {
    fn connection(&self, chain: &[CertificateDer<'_>]) -> Connection {
        self.authenticator.connection(chain, Timestamp::now())
    }

    fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.current()
    }

    async fn call(self: Arc<Self>, request: Request<Body>) -> Answer {
        let (mut parts, body) = request.into_parts();
        let mut cx = Cx::new(&mut parts);
        let meter = self.metrics.begin(&cx);
        let outcome = AssertUnwindSafe(self.chain(&mut cx, Request::from_parts(parts, body)));
        let mut answer = match outcome.catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => refuse(&cx, &status),
            Err(_) => {
                tracing::error!(path = cx.path, "a request handler panicked");
                let why = "This request caused apiserver to panic. Look in the logs for details.";
                refuse(&cx, &Status::failure(500, "InternalError", why))
            }
        };
        finish(&cx, &mut answer);
        meter.end(&cx, &mut answer);
        answer
    }
}

impl Server {
    /// Who asks, as whom, may they, is there room, and is there time: then the request is served.
    async fn chain(self: &Arc<Self>, cx: &mut Cx, request: Request<Body>) -> StatusResult<Answer> {
        let authenticated = self.authenticate(cx, &request)?;
        let acting = if cx.headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
            let mut wanted = cx.attributes();
            wanted.user = (*authenticated.user).clone();
            impersonate::impersonate_for(&*self.authorizer, &authenticated, &cx.headers, Some(&wanted))?
        } else {
            None
        };
        cx.user = acting.unwrap_or(authenticated.user);
        gantry_auth::authenticate::strip_credentials(
            &mut cx.headers,
            self.authenticator.front_proxy.as_ref(),
        );
        impersonate::strip(&mut cx.headers);
        let long = cx.info.long_running();
        let timeout = self.timeout(cx)?;
        let deadline =
            async { if long { std::future::pending().await } else { tokio::time::sleep(timeout).await } };
        let served = async {
            let write = !matches!(cx.info.verb, "get" | "list" | "watch" | "head" | "options");
            let place = if long { None } else { self.inflight.enter(write).await };
            self.authorize(cx)?;
            let answer = if let Some(remote) = self.aggregation.route_of(cx) {
                aggregation::proxy::serve(self, cx, &remote, request).await
            } else if cx.info.is_resource && !cx.info.resource.is_empty() {
                resources::serve(self, cx, request).await
            } else {
                route::serve(self, cx)
            };
            drop(place);
            answer
        };
        tokio::select! {
            answer = served => answer,
            () = deadline => Err(Status::timeout("request did not complete within the allotted timeout", 0)),
        }
    }

    /// The request's `timeout` parameter within the server's own.
    fn timeout(&self, cx: &Cx) -> StatusResult<Duration> {
        let most = self.config.request_timeout;
        match cx.query.text("timeout") {
            "" => Ok(most),
            text => go_duration(text)
                .map(|asked| if asked.is_zero() { most } else { asked.min(most) })
                .ok_or_else(|| {
                    let quoted = gantry_types::field::go_quote(text);
                    Status::bad_request(format!(
                        "invalid timeout specified in the request URL - time: invalid duration {quoted}"
                    ))
                }),
        }
    }

    fn authenticate(&self, cx: &mut Cx, request: &Request<Body>) -> StatusResult<Authenticated> {
        let connection = request.extensions().get::<Peer>().map(|peer| peer.connection.clone());
        let connection = connection.unwrap_or_default();
        match self.authenticator.authenticate(&connection, &cx.headers, cx.now) {
            Ok(mut authenticated) => {
                cx.warnings.append(&mut authenticated.warnings);
                Ok(authenticated)
            }
            Err(why) => {
                tracing::debug!(%why, path = cx.path, "Unable to authenticate the request");
                Err(Status::unauthorized())
            }
        }
    }

    fn authorize(&self, cx: &Cx) -> StatusResult<()> {
        let attributes = cx.attributes();
        match self.authorizer.authorize(&attributes) {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { reason } | Decision::NoOpinion { reason } => {
                Err(gantry_auth::forbidden(&attributes, &reason))
            }
        }
    }
}

/// A refusal in the form the client accepts, or JSON.
fn refuse(cx: &Cx, status: &Status) -> Answer {
    let accept = cx.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let media = negotiate::accept(accept, true).map(|a| a.media).unwrap_or_default();
    let accepted = Accepted { media, pretty: cx.pretty(), ..Accepted::default() };
    respond::status(status, accepted)
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The headers every answer carries.
fn finish(cx: &Cx, answer: &mut Answer) {
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&cx.audit_id) {
        headers.insert(AUDIT_ID, id);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    let mut sent: Vec<&str> = Vec::new();
    for text in &cx.warnings {
        if !sent.contains(&text.as_str()) {
            sent.push(text);
            if let Some(value) = respond::warning_value(text) {
                headers.append(header::WARNING, value);
            }
        }
    }
    if cx.method == Method::HEAD {
        *answer.body_mut() = Body::Empty;
    }
}
