//! Resource types by any of their names, manifests, and the objects a command line speaks of.

pub mod builder;
pub mod discovery;
pub mod files;
pub mod mapper;

use gantry_types::Document;
use gantry_types::scheme::Kind;
use std::rc::Rc;

/// One served resource type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub verbs: Vec<String>,
}

impl From<&Kind> for Resource {
    fn from(k: &Kind) -> Self {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Self {
            group: k.group.into(),
            version: k.version.into(),
            kind: k.kind.into(),
            plural: k.plural.into(),
            singular: k.singular.into(),
            namespaced: k.namespaced(),
            short_names: owned(k.short_names),
            categories: owned(k.categories),
            verbs: owned(k.verbs),
        }
    }
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods` or `deployments.apps`.
    pub fn full(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `pod/x` or `deployment.apps/x`, as messages name objects.
    pub fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.kind_name())
    }

    /// `pod` or `deployment.apps`.
    pub fn kind_name(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// The collection's path; all namespaces where none is given.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let api = self.api_version();
        match namespace.filter(|_| self.namespaced) {
            Some(ns) => format!("{root}/{api}/namespaces/{}/{}", crate::rest::escape(ns), self.plural),
            None => format!("{root}/{api}/{}", self.plural),
        }
    }

    /// One object's path.
    pub fn object_path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.path(namespace), crate::rest::escape(name))
    }
}

/// One object a command is about, or all of a type where it has no name.
#[derive(Clone, Debug)]
pub struct Info {
    pub resource: Rc<Resource>,
    pub namespace: Option<String>,
    pub name: String,
    /// What a manifest said, or the server.
    pub object: Document,
    /// The manifest it came from, for messages.
    pub source: String,
}

impl Info {
    pub fn path(&self) -> String {
        self.resource.object_path(self.namespace.as_deref(), &self.name)
    }

    /// `deployment.apps/x`.
    pub fn named(&self) -> String {
        self.resource.named(&self.name)
    }

    /// The same, of what the server answered.
    #[must_use]
    pub fn with(&self, object: Document) -> Info {
        let name = if object.name().is_empty() { self.name.clone() } else { object.name().to_owned() };
        Info { object, name, ..self.clone() }
    }
}
