//! How many writes are under way at once, and when the next ones begin.
//!
//! Freed places are given out a handful at a time: what begins together leaves in one packet, where one at a
//! time each would cost a system call and a wake-up on both sides. Nothing waits while nothing is under way.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

#[derive(Clone)]
pub struct Slots(Arc<Mutex<Inner>>);

struct Inner {
    all: usize,
    free: usize,
    /// Places freed before those who wait get them.
    handful: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A place among those under way, given back when dropped.
pub struct Slot(Option<Slots>);

impl Slots {
    pub fn new(all: usize, handful: usize) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            all,
            free: all,
            handful: handful.min(all),
            waiting: VecDeque::new(),
        })))
    }

    /// Resolves once there is a place, in the order asked.
    pub async fn take(&self) -> Slot {
        let turn = {
            let mut inner = self.0.lock();
            if inner.waiting.is_empty() && inner.free > 0 {
                inner.free -= 1;
                return Slot(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            inner.waiting.push_back(sender);
            turn
        };
        // Whoever waits is never forgotten: the last place given back serves all.
        turn.await.unwrap_or(Slot(None))
    }

    fn give_back(&self) {
        let mut ready = Vec::new();
        {
            let mut inner = self.0.lock();
            inner.free += 1;
            if inner.free >= inner.handful || inner.free == inner.all {
                while inner.free > 0
                    && let Some(next) = inner.waiting.pop_front()
                {
                    // Those that no longer wait take no place.
                    if !next.is_closed() {
                        inner.free -= 1;
                        ready.push(next);
                    }
                }
            }
        }
        // A place whose taker has gone meanwhile comes back by being dropped.
        for next in ready {
            drop(next.send(Slot(Some(self.clone()))));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a future comes to at once.
    async fn now<T>(future: impl Future<Output = T> + Unpin) -> Option<T> {
        tokio::select! {
            biased;
            out = future => Some(out),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn freed_places_are_given_out_together() {
        let slots = Slots::new(4, 2);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(slots.take().await);
        }
        let (mut gone, mut fifth, mut sixth) =
            (Box::pin(slots.take()), Box::pin(slots.take()), Box::pin(slots.take()));
        assert!(now(&mut gone).await.is_none());
        assert!(now(&mut fifth).await.is_none() && now(&mut sixth).await.is_none());
        drop(gone);
        taken.pop();
        assert!(now(&mut fifth).await.is_none());
        taken.pop();
        taken.extend(now(&mut fifth).await);
        taken.extend(now(&mut sixth).await);
        assert_eq!(taken.len(), 4);
        taken.clear();
        assert_eq!(slots.0.lock().free, 4);
    }

    #[tokio::test]
    async fn nobody_waits_while_nothing_is_under_way() {
        let slots = Slots::new(1, 16);
        let only = slots.take().await;
        let mut next = Box::pin(slots.take());
        assert!(now(&mut next).await.is_none());
        drop(only);
        assert!(now(next).await.is_some());
    }
}
