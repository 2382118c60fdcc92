//! Pure node decisions: what to start, stop, probe, restart, report and evict.
