//! gRPC contracts the node speaks.
//!
//! Owns the generated messages, clients and servers of the container runtime interface ([`cri`]), compiled
//! from `proto/cri.proto` at build time, and of gRPC health checking ([`health`]). No tasks, no channels.
//! Refuses: anything beyond the wire form.

/// The container runtime interface, `runtime.v1`.
pub mod cri {
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("runtime.v1");
}

/// gRPC health checking, `grpc.health.v1`; what a gRPC probe asks.
pub mod health {
    #![allow(clippy::all, clippy::pedantic)]
    tonic::include_proto!("grpc.health.v1");
}
