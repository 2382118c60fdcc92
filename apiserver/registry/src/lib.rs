//! The registry: one generic pipeline for every kind, and a strategy file per kind.
//!
//! Owns: decode -> default -> mutate -> managed fields -> strategy -> validate -> store ([`generic`]), the
//! trait a kind implements ([`strategy`]), what admission sees ([`admission`]), and the kinds themselves
//! ([`kinds`], one file each). Adding a kind is a row in `gantry_types::scheme` and a file here.
//!
//! Refuses: HTTP, authentication, and any wait that is not on the store.

pub mod admission;
pub mod alloc;
pub mod generic;
pub mod kinds;
pub mod strategy;
