//! The event, which `events.k8s.io/v1` names differently at the top level than core `v1`, where it is kept.

use super::Conversion;
use gantry_types::Document;

pub(super) struct Events;

/// Names in `v1` and in `events.k8s.io/v1`.
const FIELDS: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

fn rename(object: &mut Document, names: impl Iterator<Item = (&'static str, &'static str)>) {
    let map = object.map_mut();
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

impl Conversion for Events {
    fn to_stored(&self, object: &mut Document) {
        rename(object, FIELDS.iter().map(|(core, new)| (*new, *core)));
    }

    fn to_served(&self, object: &mut Document) {
        rename(object, FIELDS.iter().copied());
    }
}
