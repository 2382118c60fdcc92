//! The Store trait, its error type and the suite every store must pass.
