//! Time as an argument: the real clock and, for tests, one that moves only when told to.

use jiff::Timestamp;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A boxed future; the same shape as `futures::future::BoxFuture`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// Wall time and waiting. Shells hold an `Arc<dyn Clock>`; pure code takes `now` as an argument instead.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
    /// Resolves once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock for tests: stands still until [`FakeClock::advance`].
#[derive(Clone)]
pub struct FakeClock(Arc<(Mutex<Timestamp>, watch::Sender<Timestamp>)>);

impl FakeClock {
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new((Mutex::new(start), watch::channel(start).0)))
    }

    /// Moves time forward and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.0.lock();
        // Saturates at the end of representable time, which no test reaches.
        *now = now.saturating_add(by).unwrap_or(Timestamp::MAX);
        self.0.1.send_replace(*now);
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.0.lock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut times = self.0.1.subscribe();
        let until = self.now().saturating_add(duration).unwrap_or(Timestamp::MAX);
        Box::pin(async move {
            // An error means the clock is gone; nobody is left to move time, so waiting is over.
            let _ = times.wait_for(|now| *now >= until).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fake_sleep_ends_when_time_has_moved_far_enough() {
        let clock = FakeClock::new(Timestamp::UNIX_EPOCH);
        let mut sleep = clock.sleep(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut sleep).await.is_err());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now().as_second(), 10);
    }
}
