//! Lists and watches from memory, over any [`gantry_storage::Store`].
//!
//! Owns: one [`Cache`] per stored resource, all fed by a single watch of the store ([`Caches`]); lists at any
//! revision of the retained window, continue tokens, watches with bookmarks and streaming lists, and the
//! frames watchers share.
//!
//! Tasks and channels: one feed task for all caches. It owns every change of a cache's state; a `watch`
//! channel publishes the revision all caches have reached ([`Caches::position`]). A [`Watcher`] has a cursor
//! into its cache's ring and one waker: there is no queue per watcher, and only watchers that can match a
//! change are woken.
//!
//! Refuses: writing to the store, knowing what a body means beyond its metadata, and compiling selectors
//! (the caller hands in a [`Filter`]).

mod cache;
mod caches;
mod config;
mod dispatch;
mod event;
mod feed;
mod filter;
mod list;
mod refuse;
mod ring;
mod splice;
mod state;
mod token;
mod watch;

pub use cache::{Cache, Stats};
pub use caches::{Caches, Settings};
pub use config::{Convert, Decode, DecodeError, Decoded, ResourceConfig, json_decoder};
pub use event::{Change, ChangeEvent, Encoder, EventType, WatchEvent, bookmark_frame, json_frame};
pub use filter::Filter;
pub use list::{ListOptions, ListPage, VersionMatch};
pub use splice::splice_revision;
pub use watch::{WatchOptions, Watcher};
