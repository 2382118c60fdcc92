//! One request: let in, led to what serves it.

use crate::answer::{self, Answer};
use crate::auth::Gate;
use crate::query::Query;
use crate::route::{Route, Target, route};
use crate::stats::{Collector, Extent};
use crate::{exposition, logs, pods, streams};
use gantry_kubelet_cri::view::NodeView;
use gantry_kubelet_host::facts;
use http::Request;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;

pub struct Server {
    pub view: Arc<dyn NodeView>,
    pub gate: Gate,
    pub collector: Collector,
    /// What `/configz` answers.
    pub configz: Vec<u8>,
}

impl Server {
    pub async fn handle(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        if let Err(answer) = self.gate.check(&parts, Instant::now()).await {
            return *answer;
        }
        let request = Request::from_parts(parts, body);
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let view = &*self.view;
        match route(request.method(), request.uri().path()) {
            Route::Health => answer::text(200, "ok"),
            Route::Pods => answer::json(pods::list(&view.pods())),
            Route::RunningPods => match pods::running(&*view.runtime()).await {
                Ok(found) => answer::json(pods::list(&found)),
                Err(error) => answer::text(500, error.to_string()),
            },
            Route::Logs(target) => self.logs(&target, &query).await,
            Route::Run(target) => streams::run(view, &target, &query).await,
            Route::Exec(target) => {
                let command = query.all("command");
                streams::command(view, &target, &query, Some(command), request).await
            }
            Route::Attach(target) => streams::command(view, &target, &query, None, request).await,
            Route::PortForward(target) => streams::port_forward(view, &target, &query, request).await,
            Route::Summary => match self.collector.summary(view, extent(&query)).await {
                Ok(summary) => match serde_json::to_vec(&summary) {
                    Ok(body) => answer::json(body),
                    Err(error) => answer::text(500, error.to_string()),
                },
                Err(error) => answer::text(500, error.to_string()),
            },
            Route::Metrics => answer::metrics(gantry_daemon::metrics::page()),
            Route::Resource => {
                let summary = self.collector.summary(view, Extent::CpuAndMemory).await;
                answer::metrics(exposition::resource(summary.ok().as_ref()))
            }
            Route::Cadvisor => match self.collector.summary(view, Extent::All).await {
                Ok(summary) => {
                    let memory = facts::meminfo("MemTotal").unwrap_or_default();
                    answer::metrics(exposition::cadvisor(&summary, facts::cpus(), memory))
                }
                Err(error) => answer::text(500, error.to_string()),
            },
            Route::Probes => answer::metrics(probes()),
            Route::Config => answer::json(self.configz.clone()),
            Route::NotFound => answer::text(404, "404: Page Not Found"),
            Route::WrongMethod => answer::text(405, "405: Method Not Allowed"),
        }
    }

    async fn logs(&self, target: &Target, query: &Query) -> Answer {
        let options = match logs::Options::parse(query, Timestamp::now()) {
            Ok(options) => options,
            Err(bad @ logs::Bad::Decode) => return answer::text(400, bad.to_string()),
            Err(bad @ logs::Bad::Invalid) => return answer::text(422, bad.to_string()),
        };
        let (name, wanted) = (&target.pod, &target.container);
        let Some(pod) = self.view.pod(&target.namespace, name, None) else {
            return answer::text(404, format!("pod {name:?} does not exist"));
        };
        if !has_container(&pod, wanted) {
            return answer::text(404, format!("container {wanted:?} not found in pod {name:?}"));
        }
        let id = match logs::instance(&pod, wanted, options.previous) {
            Ok(id) => id,
            Err(why) => return answer::text(400, why),
        };
        let path = match self.view.runtime().container_status(&id).await {
            Ok(status) => status.log_path,
            Err(error) => {
                tracing::debug!(%error, id, "no status of a container");
                let runtime = logs::status(&pod, wanted)
                    .and_then(|c| c.container_id.as_deref()?.split_once("://"))
                    .map_or("containerd", |(scheme, _)| scheme);
                let why = format!("unable to retrieve container logs for {runtime}://{id}");
                return answer::text(400, why);
            }
        };
        let (view, target) = (self.view.clone(), target.clone());
        let running = Box::new(move || {
            view.pod(&target.namespace, &target.pod, None).is_some_and(|pod| {
                logs::status(&pod, &target.container).is_some_and(|c| {
                    c.container_id.as_deref().is_some_and(|own| own.ends_with(&id))
                        && c.state.as_ref().is_some_and(|s| s.running.is_some())
                })
            })
        });
        match logs::stream(logs::Source { path: path.into(), running }, options).await {
            Ok(body) => {
                let mut answer = answer::text(200, "");
                *answer.body_mut() = body;
                answer
            }
            Err(why) => answer::text(400, why),
        }
    }
}

/// What a request for the summary asks of it.
fn extent(query: &Query) -> Extent {
    match query.is_true("only_cpu_and_memory") {
        true => Extent::CpuAndMemory,
        false => Extent::All,
    }
}

fn has_container(pod: &Pod, name: &str) -> bool {
    pod.spec.as_ref().is_some_and(|s| {
        s.containers.iter().any(|c| c.name == name)
            || s.init_containers.iter().flatten().any(|c| c.name == name)
            || s.ephemeral_containers.iter().flatten().any(|c| c.name == name)
    })
}

/// The families of probe results among all.
fn probes() -> Vec<u8> {
    use prometheus::Encoder;
    let families: Vec<_> =
        prometheus::gather().into_iter().filter(|f| f.name().starts_with("prober_")).collect();
    let mut out = Vec::new();
    if let Err(error) = prometheus::TextEncoder::new().encode(&families, &mut out) {
        tracing::warn!(%error, "cannot encode a metric");
    }
    out
}
