//! The connection of one process to the API: requests and watches, with what goes wrong on the way.

use crate::actor::Actor;
use crate::api::{Answered, Api, Asked};
use crate::faults::{Delivery, Fate, Weather};
use crate::mutations::{Mutation, Planted};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use gantry_types::Status;
use gantry_types::scheme::Kind;
use gantry_watch_cache::{Encoder, WatchEvent, Watcher, bookmark_frame};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
type Frames = UnsyncBoxBody<Bytes, Failure>;

/// Whether a process still runs. What it sends after its death reaches nobody, and nobody answers it.
#[derive(Clone)]
pub struct Life(Arc<AtomicBool>);

impl Default for Life {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Life {
    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Never returns to the dead.
    async fn still(&self) {
        if !self.0.load(Ordering::Relaxed) {
            std::future::pending::<Infallible>().await;
        }
    }
}

/// One identity of one process. Cheap to clone.
#[derive(Clone)]
pub struct Wire {
    pub api: Arc<Api>,
    pub name: Arc<str>,
    pub life: Life,
    pub weather: Weather,
    pub mutation: Option<Mutation>,
}

impl Wire {
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.clone(), "default")
    }

    /// The same process under another name.
    pub fn named(&self, name: &str) -> Self {
        Self { name: name.into(), ..self.clone() }
    }

    /// Sends a request as it is; planted bugs apply, faults of the network do not.
    pub async fn send(&self, asked: Asked) -> Answered {
        let actor = Actor::of(&self.name, &asked);
        self.send_as(actor, asked).await
    }

    async fn send_as(&self, actor: Actor, asked: Asked) -> Answered {
        let planted = match self.mutation {
            Some(mutation) => mutation.plant(&actor, asked, &self.api),
            None => Planted::Ask(vec![asked]),
        };
        let requests = match planted {
            Planted::Pretend(answer) => return answer,
            Planted::Ask(requests) => requests,
        };
        let mut first = None;
        for asked in &requests {
            let answer = self.api.handle(actor.clone(), asked).await;
            if let Some(mutation) = self.mutation {
                mutation.follow_up(&actor, asked, &answer, &self.api);
            }
            first.get_or_insert(answer);
        }
        let answer = first.unwrap_or(Answered::Whole(500, Bytes::new()));
        match self.mutation {
            Some(mutation) => mutation.answer(&actor, answer),
            None => answer,
        }
    }

    async fn exchange(self, request: Request<Body>) -> Result<Response<Frames>, Failure> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let asked = Asked {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            media: media.unwrap_or("application/json").to_owned(),
            body,
        };
        let write = matches!(asked.method, Method::PUT | Method::PATCH);
        if asked.path.ends_with("/events") || asked.path.contains("/events/") {
            // Reports nobody reads must not take part in what happens.
            return Ok(whole(201, asked.body));
        }
        self.life.still().await;
        tokio::time::sleep(self.weather.latency()).await;
        self.life.still().await;
        let fate = self.weather.fate(write);
        match fate {
            Fate::Refused(code) => {
                let (reason, why) = match code {
                    409 => (
                        "Conflict",
                        "the object has been modified; please apply your changes to the latest version and try again",
                    ),
                    429 => ("TooManyRequests", "too many requests"),
                    _ => ("InternalError", "the server is in trouble"),
                };
                return Ok(whole(code, Status::failure(code, reason, why).to_json().into()));
            }
            Fate::Lost => return Err("connection lost".into()),
            Fate::Served | Fate::Unanswered => {}
        }
        let actor = Actor { unanswered: fate == Fate::Unanswered, ..Actor::of(&self.name, &asked) };
        let answered = self.send_as(actor, asked).await;
        self.life.still().await;
        if fate == Fate::Unanswered {
            return Err("connection lost".into());
        }
        match answered {
            Answered::Whole(code, body) => {
                tokio::time::sleep(self.weather.latency()).await;
                self.life.still().await;
                Ok(whole(code, body))
            }
            Answered::Watch(watcher, kind) => Ok(self.stream(watcher, kind)),
        }
    }

    fn stream(self, watcher: Box<Watcher>, kind: &'static Kind) -> Response<Frames> {
        let watching = Watching { wire: self, watcher, kind, ready: VecDeque::new(), ended: false };
        let frames = stream::unfold(watching, |mut watching| async move {
            let frame = watching.next().await?;
            Some((frame.map(http_body::Frame::data), watching))
        });
        let body = BodyExt::boxed_unsync(StreamBody::new(frames));
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::OK;
        response
    }
}

fn whole(code: u16, body: Bytes) -> Response<Frames> {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::OK);
    response
}

impl tower::Service<Request<Body>> for Wire {
    type Response = Response<Frames>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}

/// A watch on its way to a process.
struct Watching {
    wire: Wire,
    watcher: Box<Watcher>,
    kind: &'static Kind,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            self.wire.life.still().await;
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            if self.ended {
                return None;
            }
            let event = self.watcher.next().await?;
            let initial = matches!(&event, WatchEvent::Bookmark { initial_events_end: true, .. });
            if self.wire.mutation.is_some_and(|m| m.loses(&self.wire.name, self.kind, &event)) {
                continue;
            }
            let frame = match &event {
                WatchEvent::Change(change) => change.frame(&Encoder::json(1)),
                WatchEvent::Bookmark { revision, initial_events_end } => {
                    bookmark_frame(&self.kind.api_version(), self.kind.kind, *revision, *initial_events_end)
                }
                WatchEvent::Error(status) => error_frame(status),
            };
            let delivery = if initial {
                Delivery::After(self.wire.weather.latency())
            } else {
                self.wire.weather.delivery()
            };
            match delivery {
                Delivery::Cut => return None,
                Delivery::Expired => {
                    self.ended = true;
                    let gone = Status::expired("too old resource version");
                    self.ready.push_back(error_frame(&gone));
                }
                Delivery::After(wait) => {
                    tokio::time::sleep(wait).await;
                    self.ready.push_back(frame);
                }
                Delivery::Twice(wait) => {
                    tokio::time::sleep(wait).await;
                    self.ready.extend([frame.clone(), frame]);
                }
            }
        }
    }
}

fn error_frame(status: &Status) -> Bytes {
    let mut frame = br#"{"type":"ERROR","object":"#.to_vec();
    frame.extend_from_slice(&status.to_json());
    frame.extend_from_slice(b"}\n");
    frame.into()
}
