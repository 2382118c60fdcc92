//! In-process integration tests of the API, in `tests/api`: recorded answers to bad and good requests
//! (`golden/*.json`), and behaviour over many requests.
//!
//! Owns: reading the recordings and comparing answers with them ([`golden`], [`mask`]). Refuses: knowing what
//! the right answer is; the recordings say so.

pub mod golden;
pub mod mask;
