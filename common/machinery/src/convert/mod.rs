//! Conversions between the versions of a kind that is stored as another.

use gantry_types::Document;
use serde_json::{Map, Value};

/// Fields of a core `v1` Event beside the name each has in `events.k8s.io/v1`.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Fields core's encoder always writes, and what it writes for nothing; the other version leaves them out.
fn core_zero(field: &str) -> Option<Value> {
    match field {
        "involvedObject" | "source" => Some(Value::Object(Map::new())),
        "firstTimestamp" | "lastTimestamp" | "eventTime" => Some(Value::Null),
        "reportingComponent" | "reportingInstance" => Some(Value::String(String::new())),
        _ => None,
    }
}

/// Whether a value says nothing.
fn is_zero(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Object(m) => m.is_empty(),
        Value::Number(n) => n.as_i64() == Some(0),
        _ => false,
    }
}

/// Turns a core `v1` Event into one of `events.k8s.io/v1`.
pub fn event_from_core(mut event: Document) -> Document {
    let map = event.map_mut();
    for (core, new) in EVENT_FIELDS {
        // Structs without omitempty in neither version stay; everything else is left out when empty.
        if let Some(value) = map.remove(core) {
            let keep = !is_zero(&value) || matches!(new, "regarding" | "deprecatedSource");
            if keep || matches!(new, "deprecatedFirstTimestamp" | "deprecatedLastTimestamp") {
                map.insert(new.to_owned(), value);
            }
        }
    }
    if map.get("reportingInstance").is_some_and(is_zero) {
        map.remove("reportingInstance");
    }
    event.set_type("events.k8s.io/v1", "Event");
    event
}

/// Turns an Event of `events.k8s.io/v1` into a core `v1` one, as it is stored.
pub fn event_to_core(mut event: Document) -> Document {
    let map = event.map_mut();
    for (core, new) in EVENT_FIELDS {
        if let Some(value) = map.remove(new) {
            map.insert(core.to_owned(), value);
        }
    }
    let always = EVENT_FIELDS.iter().map(|(core, _)| *core).chain(["eventTime", "reportingInstance"]);
    for field in always {
        if let Some(zero) = core_zero(field) {
            map.entry(field).or_insert(zero);
        }
    }
    event.set_type("v1", "Event");
    event
}

/// The field of the stored core Event that a field selector on `events.k8s.io/v1` means; `None` for fields
/// that cannot be selected by.
pub fn event_field(label: &str) -> Option<&'static str> {
    Some(match label {
        "reason" => "reason",
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        "type" => "type",
        "metadata.namespace" => "metadata.namespace",
        "metadata.name" => "metadata.name",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_convert_both_ways() {
        let new = Document::from_json(
            br#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e"},"regarding":{"kind":"Pod"},"note":"n","reason":"r","type":"Normal","reportingController":"c","reportingInstance":"i","action":"a","eventTime":"2024-01-01T00:00:00.000000Z","deprecatedCount":3,"deprecatedSource":{"component":"x"},"deprecatedFirstTimestamp":null,"deprecatedLastTimestamp":null}"#,
        )
        .unwrap();
        let core = event_to_core(new.clone());
        assert_eq!(core.api_version(), "v1");
        assert_eq!(core.str_at(&["message"]), Some("n"));
        assert_eq!(core.str_at(&["involvedObject", "kind"]), Some("Pod"));
        assert_eq!(core.str_at(&["reportingComponent"]), Some("c"));
        assert_eq!(core.get_at::<i64>(&["count"]), Some(3));
        assert_eq!(event_from_core(core), new);
        // What core always writes is there even where nothing was said.
        let bare = event_to_core(Document::default());
        assert_eq!(bare.str_at(&["reportingComponent"]), Some(""));
        assert_eq!(bare.map().get("lastTimestamp"), Some(&Value::Null));
    }
}
