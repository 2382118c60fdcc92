//! The processes under test: controller managers, each with caches of its own, and the scheduler. They are the
//! real ones; only their connections are simulated.

use crate::dice::Dice;
use crate::wire::{Life, Wire};
use clap::Parser;
use gantry_client::Informers;
use gantry_controller_manager::assemble;
use gantry_controller_manager::context::Context;
use gantry_controller_manager::credentials::Credentials;
use gantry_controller_manager::flags::{Args, resolve};
use gantry_scheduler::{config, run};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The controllers that take part.
const CONTROLLERS: &[&str] = &[
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "statefulset-controller",
    "taint-eviction-controller",
];

/// A process that can be killed.
struct Process {
    controllers: Vec<&'static str>,
    life: Life,
    stop: CancellationToken,
}

/// All processes of a run.
pub struct Managers {
    wire: Wire,
    managers: Vec<Process>,
    scheduler: Process,
}

fn dead() -> Process {
    Process { controllers: Vec::new(), life: Life::default(), stop: CancellationToken::new() }
}

impl Managers {
    /// Shares the controllers out among one to three processes and starts everything.
    pub async fn start(wire: Wire, dice: &Dice) -> Self {
        let count = 1 + dice.below(3);
        let mut shares = vec![Vec::new(); count];
        for controller in CONTROLLERS {
            let at = dice.below(count);
            shares[at].push(*controller);
        }
        let managers: Vec<Process> = shares
            .into_iter()
            .filter(|s| !s.is_empty())
            .map(|controllers| Process { controllers, ..dead() })
            .collect();
        let mut this = Self { wire, managers, scheduler: dead() };
        for at in 0..this.managers.len() {
            this.start_manager(at).await;
        }
        this.start_scheduler();
        this
    }

    pub fn count(&self) -> usize {
        self.managers.len()
    }

    /// Ends a manager in the middle of whatever it does, and starts it anew.
    pub async fn crash_manager(&mut self, at: usize) {
        self.managers[at].life.end();
        self.managers[at].stop.cancel();
        self.start_manager(at).await;
    }

    pub fn crash_scheduler(&mut self) {
        self.scheduler.life.end();
        self.scheduler.stop.cancel();
        self.start_scheduler();
    }

    async fn start_manager(&mut self, at: usize) {
        let (life, stop) = (Life::default(), CancellationToken::new());
        let process = &mut self.managers[at];
        (process.life, process.stop) = (life.clone(), stop.clone());
        let list = process.controllers.join(",");
        let args = Args::parse_from([
            "controller-manager",
            &format!("--controllers={list}"),
            "--leader-elect=false",
            "--node-monitor-grace-period=70s",
            "--node-startup-grace-period=70s",
            "--node-eviction-rate=1",
        ]);
        let config = resolve(args).expect("these flags are sound");
        let wire = Wire { life, ..self.wire.named(&list) };
        let client = wire.client();
        let by_account = wire.clone();
        let context = Context {
            config: Arc::new(config),
            informers: Informers::new(client.clone()),
            watch_client: client.clone(),
            client,
            credentials: Credentials::given(move |account| by_account.named(account).client()),
            stop,
            tasks: TaskTracker::new(),
        };
        assemble::start(&context).await.expect("these controllers need no files");
    }

    fn start_scheduler(&mut self) {
        let (life, stop) = (Life::default(), CancellationToken::new());
        self.scheduler = Process { controllers: Vec::new(), life: life.clone(), stop: stop.clone() };
        let wire = Wire { life, ..self.wire.named("scheduler") };
        let flags = config::Flags::parse_from(["scheduler", "--leader-elect=false"]);
        let config = config::Config::resolve(flags).expect("these flags are sound");
        let client = wire.client();
        let connect = {
            let client = client.clone();
            move || Ok(client.clone())
        };
        let (_, questions) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move { run::schedule(config, client, connect, questions, stop).await });
    }
}
