//! The client stack of every daemon: kubeconfig and TLS, informers with indexes, work queue, leader election,
//! events.
//!
//! Owns: the one HTTP/2 connection pool per client ([`config`]), watches and their caches ([`watch`],
//! [`informer`], [`store`]), the rate-limited queue of keys ([`queue`]), the leader's lease ([`leader`]) and
//! the event sink ([`events`]).
//!
//! Tasks: one per started informer; one per event recorder; one per held lease. Channels: the recorder's
//! bounded queue (1,000 events, dropped beyond that, as upstream does); `tokio::sync::watch` for "synced" and
//! "newest revision seen". Handlers run on the informer's task and must not block.
//!
//! Refuses: deciding anything about objects; retrying writes (the work queue does that, with fresh state).

pub mod config;
mod connector;
pub mod error;
pub mod events;
pub mod informer;
pub mod key;
pub mod leader;
pub mod leader_args;
pub mod port;
pub mod queue;
pub mod store;
pub mod watch;

pub use config::ClientConfig;
pub use events::{EventType, Recorder};
pub use informer::{Informer, Informers};
pub use key::Key;
pub use kube::Client;
pub use queue::Queue;
pub use store::{Delta, Store};
