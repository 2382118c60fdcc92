//! Both ways to apply a manifest.

pub mod client;
pub mod server;
