//! Leases for keys with a time to live, shared among keys written close together.

use etcd_client::LeaseClient;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The most keys on one lease, as upstream: a lease's end is one transaction.
const KEYS: usize = 1000;
/// The longest a lease is shared.
const SHARE: u64 = 60;

#[derive(Default)]
pub struct Leases(Mutex<Vec<Shared>>);

struct Shared {
    id: i64,
    ttl: u64,
    since: Instant,
    keys: usize,
}

/// How long leases of a time to live are shared: a twentieth of it, up to a minute.
fn share(ttl: u64) -> u64 {
    (ttl / 20).clamp(1, SHARE)
}

impl Leases {
    /// A lease that lasts at least `ttl` from now, and at most [`share`] more.
    pub async fn take(&self, client: &mut LeaseClient, ttl: Duration) -> Result<i64, etcd_client::Error> {
        let ttl = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        if let Some(id) = self.reuse(ttl) {
            return Ok(id);
        }
        let since = Instant::now();
        // Seconds of an object's life are far below the limit of the type.
        let id = client.grant((ttl + share(ttl)) as i64, None).await?.id();
        self.0.lock().push(Shared { id, ttl, since, keys: 1 });
        Ok(id)
    }

    fn reuse(&self, ttl: u64) -> Option<i64> {
        let mut leases = self.0.lock();
        leases.retain(|l| l.keys < KEYS && l.since.elapsed() < Duration::from_secs(share(l.ttl)));
        let lease = leases.iter_mut().find(|l| l.ttl == ttl)?;
        lease.keys += 1;
        Some(lease.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_shared_for_a_while() {
        let leases = Leases::default();
        assert_eq!(leases.reuse(3600), None);
        let since = Instant::now();
        leases.0.lock().push(Shared { id: 7, ttl: 3600, since, keys: KEYS - 1 });
        assert_eq!((leases.reuse(60), leases.reuse(3600), leases.reuse(3600)), (None, Some(7), None));
        for (ttl, expected) in [(1, 1), (100, 5), (3600, 60), (1 << 30, 60)] {
            assert_eq!(share(ttl), expected);
        }
    }
}
