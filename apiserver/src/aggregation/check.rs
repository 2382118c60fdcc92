//! Looking at a remote APIService: does it answer, what does it serve, and what its status says of it.

use super::backend::{self, Backend, authority};
use super::discovery::{self, Found};
use super::{Key, Route, proxy};
use crate::assemble::Server;
use bytes::Bytes;
use gantry_aggregate::availability::{Address, Finding, conditions};
use gantry_aggregate::{backing, is_available};
use gantry_registry::generic::Request;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_stream::upgrade;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition,
};
use gantry_types::{Document, Status, StatusResult, UserInfo};
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Full, Limited};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often an APIService is looked at when nothing happens.
const RECHECK: Duration = Duration::from_secs(30);
/// How long the first repetition after a failure waits; each further one twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
/// How many endpoints are asked at a time.
const ATTEMPTS: usize = 5;
/// The largest document taken from a backend.
const LIMIT: usize = 16 << 20;

fn aggregator() -> UserInfo {
    UserInfo {
        name: "system:kube-aggregator".into(),
        groups: vec!["system:masters".into()],
        ..UserInfo::default()
    }
}

/// Looks until the APIService is gone.
pub(super) async fn keep(server: Weak<Server>, key: Key, wake: Arc<Notify>, gone: CancellationToken) {
    let looking = async {
        // Before the caches have loaded, everything seems to be missing.
        let Some(caches) = server.upgrade().map(|s| s.caches.clone()) else { return };
        caches.ready().await;
        drop(caches);
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(held) = server.upgrade() else { return };
            let Some(route) = held.aggregation.route(&key) else { return };
            let sound = look(&held, &route).await;
            drop((held, route));
            let wait = if sound { RECHECK } else { pause };
            pause = if sound { FIRST_PAUSE } else { (pause * 2).min(RECHECK) };
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    };
    tokio::select! {
        () = looking => {}
        () = gone.cancelled() => {}
    }
}

/// Looks once; false where it is worth looking again soon.
async fn look(server: &Server, route: &Route) -> bool {
    let found = match backend::checked(server, &route.service) {
        Err(finding) => Err(finding),
        Ok(addresses) => ask(route, &addresses).await.map_err(Finding::failed),
    };
    let known = match &found {
        Ok(found) => {
            let news = route.watched.known.lock().is_news(&found.resources);
            let openapi = match news {
                true => discovery::openapi(route, &found.address).await,
                false => None,
            };
            route.watched.known.lock().learn(&found.resources, openapi)
        }
        Err(_) => route.watched.known.lock().lose(),
    };
    if known {
        discovery::publish(server);
    }
    // What passes for absent is waited for; what fails is tried again.
    let retry = matches!(&found, Err(finding) if finding.reason == "FailedDiscoveryCheck");
    let finding = found.map_or_else(|finding| finding, |_| Finding::passed());
    let name = route.service.metadata.name.as_deref().unwrap_or_default();
    match write(server, name, &finding).await {
        Ok(()) => !retry,
        Err(error) => {
            tracing::warn!(name, %error, "cannot write the status of an APIService");
            false
        }
    }
}

/// The discovery document of the group version, from the first endpoint that gives it.
async fn ask(route: &Route, addresses: &[Address]) -> Result<Found, String> {
    let path = discovery::path(&route.service);
    let asking = addresses.iter().take(ATTEMPTS).map(|address| {
        let path = &path;
        Box::pin(async move {
            let body = get(&route.backend, address, path).await?;
            Ok(Found { address: address.clone(), resources: body })
        })
    });
    match futures::future::select_ok(asking).await {
        Ok((found, _)) => Ok(found),
        Err(error) => Err(error),
    }
}

/// Gets a document as the aggregator itself.
pub(super) async fn get(backend: &Backend, address: &Address, path: &str) -> Result<Bytes, String> {
    let place = authority(address);
    let url = format!("https://{place}{path}");
    let exchange = async {
        let io = backend.connect(address).await.map_err(|why| format!("Get \"{url}\": {why}"))?;
        let mut request = http::Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = path.parse().map_err(|e| format!("{e}"))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(&place).map_err(|e| e.to_string())?);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        proxy::identify(headers, &aggregator());
        let answer = upgrade::send(io, request).await.map_err(|e| format!("Get \"{url}\": {e}"))?;
        let code = answer.status().as_u16();
        if !(200..300).contains(&code) {
            return Err(format!("bad status from {url}: {code}"));
        }
        let body = Limited::new(answer.into_body(), LIMIT).collect().await;
        body.map(|b| b.to_bytes()).map_err(|e| format!("Get \"{url}\": {e}"))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(why)) => Err(format!("failing or missing response from {url}: {why}")),
        Err(_) => Err(format!("timed out waiting for {url}")),
    }
}

fn news(service: &APIService, finding: &Finding, now: Timestamp) -> Option<Vec<APIServiceCondition>> {
    let fits = backing(service).is_none() == (*finding == Finding::local());
    if fits { conditions(service, finding, now) } else { None }
}

/// Says of an APIService that has become local that it is.
pub(super) async fn localize(server: Weak<Server>, name: String) {
    let Some(server) = server.upgrade() else { return };
    if let Err(error) = write(&server, &name, &Finding::local()).await {
        tracing::warn!(name, %error, "cannot write the status of an APIService");
    }
}

/// Writes the condition, where it says something new of an APIService that is still of that sort.
async fn write(server: &Server, name: &str, finding: &Finding) -> StatusResult<()> {
    let Some(endpoint) = server.registry.get("apiregistration.k8s.io", "v1", "apiservices") else {
        return Err(Status::no_such_path());
    };
    let present = endpoint.cache.get("", name, "").await?;
    let now = Timestamp::now();
    let current: Option<APIService> = present.and_then(|o| o.typed().ok());
    let Some(current) = current.filter(|service| news(service, finding, now).is_some()) else {
        return Ok(());
    };
    let options = WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() };
    let user = UserInfo::system_apiserver();
    let mut rq = Request {
        user: &user,
        namespace: "",
        name,
        subresource: "status",
        options: &options,
        now,
        warnings: Vec::new(),
    };
    let transform = |old: Option<&Document>| {
        let mut object = old.cloned().unwrap_or_default();
        let service: APIService = object.to_typed().map_err(Status::internal)?;
        if let Some(all) = news(&service, finding, now) {
            object.set_at(&["status", "conditions"], all);
        }
        Ok(Wanted::from(object))
    };
    match endpoint.update(&mut rq, false, &transform).await {
        Err(error) if error.reason() == "NotFound" => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            if is_available(&current) && !finding.available {
                server.metrics.became_unavailable.with_label_values(&[name, finding.reason]).inc();
            }
            Ok(())
        }
    }
}
