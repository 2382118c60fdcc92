//! What tests of daemons and of the API share.
//!
//! Owns: a control plane inside the test's process ([`Cluster`]: the real apiserver on the embedded store or on
//! a real etcd, with TLS and certificates of its own), identities ([`Identity`]), raw requests ([`Http`]),
//! objects to start from ([`build`]) and waiting on conditions ([`eventually`]).
//!
//! Tasks: each cluster runs on a runtime of its own, so that stopping it stops everything it started, as the
//! end of a process would. Refuses: skipping authentication, fixed ports, and sleeping for a fixed time.

pub mod build;
mod cluster;
mod etcd;
mod http;
mod identity;

pub use cluster::{Backing, Cluster, Options};
pub use gantry_daemon::{Clock, FakeClock};
pub use http::{Http, Reply, Watch};
pub use identity::Identity;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to become true before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `condition` again and again until it answers; its answer.
///
/// # Panics
/// Where it does not within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
