//! What the user sees while a cluster comes up.

use std::time::Instant;

/// Prints each step with the seconds since the start.
pub struct Progress(Instant);

impl Progress {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    pub fn say(&self, what: impl std::fmt::Display) {
        println!("{:6.2}s  {what}", self.seconds());
    }
}
