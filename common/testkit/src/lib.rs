//! Builders, text fixtures, fake clock and the in-process cluster, for tests only.
