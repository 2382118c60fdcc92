//! The host under the kubelet.
//!
//! Owns: cgroups of both versions ([`cgroup`]), facts about the machine ([`facts`]), mounts ([`mount`]) and
//! directory watching ([`watch`]). Tasks: none. Blocking calls throughout, all short; callers on a runtime
//! use them directly for `/proc` and `/sys` and `spawn_blocking` for anything that touches disks.
//!
//! Refuses: knowing pods. It deals in paths, bytes and numbers.

pub mod cgroup;
pub mod facts;
pub mod mount;
pub mod watch;
