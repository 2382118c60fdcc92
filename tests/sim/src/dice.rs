//! The simulator's own chance, apart from that of the code under test: a change of one run's code then leaves
//! its scenario as it is.

use crate::virtual_world::next;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A stream of decisions. Clones share it.
#[derive(Clone)]
pub struct Dice(Arc<Mutex<u64>>);

impl Dice {
    /// `stream` keeps the streams of one seed apart.
    pub fn new(seed: u64, stream: &str) -> Self {
        let salt = stream
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        next(&mut state);
        Self(Arc::new(Mutex::new(state)))
    }

    fn draw(&self) -> u64 {
        next(&mut self.0.lock())
    }

    /// From 0 to `below`, which is excluded; 0 where that is 0.
    pub fn below(&self, below: usize) -> usize {
        // The remainder of a division by `below` fits.
        if below == 0 { 0 } else { (self.draw() % below as u64) as usize }
    }

    /// From `from` to `to`, both included.
    pub fn between(&self, from: i32, to: i32) -> i32 {
        from + i32::try_from(self.below(usize::try_from(to - from + 1).unwrap_or(1))).unwrap_or(0)
    }

    /// True this often in a thousand.
    pub fn chance(&self, permille: u32) -> bool {
        self.draw() % 1000 < u64::from(permille)
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }

    pub fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.draw() % (to - from + 1))
    }
}
