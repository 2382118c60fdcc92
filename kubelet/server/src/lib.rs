//! The kubelet HTTPS server: logs, exec, attach, port-forward, stats, pods, metrics.
//!
//! Owns: the port ([`start`]), who may use it ([`auth`], [`attributes`]: client certificates, `TokenReview`,
//! `SubjectAccessReview`, each answer kept for a while), the paths ([`route`]), container logs ([`logs`]),
//! streams into the runtime ([`streams`]) and figures ([`stats`], [`exposition`]). It sees the node through
//! [`gantry_kubelet_cri::view::NodeView`] only.
//!
//! Tasks: one for the listener, one per connection, one per log being sent, one per carried stream.
//! Channels: a log goes to its connection through a queue of four chunks.
//!
//! Refuses: serving without TLS, changing anything on the node, anonymous requests unless configured.

pub mod answer;
pub mod attributes;
pub mod auth;
pub mod exposition;
pub mod logs;
pub mod pods;
pub mod query;
pub mod review;
pub mod route;
pub mod server;
pub mod start;
pub mod stats;
pub mod streams;

pub use server::Server;
pub use start::{Options, start};
