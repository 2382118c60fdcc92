//! End-to-end tests on a real cluster: real containerd, real kernel rules, real clients.

mod bad_input;
mod healing;
mod kubectl;
mod metrics;
mod shop;
