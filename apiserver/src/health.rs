//! `/healthz`, `/livez`, `/readyz` and each check below them.

use crate::http::respond::{self, Answer};
use gantry_daemon::health::Checks;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is set when a step of starting up, or of shutting down, has been taken.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// As a check: passes once set.
    fn check(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let flag = self.clone();
        move || if flag.is_set() { Ok(()) } else { Err("not finished".into()) }
    }
}

/// The checks. A step of starting up holds back readiness until its flag is set.
pub struct Health {
    healthz: Checks,
    livez: Checks,
    readyz: Checks,
    names: Mutex<Vec<String>>,
    pub shutting_down: Flag,
}

impl Default for Health {
    fn default() -> Self {
        let this = Self {
            healthz: Checks::with_ping(),
            livez: Checks::with_ping(),
            readyz: Checks::with_ping(),
            names: Mutex::new(vec!["ping".into()]),
            shutting_down: Flag::default(),
        };
        this.add_everywhere("log", || Ok(()));
        this
    }
}

impl Health {
    /// A check of all three paths.
    pub fn add_everywhere(
        &self,
        name: &str,
        check: impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    ) {
        for checks in [&self.healthz, &self.livez, &self.readyz] {
            checks.add(name, check.clone());
        }
        self.names.lock().push(name.to_owned());
    }

    /// Whether `/readyz` would answer ok now.
    pub fn ready(&self) -> bool {
        self.readyz.answer("readyz", "").code == 200
    }

    /// A check of readiness alone.
    pub fn add_ready(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.readyz.add(name, check);
    }

    /// A step of starting up: `poststarthook/<name>` on all paths.
    pub fn step(&self, name: &str) -> Flag {
        let flag = Flag::default();
        let name = format!("poststarthook/{name}");
        for checks in [&self.healthz, &self.livez, &self.readyz] {
            checks.add(name.clone(), flag.check());
        }
        self.names.lock().push(name);
        flag
    }

    /// The last check of readiness: fails as soon as the server begins to stop.
    pub fn add_shutdown(&self) {
        let stopping = self.shutting_down.clone();
        self.add_ready("shutdown", move || {
            if stopping.is_set() { Err("process is shutting down".into()) } else { Ok(()) }
        });
    }

    /// The answer, where the path is one of ours.
    pub fn answer(&self, path: &str, query: &str) -> Option<Answer> {
        let (name, rest) = path.strip_prefix('/')?.split_once('/').unwrap_or((path.get(1..)?, ""));
        let checks = match name {
            "healthz" => &self.healthz,
            "livez" => &self.livez,
            "readyz" => &self.readyz,
            _ => return None,
        };
        if rest.is_empty() {
            let answer = checks.answer(name, query);
            return Some(respond::text(answer.code, answer.body));
        }
        match checks.answer_one(rest) {
            Some(answer) => Some(respond::text(answer.code, answer.body)),
            None => Some(respond::page_not_found()),
        }
    }

    /// Every path, for the index.
    pub fn paths(&self) -> Vec<String> {
        let names = self.names.lock();
        ["healthz", "livez", "readyz"]
            .iter()
            .flat_map(|p| {
                std::iter::once(format!("/{p}")).chain(names.iter().map(move |n| format!("/{p}/{n}")))
            })
            .collect()
    }
}
