//! What the kinds besides pods and nodes do to the state.

use crate::news::{News, note};
use crate::state::State;
use gantry_client::Delta;
use gantry_scheduler_core::Event;
use gantry_scheduler_core::event::Update;
use gantry_scheduler_core::facts::key;
use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::HashMap;
use std::sync::Arc;

fn keep<K: Metadata<Ty = ObjectMeta>>(map: &mut HashMap<String, Arc<K>>, delta: &Delta<K>) {
    let key = key(delta.object().metadata());
    if delta.is_deleted() {
        map.remove(&key);
    } else {
        map.insert(key, delta.object().clone());
    }
}

fn update<K>(delta: &Delta<K>) -> Update<'_, K> {
    Update { old: delta.old().map(|o| &**o), new: delta.object() }
}

impl State {
    /// Takes a change, and wakes the pods it may help.
    pub fn news(&mut self, news: &News, now: Timestamp) {
        let facts = &mut self.cluster.facts;
        match news {
            News::Claim(d) => {
                facts.set_claim(d.object().clone(), d.is_deleted());
                if !d.is_deleted() {
                    self.changed(&Event::Claim(update(d)), now);
                }
            }
            News::Volume(d) => {
                facts.set_volume(d.object().clone(), d.is_deleted());
                if !d.is_deleted() {
                    self.changed(&Event::Volume(update(d)), now);
                }
            }
            News::Class(d) => {
                keep(&mut facts.classes, d);
                if !d.is_deleted() {
                    self.changed(&Event::Class(update(d)), now);
                }
            }
            News::CsiNode(d) => {
                keep(&mut facts.csi_nodes, d);
                if !d.is_deleted() {
                    self.changed(&Event::CsiNode(update(d)), now);
                }
            }
            News::CsiDriver(d) => {
                keep(&mut facts.csi_drivers, d);
                if !d.is_deleted() {
                    self.changed(&Event::CsiDriver(update(d)), now);
                }
            }
            News::Capacity(d) => {
                let key = key(&d.object().metadata);
                if d.is_deleted() {
                    facts.capacities.remove(&key);
                } else {
                    facts.capacities.insert(key, d.object().clone());
                    self.changed(&Event::Capacity(update(d)), now);
                }
            }
            News::Attachment(d) => {
                facts.set_attachment(d.object().clone(), d.is_deleted());
                if d.is_deleted() {
                    self.changed(&Event::AttachmentRemoved(d.object()), now);
                }
            }
            other => note(facts, other),
        }
    }
}
