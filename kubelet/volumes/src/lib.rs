//! Pod volumes: materialise, update atomically, tear down.
//!
//! Owns: everything below `<root>/pods/<uid>/volumes` and `volume-subpaths`, in upstream's layout, so that
//! either kubelet finds what the other made. API objects come through [`Source`]; the files' contents are built
//! in [`payload`], written by [`atomic`], owned by [`ownership`]; claims are followed in [`claim`], host paths
//! judged in [`host_path`] and sub-paths opened in [`subpath`].
//!
//! Tasks and channels: none; file work runs on the blocking pool. Refuses: watching and timing. The caller calls
//! [`Volumes::mount`] again when an object changed or at [`Mounted::refresh_at`].

pub mod atomic;
pub mod claim;
pub mod host_path;
pub mod ownership;
pub mod payload;
pub mod source;
pub mod subpath;
pub mod volumes;

pub use source::{Claimed, FetchError, Source, Token};
pub use volumes::{Mounted, VolumeError, VolumePath, Volumes};
