//! Putting it together: informers, the rounds, the port.

use crate::book::Book;
use crate::config::{Config, Flags};
use crate::gate::Gate;
use crate::kinds::{self, Node, Pod};
use crate::kubelets::Kubelets;
use crate::route::{Route, asked};
use crate::scrape::{Figures, Scraper};
use crate::serve::Server;
use crate::trust::{self, Trust};
use anyhow::Context;
use gantry_client::informer::Scope;
use gantry_client::{ClientConfig, Informer};
use gantry_daemon::ops::{Ask, Ops, Verdict};
use gantry_daemon::serving::{self, ServeOptions};
use gantry_daemon::tls::{Pem, TlsOptions, TlsSource};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let config = Config::resolve(flags)?;
    let stop = gantry_daemon::shutdown::install()?;
    let client = ClientConfig::from_flags(config.kubeconfig.as_deref(), None).await?;
    serve(config, client.user_agent("gantry-metrics"), stop).await
}

/// Serves until `stop`.
///
/// # Errors
/// Where certificates are no good or the port is taken.
pub async fn serve(config: Config, to: ClientConfig, stop: CancellationToken) -> anyhow::Result<()> {
    let client = to.build()?;
    let nodes: Informer<Node> = Informer::new(client.clone(), Scope::default());
    nodes.transform(|node| kinds::slim(&mut node.metadata));
    let running = Scope { field_selector: Some("status.phase=Running".into()), ..Scope::default() };
    let pods: Informer<Pod> = Informer::new(client.clone(), running);
    pods.transform(|pod| kinds::slim(&mut pod.metadata));
    let authentication = Scope {
        namespace: trust::NAMESPACE.into(),
        field_selector: Some(format!("metadata.name={}", trust::NAME)),
        ..Scope::default()
    };
    let trusted: Informer<ConfigMap> = Informer::new(client.clone(), authentication);
    let gate = Arc::new(Gate::new(client));
    let tls = Arc::new(TlsSource::new(certificate(&config)?)?);
    let (believing, port) = (gate.clone(), tls.clone());
    trusted.on(move |delta| {
        if delta.is_deleted() {
            return; // The apiserver makes it again; what it said holds until then.
        }
        let trust = Trust::read(delta.object().data.as_ref().unwrap_or(&BTreeMap::new()));
        let authorities = Some(trust.bundle.clone()).filter(|b| !b.is_empty());
        if let Err(error) = port.believe(authorities.map(|text| Pem::Data(text.into_bytes()))) {
            tracing::warn!(%error, "cannot use the published authorities, keeping the last ones");
            return;
        }
        believing.believe(trust);
    });
    nodes.start(&stop);
    pods.start(&stop);
    trusted.start(&stop);
    tokio::select! {
        _ = async { tokio::join!(nodes.synced(), pods.synced(), trusted.synced()) } => {}
        () = stop.cancelled() => return Ok(()),
    }

    let book = Arc::new(RwLock::new(Book::new(config.span())));
    let began = Arc::new(Mutex::new(None));
    let listener = serving::bind(config.listen)
        .await
        .with_context(|| format!("failed to listen on {}", config.listen))?;
    tracing::info!(address = %config.listen, nodes = nodes.store().len(), "serving the metrics API");
    let scraper = Scraper {
        kubelets: Kubelets::new(&config, &to)?,
        nodes: nodes.clone(),
        pods: pods.clone(),
        book: book.clone(),
        resolution: config.resolution,
        timeout: config.timeout,
        figures: Figures::register()?,
        began: began.clone(),
    };
    let rounds = tokio::spawn(scraper.run(stop.clone()));
    let ops = ops(&config, gate.clone(), book.clone(), began);
    let server = Arc::new(Server { gate, book, nodes, pods, ops });
    let handle = move |request| {
        let server = server.clone();
        async move { server.handle(request).await }
    };
    serving::serve(listener, Some(tls), ServeOptions::default(), stop, handle).await;
    rounds.await.context("the rounds ended")
}

/// Health as metrics-server tells it, and the pages of every daemon behind the gate.
fn ops(config: &Config, gate: Arc<Gate>, book: Arc<RwLock<Book>>, began: Arc<Mutex<Option<Instant>>>) -> Ops {
    let ops = Ops::new().authorized_by(Arc::new(move |ask: Ask| {
        let gate = gate.clone();
        Box::pin(async move {
            let Ok(user) = gate.user(ask.peer.as_ref(), &ask.headers).await else {
                return Verdict::Unauthenticated;
            };
            let question = asked(&ask.method, &ask.path, &Route::Nothing, false, None);
            match gate.pass(&user, &question).await {
                Ok(()) => Verdict::Allowed,
                Err(_) => Verdict::Forbidden,
            }
        })
    }));
    ops.readyz.add("metric-storage-ready", move || {
        if book.read().is_empty() { Err("no metrics to serve".into()) } else { Ok(()) }
    });
    let late = config.resolution.mul_f64(1.5);
    ops.livez.add("metric-collection-timely", move || match *began.lock() {
        Some(at) if at.elapsed() > late => Err("the last round began too long ago".into()),
        _ => Ok(()),
    });
    ops
}

/// The serving certificate: from files, or of our own making.
fn certificate(config: &Config) -> anyhow::Result<TlsOptions> {
    let (certificate, key) = match &config.certificate {
        Some((certificate, key)) => (Pem::File(certificate.clone()), Pem::File(key.clone())),
        None => {
            let now = Timestamp::now();
            let ca = gantry_pki::Ca::create("metrics-ca", now, gantry_pki::LEAF_LIFETIME)?;
            let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
            let issued = ca.issue(&gantry_pki::Profile::server("metrics", names), now)?;
            (Pem::Data(issued.cert.into_bytes()), Pem::Data(issued.key.into_bytes()))
        }
    };
    Ok(TlsOptions { certificate, key, client_ca: None, http2: true })
}
