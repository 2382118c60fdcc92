//! What was taken from quotas for objects that are not seen yet, and whom to tell of changes.

use super::plan;
use gantry_client::{Delta, Informer, Key, Queue};
use gantry_machinery::quota::{Amounts, Item, Measure, total};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long what was taken may take to be seen: what comes to nothing is given back after this.
pub(super) const UNSEEN: Duration = Duration::from_secs(5);

/// Takings from one quota, oldest first.
#[derive(Default)]
pub(super) struct Pending(Vec<(Instant, Amounts)>);

impl Pending {
    pub(super) fn take(&mut self, at: Instant, amounts: Amounts) {
        self.0.push((at, amounts));
    }

    /// An object that costs this much was seen: it is what something was taken for.
    pub(super) fn seen(&mut self, cost: &Amounts) {
        for (name, amount) in cost {
            let mut left = amount.clone();
            for (_, taken) in &mut self.0 {
                let Some(q) = taken.get_mut(name).filter(|_| left.sign() > 0) else { continue };
                let part = left.clone().min(q.clone());
                q.sub(&part);
                left.sub(&part);
            }
        }
        self.0.iter_mut().for_each(|(_, taken)| taken.retain(|_, q| q.sign() > 0));
        self.0.retain(|(_, taken)| !taken.is_empty());
    }

    /// What is not seen yet, and how long until the first of it is given back.
    pub(super) fn unseen(&mut self, now: Instant) -> (Amounts, Option<Duration>) {
        self.0.retain(|(at, _)| now.duration_since(*at) < UNSEEN);
        let sum = self.0.iter().fold(Amounts::new(), |sum, (_, amounts)| total(&sum, amounts));
        let wait = self.0.first().map(|(at, _)| UNSEEN - now.duration_since(*at));
        (sum, wait)
    }
}

/// The takings of all quotas.
pub(super) struct Ledger {
    quotas: Informer<ResourceQuota>,
    queue: Queue<Key>,
    pending: Mutex<HashMap<Key, Pending>>,
}

impl Ledger {
    pub(super) fn new(quotas: Informer<ResourceQuota>, queue: Queue<Key>) -> Self {
        Self { quotas, queue, pending: Mutex::default() }
    }

    /// A quota changed, perhaps because something was taken from it.
    pub(super) fn quota(&self, delta: &Delta<ResourceQuota>) {
        let key = Key::of(&**delta.object());
        if let Delta::Modified { old, new } = delta {
            let grown = plan::taken(old, new);
            if !grown.is_empty() {
                self.pending.lock().entry(key.clone()).or_default().take(Instant::now(), grown);
            }
        }
        self.queue.add(key);
    }

    /// What a namespace's quotas count changed; all namespaces' where it is empty.
    pub(super) fn changed(&self, namespace: &str) {
        let quotas = match namespace {
            "" => self.quotas.store().list(),
            namespace => self.quotas.store().list_namespace(namespace),
        };
        quotas.iter().for_each(|quota| self.queue.add(Key::of(&**quota)));
    }

    /// A new object is seen.
    pub(super) fn arrived(&self, namespace: &str, measure: &Measure, item: Item<'_>, now: Timestamp) {
        for quota in self.quotas.store().list_namespace(namespace) {
            let key = Key::of(&*quota);
            if let Some(pending) = self.pending.lock().get_mut(&key)
                && measure.matches(&quota, item)
            {
                pending.seen(&measure.usage(item, now));
            }
            self.queue.add(key);
        }
    }

    pub(super) fn unseen(&self, key: &Key) -> (Amounts, Option<Duration>) {
        let mut all = self.pending.lock();
        let Some(pending) = all.get_mut(key) else { return (Amounts::new(), None) };
        let found = pending.unseen(Instant::now());
        if found.1.is_none() {
            all.remove(key);
        }
        found
    }

    pub(super) fn forget(&self, key: &Key) {
        self.pending.lock().remove(key);
    }
}
