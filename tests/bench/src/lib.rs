//! What the benchmarks share: how they measure other processes ([`usage`]) and where they put their figures
//! ([`report`]).
//!
//! Owns no tasks. Refuses: judging by anything but figures of the run at hand.

pub mod report;
pub mod usage;
