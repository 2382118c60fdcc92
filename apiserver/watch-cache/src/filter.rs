//! What a request selects, split into the parts indexes can use and the rest.

use gantry_types::Object;
use std::fmt;
use std::sync::Arc;

/// A compiled selection. An object matches when every part holds. The equality parts choose the index a list
/// reads and the changes a watch wakes for; put what cannot be said as an equality into `predicate`.
#[derive(Clone, Default)]
pub struct Filter {
    /// Of the request path or of `metadata.namespace=`.
    pub namespace: Option<Box<str>>,
    /// Of `metadata.name=` or of the request path.
    pub name: Option<Box<str>>,
    /// Selectable fields that must equal a value, beyond name and namespace.
    pub fields: Vec<(Box<str>, Box<str>)>,
    /// Labels that must be there with a value.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Everything else a label or field selector asks.
    pub predicate: Option<Arc<dyn Fn(&Object) -> bool + Send + Sync>>,
}

impl Filter {
    /// Everything, or everything in a namespace.
    pub fn all(namespace: Option<&str>) -> Self {
        Self { namespace: namespace.map(Into::into), ..Self::default() }
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|ns| ns == object.namespace()) && self.selects(object)
    }

    /// [`Filter::matches`] without the namespace.
    pub(crate) fn selects(&self, object: &Object) -> bool {
        self.name.as_deref().is_none_or(|n| n == object.name())
            && self.fields.iter().all(|(k, v)| object.field(k) == Some(v))
            && self.labels.iter().all(|(k, v)| object.meta().labels.get(k) == Some(v))
            && self.predicate.as_ref().is_none_or(|p| p(object))
    }

    /// Whether nothing but the namespace narrows the selection.
    pub fn selects_all(&self) -> bool {
        self.name.is_none() && self.fields.is_empty() && self.labels.is_empty() && self.predicate.is_none()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("fields", &self.fields)
            .field("labels", &self.labels)
            .field("predicate", &self.predicate.is_some())
            .finish()
    }
}
