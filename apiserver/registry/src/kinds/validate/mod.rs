//! Validators shared by kinds. Pure; field paths and messages are upstream's.

pub mod affinity;
pub mod claim_template;
pub mod containers;
pub mod dns;
pub mod env;
pub mod ip;
pub mod meta;
pub mod mounts;
pub mod options;
pub mod paths;
pub mod pod_annotations;
pub mod pod_resize;
pub mod pod_spec;
pub mod pod_status;
pub mod pod_update;
pub mod probes;
pub mod projected;
pub mod resources;
pub mod security;
pub mod selector;
pub mod service;
pub mod spread;
pub mod tolerations;
pub mod volume_plugins;
pub mod volumes;
pub mod windows;
