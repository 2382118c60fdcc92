//! What every daemon needs around its work: flags and files, logs, metrics, health, shutdown, clock.
