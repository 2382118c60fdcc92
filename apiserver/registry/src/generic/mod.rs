//! The pipeline itself.
