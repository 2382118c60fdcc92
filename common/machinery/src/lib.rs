//! Pure algebra on Kubernetes objects: schemas, defaulting, pruning, patches, selectors, tables, wire forms.

pub mod convert;
pub mod cron;
pub mod default;
pub mod disruption;
pub mod managed;
pub mod patch;
pub mod path;
pub mod protobuf;
pub mod prune;
pub mod quota;
pub mod schema;
pub mod selector;
pub mod spew;
pub mod table;
pub mod validate;
