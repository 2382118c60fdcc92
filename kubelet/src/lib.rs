//! The node agent: runs the pods bound to its node through a CRI runtime.
//!
//! Owns: the node's object ([`nodes`]) and lease ([`lease`]), the pods of this node ([`table`]) with one task each
//! ([`worker`]) that takes steps ([`sync`]), their probes ([`probes`]), statuses ([`statuses`]), images
//! ([`images`]), static pods ([`statics`]), and housekeeping ([`collect`]).
//!
//! Tasks: one per pod and one per probe of a running container; one each for the node's status, its watch,
//! its lease, the pod watch, the runtime's news, housekeeping and static pods; one per pod while its status is being written.
//! Channels: a `watch` per pod holds the newest wish, a `Notify` beside it says "look".
//!
//! Refuses: deciding (that is `gantry-kubelet-core`), and stopping containers because the kubelet stops.

pub mod ask;
pub mod assemble;
pub mod bootstrap;
pub mod certificates;
pub mod collect;
pub mod config;
pub mod container;
pub mod ctx;
pub mod environment;
pub mod flags;
pub mod images;
pub mod kill;
pub mod lease;
pub mod nodes;
pub mod objects;
pub mod observe;
pub mod probes;
pub mod relist;
pub mod sandbox;
pub mod serve;
pub mod settings;
pub mod statics;
pub mod statuses;
pub mod sync;
pub mod table;
pub mod view;
pub mod worker;
