//! The core group.

pub mod config_map;
pub mod equal;
mod go_json;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod pod_defaults;
mod pod_row;
pub mod pod_warnings;
pub mod qos;
pub mod secret;
pub mod service;
pub mod service_account;
mod tls_pair;
