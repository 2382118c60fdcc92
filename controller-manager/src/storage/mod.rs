//! Storage: volumes and claims brought together, kept while in use, and made for pods that bring their own.

pub mod binder;
pub mod claim_protection;
pub mod ephemeral;
mod shared;
pub mod volume_protection;
