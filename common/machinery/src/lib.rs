//! Pure algebra on Kubernetes objects: schemas, defaulting, pruning, patches, selectors, tables, wire forms.

pub mod managed;
pub mod patch;
pub mod schema;
