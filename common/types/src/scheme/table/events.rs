//! `events.k8s.io`.

use super::*;

pub(super) const KINDS: &[Kind] = &[Kind {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    scope: Scope::Namespaced,
    storage: Storage::As { group: "", version: "v1", kind: "Event" },
    verbs: ALL,
    subresources: &[],
    columns: &[
        col("Last Seen", "string"),
        col("Type", "string"),
        col("Reason", "string"),
        col("Object", "string"),
        wide("Subobject", "string"),
        wide("Source", "string"),
        col("Message", "string"),
        wide("First Seen", "string"),
        wide("Count", "string"),
        Column { name: "Name", kind: "string", format: "name", priority: 1 },
    ],
}];
