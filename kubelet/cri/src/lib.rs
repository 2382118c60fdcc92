//! The container runtime behind one trait.
//!
//! Owns: [`Runtime`] (sandboxes, containers and images as CRI has them), its gRPC client over a unix socket
//! ([`client::Client`]), the fake for tests ([`fake::Fake`]), the labels and annotations by which pods are found
//! again ([`labels`]), and [`view::NodeView`], through which the kubelet's HTTPS server sees pods and runtime.
//!
//! Tasks: none of its own; the client multiplexes calls on one HTTP/2 connection that reconnects by itself.
//! Refuses: decisions. Every method is one CRI call.

pub mod client;
pub mod fake;
pub mod labels;
pub mod runtime;
pub mod view;

pub use client::Client;
pub use gantry_proto::cri;
pub use runtime::{CriError, CriResult, Runtime};
