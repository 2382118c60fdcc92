//! Mutating and validating admission plugins.
