//! One seed, one run: a cluster is made, lived in, left alone, and judged.

use crate::actor::{ACTOR, Actor};
use crate::api::Api;
use crate::dice::Dice;
use crate::faults::Weather;
use crate::invariants::{self, REST, Violation};
use crate::kubelet::{Kubelets, News};
use crate::managers::Managers;
use crate::mutations::Mutation;
use crate::scenario::{Order, Scenario};
use crate::store::MemoryStore;
use crate::truth::Truth;
use crate::virtual_world;
use crate::wire::{Life, Wire};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// No write for this long: nobody means to make one.
const QUIET: Duration = Duration::from_secs(25);
/// By when a cluster left alone must have come to rest.
const PATIENCE: Duration = Duration::from_secs(1500);
const LOOK: Duration = Duration::from_secs(5);

/// What came of a run.
pub struct Outcome {
    pub seed: u64,
    pub violation: Option<Violation>,
    pub writes: usize,
    /// Virtual time.
    pub took: Duration,
    /// Two runs of one seed have the same.
    pub fingerprint: u64,
    pub trace: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violation {
            None => write!(f, "seed {}: sound, {} writes in {:?}", self.seed, self.writes, self.took),
            Some(violation) => {
                for line in &self.trace {
                    writeln!(f, "  {line}")?;
                }
                writeln!(f, "seed {}: {} violated: {}", self.seed, violation.invariant, violation.why)?;
                write!(f, "replay with SIM_SEED={} cargo test -p gantry-sim", self.seed)
            }
        }
    }
}

/// Runs one seed, with a planted bug if one is given.
///
/// # Panics
/// Where the simulator itself is broken.
pub fn simulate(seed: u64, mutation: Option<Mutation>) -> Outcome {
    virtual_world::run(seed, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Nothing but memory and one descriptor is needed.
        let runtime = runtime.expect("a runtime can be made");
        runtime.block_on(live(seed, mutation))
    })
}

/// A violation, and what came before it.
type Found = (Violation, Vec<String>);

struct World {
    truth: Arc<Mutex<Truth>>,
    found: Arc<Mutex<Option<Found>>>,
    weather: Weather,
    managers: Managers,
    scenario: Scenario,
}

impl World {
    async fn begin(seed: u64, mutation: Option<Mutation>) -> Self {
        let (truth, found) = (Arc::new(Mutex::new(Truth::default())), Arc::default());
        let store = Arc::new(MemoryStore::default());
        let (nodes, news) = mpsc::unbounded_channel();
        watch(&store, truth.clone(), Arc::clone(&found), nodes.clone());
        let weather = Weather::new(seed);
        let wire = Wire {
            api: Arc::new(Api::new(store)),
            name: "user".into(),
            life: Life::default(),
            weather: weather.clone(),
            mutation,
        };
        let kubelets = Kubelets::new(wire.clone(), truth.clone(), Dice::new(seed, "nodes"));
        tokio::spawn(kubelets.run(news));
        let mut scenario = Scenario::new(&wire, truth.clone(), nodes, Dice::new(seed, "scenario"));
        scenario.begin().await;
        let managers = Managers::start(wire, &scenario.dice).await;
        Self { truth, found, weather, managers, scenario }
    }

    fn found(&self) -> Option<Found> {
        self.found.lock().clone()
    }

    /// Lets things happen.
    async fn disturb(&mut self) -> Option<Found> {
        for _ in 0..self.scenario.dice.between(5, 12) {
            let dice = &self.scenario.dice;
            // Mostly one thing soon after the other; now and then all is well for a while.
            let pause = if dice.chance(120) { dice.millis(50_000, 90_000) } else { dice.millis(0, 9000) };
            tokio::time::sleep(pause).await;
            match self.scenario.act().await {
                Some(Order::CrashManager) => {
                    let at = self.scenario.dice.below(self.managers.count());
                    self.managers.crash_manager(at).await;
                }
                Some(Order::CrashScheduler) => self.managers.crash_scheduler(),
                None => {}
            }
            if let Some(violation) = self.found() {
                return Some(violation);
            }
        }
        None
    }

    /// Leaves the cluster alone until it is as it should be, and stays so.
    async fn rest(&mut self) -> Option<Found> {
        self.weather.calm_down();
        self.scenario.settle().await;
        let begun = virtual_world::elapsed();
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(violation) = self.found() {
                return Some(violation);
            }
            let (quiet, now) = (self.truth.lock().last_write + QUIET, virtual_world::elapsed());
            let broken = if quiet < now { invariants::at_rest(&self.truth.lock()) } else { None };
            if quiet < now && broken.is_none() {
                return None;
            }
            if now > begun + PATIENCE {
                let restless = || Violation {
                    invariant: REST,
                    why: format!("still writing after {PATIENCE:?} of calm"),
                };
                return Some((
                    broken.unwrap_or_else(restless),
                    self.truth.lock().trace.iter().cloned().collect(),
                ));
            }
        }
    }
}

/// Has every write looked at, and tells nodes of their pods.
fn watch(
    store: &MemoryStore,
    truth: Arc<Mutex<Truth>>,
    found: Arc<Mutex<Option<Found>>>,
    nodes: mpsc::UnboundedSender<News>,
) {
    let nobody = Actor { name: "nobody".into(), intent: Arc::default(), unanswered: false };
    store.witness(Box::new(move |event| {
        let actor = ACTOR.try_with(Actor::clone).unwrap_or_else(|_| nobody.clone());
        truth.lock().take(event, &actor, |truth, change| {
            let mut found = found.lock();
            if found.is_none() {
                let violation = invariants::after_step(truth, change);
                *found = violation.map(|v| (v, truth.trace.iter().cloned().collect()));
            }
            if let Some(pod) = truth.pods.get(change.key).filter(|_| change.resource == "pods") {
                // The nodes go with the run.
                let _ = nodes.send(News::Pod(pod.clone()));
            }
        });
    }));
}

async fn live(seed: u64, mutation: Option<Mutation>) -> Outcome {
    let mut world = World::begin(seed, mutation).await;
    let found = match world.disturb().await {
        Some(found) => Some(found),
        None => world.rest().await,
    };
    let (violation, trace) = found.unzip();
    let truth = world.truth.lock();
    Outcome {
        seed,
        violation,
        writes: truth.writes,
        took: virtual_world::elapsed(),
        fingerprint: truth.fingerprint,
        trace: trace.unwrap_or_default(),
    }
}
