//! Pure algebra on Kubernetes objects: schemas, defaulting, pruning, patches, selectors, tables, wire forms.

pub mod schema;
