//! Which watchers a change wakes.

use futures::task::AtomicWaker;
use gantry_types::Object;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::filter::Filter;

const NONE: u64 = u64::MAX;

/// Where one watcher learns of changes: the span of sequence numbers that may concern it, and its waker.
#[derive(Debug)]
pub struct Slot {
    first: AtomicU64,
    last: AtomicU64,
    closed: AtomicBool,
    pub waker: AtomicWaker,
}

impl Slot {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            first: AtomicU64::new(NONE),
            last: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Notes that the changes `first..=last` may concern the watcher. `last` never shrinks.
    pub fn mark(&self, first: u64, last: u64) {
        self.last.fetch_max(last, Ordering::SeqCst);
        self.first.fetch_min(first, Ordering::SeqCst);
    }

    /// Takes the span noted since the last call.
    pub fn take(&self) -> Option<(u64, u64)> {
        let first = self.first.swap(NONE, Ordering::SeqCst);
        (first != NONE).then(|| (first, self.last.load(Ordering::SeqCst)))
    }

    /// Ends the watcher: its cache was reset or removed.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

/// The narrowest thing a watcher needs of a change to be concerned by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    Any,
    Namespace(Box<str>),
    Name(Box<str>),
    Field(&'static str, Box<str>),
    Label(Box<str>, Box<str>),
}

impl Trigger {
    /// The trigger of a selection. `indexed` are the fields changes are dispatched by.
    pub fn of(filter: &Filter, indexed: &[&'static str]) -> Self {
        if let Some(name) = &filter.name {
            return Self::Name(name.clone());
        }
        let field =
            indexed.iter().find_map(|f| filter.fields.iter().find(|(k, _)| **k == **f).map(|(_, v)| (*f, v)));
        if let Some((field, value)) = field {
            return Self::Field(field, value.clone());
        }
        if let Some((key, value)) = filter.labels.first() {
            return Self::Label(key.clone(), value.clone());
        }
        match &filter.namespace {
            Some(ns) => Self::Namespace(ns.clone()),
            None => Self::Any,
        }
    }
}

/// The watchers of one resource, by trigger.
#[derive(Debug, Default)]
pub struct Dispatch {
    any: Vec<Arc<Slot>>,
    namespaces: HashMap<Box<str>, Vec<Arc<Slot>>>,
    names: HashMap<Box<str>, Vec<Arc<Slot>>>,
    fields: HashMap<&'static str, HashMap<Box<str>, Vec<Arc<Slot>>>>,
    labels: HashMap<Box<str>, HashMap<Box<str>, Vec<Arc<Slot>>>>,
    count: usize,
}

/// Takes a slot out; whether it was there.
fn take_out(slots: &mut Vec<Arc<Slot>>, slot: &Arc<Slot>) -> bool {
    let before = slots.len();
    slots.retain(|s| !Arc::ptr_eq(s, slot));
    slots.len() < before
}

fn take_from(map: &mut HashMap<Box<str>, Vec<Arc<Slot>>>, key: &str, slot: &Arc<Slot>) -> bool {
    let Some(slots) = map.get_mut(key) else { return false };
    let found = take_out(slots, slot);
    if slots.is_empty() {
        map.remove(key);
    }
    found
}

impl Dispatch {
    pub fn add(&mut self, trigger: &Trigger, slot: Arc<Slot>) {
        self.count += 1;
        let slots = match trigger {
            Trigger::Any => &mut self.any,
            Trigger::Namespace(ns) => self.namespaces.entry(ns.clone()).or_default(),
            Trigger::Name(name) => self.names.entry(name.clone()).or_default(),
            Trigger::Field(f, v) => self.fields.entry(f).or_default().entry(v.clone()).or_default(),
            Trigger::Label(k, v) => self.labels.entry(k.clone()).or_default().entry(v.clone()).or_default(),
        };
        slots.push(slot);
    }

    /// Takes a watcher out, if it is still there.
    pub fn remove(&mut self, trigger: &Trigger, slot: &Arc<Slot>) {
        let found = match trigger {
            Trigger::Any => take_out(&mut self.any, slot),
            Trigger::Namespace(ns) => take_from(&mut self.namespaces, ns, slot),
            Trigger::Name(name) => take_from(&mut self.names, name, slot),
            Trigger::Field(f, v) => self.fields.get_mut(f).is_some_and(|values| take_from(values, v, slot)),
            Trigger::Label(k, v) => {
                let values = self.labels.get_mut(k);
                let found = values.is_some_and(|values| take_from(values, v, slot));
                if self.labels.get(k).is_some_and(HashMap::is_empty) {
                    self.labels.remove(k);
                }
                found
            }
        };
        self.count -= usize::from(found);
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Marks every watcher that change number `sequence` may concern, and wakes it. Both states count: an
    /// object that leaves a selection concerns its watchers too. Answers how many were woken.
    pub fn wake(&self, sequence: u64, states: [Option<&Object>; 2]) -> usize {
        if self.count == 0 {
            return 0;
        }
        let mut woken = 0;
        let mut wake = |slots: &[Arc<Slot>]| {
            for slot in slots {
                slot.mark(sequence, sequence);
                slot.waker.wake();
            }
            woken += slots.len();
        };
        wake(&self.any);
        let [now, before] = states;
        for (i, object) in [now, before].into_iter().enumerate() {
            let Some(object) = object else { continue };
            // What both states have in common has been woken for the first.
            let other = if i == 1 { now } else { None };
            if other.is_none() {
                if let Some(slots) = self.namespaces.get(object.namespace()) {
                    wake(slots);
                }
                if let Some(slots) = self.names.get(object.name()) {
                    wake(slots);
                }
            }
            for (field, values) in &self.fields {
                let value = object.field(field);
                if let Some(slots) = value.and_then(|v| values.get(v))
                    && other.is_none_or(|o| o.field(field) != value)
                {
                    wake(slots);
                }
            }
            if !self.labels.is_empty() {
                for (key, value) in &object.meta().labels {
                    if let Some(slots) = self.labels.get(key).and_then(|values| values.get(value))
                        && other.is_none_or(|o| o.meta().labels.get(key) != Some(value))
                    {
                        wake(slots);
                    }
                }
            }
        }
        woken
    }

    /// Ends every watcher.
    pub fn close_all(&mut self) {
        let labels = self.labels.values().flat_map(HashMap::values);
        let fields = self.fields.values().flat_map(HashMap::values);
        let lists = self.namespaces.values().chain(self.names.values()).chain(fields).chain(labels);
        for slot in lists.flatten().chain(&self.any) {
            slot.close();
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::{Meta, Revision};

    fn pod(node: &str, app: &str) -> Object {
        let mut meta = Meta { name: "p".into(), namespace: "ns".into(), ..Meta::default() };
        meta.fields = Box::new([("spec.nodeName", node.into())]);
        meta.labels.insert("app".into(), app.into());
        Object::new(meta, Revision(1), bytes::Bytes::new())
    }

    #[test]
    fn ten_thousand_node_watches_cost_one_wake() {
        let mut dispatch = Dispatch::default();
        for i in 0..10_000 {
            let filter = Filter {
                fields: vec![("spec.nodeName".into(), format!("node-{i}").into())],
                ..Filter::default()
            };
            dispatch.add(&Trigger::of(&filter, &["spec.nodeName"]), Slot::new());
        }
        let (a, b) = (pod("node-7", "x"), pod("node-8", "x"));
        assert_eq!(dispatch.wake(0, [Some(&a), None]), 1);
        assert_eq!(dispatch.wake(1, [Some(&a), Some(&a)]), 1);
        assert_eq!(dispatch.wake(2, [Some(&a), Some(&b)]), 2);
        assert_eq!(dispatch.wake(3, [None, Some(&b)]), 1);
        assert_eq!(dispatch.wake(4, [Some(&pod("", "x")), None]), 0);
    }

    #[test]
    fn each_trigger_wakes_its_own() {
        let mut dispatch = Dispatch::default();
        let by = |filter: Filter| Trigger::of(&filter, &["spec.nodeName"]);
        let triggers = [
            by(Filter::default()),
            by(Filter::all(Some("ns"))),
            by(Filter { name: Some("p".into()), ..Filter::default() }),
            by(Filter { labels: vec![("app".into(), "x".into())], ..Filter::default() }),
            by(Filter { fields: vec![("spec.nodeName".into(), "n".into())], ..Filter::default() }),
            by(Filter::all(Some("other"))),
        ];
        let slots: Vec<_> = triggers.iter().map(|_| Slot::new()).collect();
        for (t, s) in triggers.iter().zip(&slots) {
            dispatch.add(t, s.clone());
        }
        assert_eq!(dispatch.wake(3, [Some(&pod("n", "x")), None]), 5);
        assert_eq!(dispatch.wake(4, [Some(&pod("m", "y")), Some(&pod("n", "x"))]), 5);
        assert_eq!(dispatch.wake(5, [Some(&pod("m", "y")), Some(&pod("m", "y"))]), 3);
        let spans: Vec<_> = slots.iter().map(|s| s.take()).collect();
        let (three, two) = (Some((3, 5)), Some((3, 4)));
        assert_eq!(spans, [three, three, three, two, two, None]);
        for (t, s) in triggers.iter().zip(&slots) {
            dispatch.remove(t, s);
        }
        assert_eq!((dispatch.len(), dispatch.wake(6, [Some(&pod("n", "x")), None])), (0, 0));
    }
}
