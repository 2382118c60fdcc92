//! The daemon on one screen: client, port, lease, informers, the loop.

use crate::config::Config;
use crate::debug::{self, Asked};
use crate::effects::Effects;
use crate::extender::Extenders;
use crate::metrics::Metrics;
use crate::news::Watched;
use crate::state::State;
use crate::trim;
use gantry_client::informer::Scope;
use gantry_client::leader::Elector;
use gantry_client::{Client, ClientConfig, Informer, Recorder, port};
use gantry_daemon::ops::Ops;
use gantry_daemon::version;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Decisions between two looks at the events, so that neither starves.
const BATCH: usize = 128;

/// Questions to `/debug` that may wait for their turn.
const QUESTIONS: usize = 8;

/// Runs until `stop`, or until the lead is lost.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let clients = ClientConfig::from_flags(config.kubeconfig.as_deref(), config.master.as_deref())
        .await?
        .user_agent(version::user_agent("kube-scheduler"));
    let client = clients.build()?;
    let (ask, questions) = mpsc::channel(QUESTIONS);
    let ops = Ops::new().tree("/debug", move |rest| debug::page(rest, ask.clone()));
    port::serve(&config.port, "kube-scheduler", 10259, ops, client.clone(), stop.clone()).await?;
    schedule(config, client, || Ok(clients.build()?), questions, stop).await
}

/// Schedules until `stop`, or until the lead is lost. `client` writes; `connect` makes one for each watch of
/// many objects; `questions` are answered between two decisions.
///
/// # Errors
/// Where a client cannot be made, and when the lead is lost.
pub async fn schedule(
    config: Config,
    client: Client,
    connect: impl Fn() -> anyhow::Result<Client>,
    mut questions: mpsc::Receiver<Asked>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Metrics::register()?;
    let pods: Informer<Pod> = Informer::new(
        connect()?,
        Scope {
            field_selector: Some("status.phase!=Succeeded,status.phase!=Failed".into()),
            ..Scope::default()
        },
    );
    let nodes: Informer<Node> = Informer::new(connect()?, Scope::default());
    if config.extenders.is_empty() {
        // Extenders are sent whole objects.
        pods.transform(trim::pod);
        nodes.transform(trim::node);
    }
    let (mut pod_changes, mut node_changes) = (pods.subscribe(), nodes.subscribe());
    pods.start(&stop);
    nodes.start(&stop);
    let (news, mut other_changes) = mpsc::unbounded_channel();
    let mut watched = Watched::start(&connect()?, &news, &stop);

    let leading = match &config.leader {
        None => None,
        Some(leader) => {
            let recorder = Recorder::new(client.clone(), "default-scheduler", "");
            let elector = Elector::new(client.clone(), leader.clone()).reporting(recorder);
            match elector.acquire(&stop).await {
                Some(leading) => Some(leading),
                None => return Ok(()),
            }
        }
    };
    let lost = leading.as_ref().map(|l| l.lost.clone()).unwrap_or_default();
    tokio::select! {
        () = async { tokio::join!(pods.synced(), nodes.synced(), watched.settle()); } => {}
        () = stop.cancelled() => return Ok(()),
    }
    let (sender, mut finished) = mpsc::unbounded_channel();
    let recorder = Recorder::in_series(client.clone(), "default-scheduler");
    let outside = Extenders::new(config.extenders, pods.clone(), nodes.clone())?;
    let effects = Effects::new(client, recorder, watched.claims.clone(), outside.clone(), sender);
    let mut state = State::new(config.profiles, config.backoff, effects, outside, metrics);
    loop {
        let now = Timestamp::now();
        while let Ok(news) = other_changes.try_recv() {
            state.news(&news, now);
        }
        while let Ok(delta) = node_changes.try_recv() {
            state.node(&delta, now);
        }
        while let Ok(delta) = pod_changes.try_recv() {
            state.pod(&delta, now);
        }
        while let Ok(done) = finished.try_recv() {
            state.done(done, now);
        }
        if let Ok(asked) = questions.try_recv() {
            answer(&mut state, asked);
        }
        if (0..BATCH).all(|_| state.try_next(now)) {
            // More wait; let the writes and watches run in between.
            tokio::task::yield_now().await;
            continue;
        }
        let pause = state.idle(now).map_or(Duration::from_secs(3600), |at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
        });
        tokio::select! {
            // Everything is taken in at the loop's begin, in one order; so it is here.
            biased;
            () = lost.cancelled() => anyhow::bail!("leaderelection lost"),
            () = stop.cancelled() => break,
            Some(news) = other_changes.recv() => state.news(&news, Timestamp::now()),
            Some(delta) = node_changes.recv() => state.node(&delta, Timestamp::now()),
            Some(delta) = pod_changes.recv() => state.pod(&delta, Timestamp::now()),
            Some(done) = finished.recv() => state.done(done, Timestamp::now()),
            Some(asked) = questions.recv() => answer(&mut state, asked),
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Some(leading) = leading {
        leading.release().await;
    }
    Ok(())
}

/// Answers a question whose asker still waits.
fn answer(state: &mut State, asked: Asked) {
    if !asked.answer.is_closed() {
        // An error says that the asker has gone.
        let _ = asked.answer.send(state.debug(&asked.question, Timestamp::now()));
    }
}
