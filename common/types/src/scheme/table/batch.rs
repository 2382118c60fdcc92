//! `batch`.

use super::*;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        group: "batch",
        version: "v1",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        short_names: &[],
        categories: &["all"],
        scope: Scope::Namespaced,
        storage: Storage::Prefix("jobs"),
        verbs: ALL,
        subresources: &[sub("status", "Job", GET_UPDATE)],
        columns: &[
            NAME,
            col("Status", "string"),
            col("Completions", "string"),
            col("Duration", "string"),
            col("Age", "string"),
            wide("Containers", "string"),
            wide("Images", "string"),
            wide("Selector", "string"),
        ],
    },
    Kind {
        group: "batch",
        version: "v1",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short_names: &["cj"],
        categories: &["all"],
        scope: Scope::Namespaced,
        storage: Storage::Prefix("cronjobs"),
        verbs: ALL,
        subresources: &[sub("status", "CronJob", GET_UPDATE)],
        columns: &[
            NAME,
            col("Schedule", "string"),
            col("Timezone", "string"),
            col("Suspend", "boolean"),
            col("Active", "integer"),
            col("Last Schedule", "string"),
            col("Age", "string"),
            wide("Containers", "string"),
            wide("Images", "string"),
            wide("Selector", "string"),
        ],
    },
];
