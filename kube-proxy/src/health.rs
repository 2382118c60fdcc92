//! The node's proxy health, and the health check ports of Services with local traffic policy.

use bytes::Bytes;
use gantry_daemon::serving::{self, ServeOptions};
use gantry_kube_proxy_core::ServiceMap;
use http::Response;
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Whether rules are in place, and since when they are not.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    synced: bool,
    failing: bool,
    /// Service (namespace, name) and its ready local endpoints, by health check port.
    services: HashMap<u16, (String, String, usize)>,
}

impl Health {
    pub fn synced(&self) {
        let mut state = self.0.lock();
        (state.synced, state.failing) = (true, false);
    }

    pub fn failing(&self) {
        self.0.lock().failing = true;
    }

    fn ok(&self) -> bool {
        let state = self.0.lock();
        state.synced && !state.failing
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        respond(self.ok(), &json!({"lastUpdated": now, "currentTime": now, "nodeEligible": true}).to_string())
    }

    fn answer_service(&self, port: u16) -> Response<Full<Bytes>> {
        let (namespace, name, local) = self.0.lock().services.get(&port).cloned().unwrap_or_default();
        let body = json!({
            "service": {"namespace": namespace, "name": name},
            "localEndpoints": local,
            "serviceProxyHealthy": self.ok(),
        });
        respond(local > 0 && self.ok(), &body.to_string())
    }
}

fn respond(ok: bool, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    if !ok {
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers.insert("X-Content-Type-Options", http::HeaderValue::from_static("nosniff"));
    response
}

/// Serves `/healthz` and `/livez` until `stop`.
pub async fn serve(health: Health, address: SocketAddr, stop: CancellationToken) -> std::io::Result<()> {
    let listener = serving::bind(address).await?;
    serving::serve(listener, None, ServeOptions::default(), stop, move |_| {
        let health = health.clone();
        async move { health.answer() }
    })
    .await;
    Ok(())
}

/// One server a health check port; ports come and go with their Services.
#[derive(Default)]
pub struct ServiceServers(HashMap<u16, CancellationToken>);

impl ServiceServers {
    pub fn update(&mut self, map: &ServiceMap, health: &Health, stop: &CancellationToken) {
        let wanted: HashMap<u16, (String, String, usize)> = map
            .iter()
            .filter(|(_, p)| p.health_check_node_port != 0)
            .map(|(n, p)| (p.health_check_node_port, (n.namespace.clone(), n.name.clone(), p.local_ready)))
            .collect();
        self.0.retain(|port, server| {
            let keep = wanted.contains_key(port);
            if !keep {
                server.cancel();
            }
            keep
        });
        for port in wanted.keys().copied().filter(|p| !self.0.contains_key(p)).collect::<Vec<_>>() {
            let (token, health) = (stop.child_token(), health.clone());
            self.0.insert(port, token.clone());
            tokio::spawn(async move {
                match serving::bind(SocketAddr::from(([0, 0, 0, 0], port))).await {
                    Ok(listener) => {
                        serving::serve(listener, None, ServeOptions::default(), token, move |_| {
                            let health = health.clone();
                            async move { health.answer_service(port) }
                        })
                        .await;
                    }
                    Err(e) => tracing::warn!("health check node port {port} cannot be served: {e}"),
                }
            });
        }
        health.0.lock().services = wanted;
    }
}
