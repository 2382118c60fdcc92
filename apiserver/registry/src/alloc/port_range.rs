//! The node ports.

use rand::{Rng, RngExt};
use std::collections::BTreeSet;

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortRangeError {
    #[error("provided port is already allocated")]
    Allocated,
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    OutOfRange(String),
}

/// A range of ports. The first part of it, a thirty-second, 16 to 128 ports, is left for those who ask for
/// one by number until the rest is full.
#[derive(Clone, Debug)]
pub struct PortRange {
    low: u16,
    high: u16,
    reserved: u16,
    used: BTreeSet<u16>,
}

impl Default for PortRange {
    fn default() -> Self {
        Self::new(30000, 32767)
    }
}

impl PortRange {
    /// Both ends inclusive.
    pub fn new(low: u16, high: u16) -> Self {
        let size = high.saturating_sub(low).saturating_add(1);
        let reserved = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        Self { low, high, reserved, used: BTreeSet::new() }
    }

    pub fn out_of_range(&self) -> PortRangeError {
        PortRangeError::OutOfRange(format!("{}-{}", self.low, self.high))
    }

    pub fn is_taken(&self, port: u16) -> bool {
        self.used.contains(&port)
    }

    /// Whether a port could be taken.
    ///
    /// # Errors
    /// [`PortRangeError`].
    pub fn check(&self, port: u16) -> Result<(), PortRangeError> {
        if !(self.low..=self.high).contains(&port) {
            return Err(self.out_of_range());
        }
        if self.used.contains(&port) { Err(PortRangeError::Allocated) } else { Ok(()) }
    }

    /// # Errors
    /// [`PortRangeError`].
    pub fn take(&mut self, port: u16) -> Result<(), PortRangeError> {
        self.check(port)?;
        self.used.insert(port);
        Ok(())
    }

    /// Takes a port whether or not it is taken; ports beyond the range are not kept.
    pub fn mark(&mut self, port: u16) {
        if (self.low..=self.high).contains(&port) {
            self.used.insert(port);
        }
    }

    pub fn release(&mut self, port: u16) {
        self.used.remove(&port);
    }

    /// A free port at random, of the reserved part only when the rest is full. `None`: all are taken.
    pub fn take_next(&mut self, rng: &mut impl Rng) -> Option<u16> {
        let middle = self.low.saturating_add(self.reserved);
        let port = self.free(middle, self.high, rng);
        let port =
            port.or_else(|| if self.reserved > 0 { self.free(self.low, middle - 1, rng) } else { None })?;
        self.used.insert(port);
        Some(port)
    }

    fn free(&self, low: u16, high: u16, rng: &mut impl Rng) -> Option<u16> {
        if low > high {
            return None;
        }
        let start = rng.random_range(low..=high);
        (start..=high).chain(low..start).find(|p| !self.used.contains(p))
    }
}
