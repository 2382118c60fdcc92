//! The one generic write and read pipeline, and a strategy file per kind.
