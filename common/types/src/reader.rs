//! Reading the cluster's own objects from inside the apiserver, from memory.

use crate::gvk::GroupResource;
use crate::object::Object;
use futures::stream::BoxStream;

/// A change seen by [`ObjectReader::subscribe`].
#[derive(Clone, Debug)]
pub enum ObjectEvent {
    /// The object exists now: added, changed, or part of what was there at the start.
    Applied(Object),
    /// The last state before it went.
    Deleted(Object),
    /// Everything that existed at the start has been delivered. Comes again after a relist, before which
    /// [`ObjectEvent::Reset`] comes.
    Synced,
    /// Forget everything; the full state follows.
    Reset,
}

/// Implemented by the watch cache; authorizers, admission plugins and allocators read through it.
pub trait ObjectReader: Send + Sync + 'static {
    /// `namespace` is empty for cluster-scoped resources.
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object>;
    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Object>;
    fn subscribe(&self, resource: &GroupResource) -> BoxStream<'static, ObjectEvent>;
}
