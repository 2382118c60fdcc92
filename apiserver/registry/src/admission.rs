//! What admission plugins see and may do. Plugins live in `gantry-admission`.

use async_trait::async_trait;
use gantry_types::scheme::Kind;
use gantry_types::{Document, StatusResult, UserInfo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// One request as admission sees it, after defaulting and before validation.
pub struct Request<'a> {
    pub operation: Operation,
    pub kind: &'static Kind,
    /// Empty on the main resource.
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty for a create with `generateName`.
    pub name: &'a str,
    pub user: &'a UserInfo,
    /// The new object (create, update) or the subresource's body; `None` on delete.
    pub object: Option<&'a mut Document>,
    /// The object as stored (update, delete).
    pub old: Option<&'a Document>,
    pub dry_run: bool,
    /// Texts for `Warning` headers.
    pub warnings: &'a mut Vec<String>,
}

/// An admission plugin. Mutating plugins run first, in order, then the validating ones.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's plugin name, as in `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Whether the plugin looks at such requests at all; asked before either of the others.
    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool;

    /// May change `request.object`.
    async fn mutate(&self, _request: &mut Request<'_>) -> StatusResult<()> {
        Ok(())
    }

    /// Sees the final object.
    async fn validate(&self, _request: &Request<'_>) -> StatusResult<()> {
        Ok(())
    }
}

/// The enabled plugins, in upstream's order.
#[derive(Default)]
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// The same chain with one more plugin at its end.
    #[must_use]
    pub fn with(mut self, plugin: Box<dyn Plugin>) -> Self {
        self.plugins.push(plugin);
        self
    }

    pub async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        for plugin in &self.plugins {
            if plugin.handles(request.kind, request.subresource, request.operation) {
                plugin.mutate(request).await?;
            }
        }
        Ok(())
    }

    pub async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        for plugin in &self.plugins {
            if plugin.handles(request.kind, request.subresource, request.operation) {
                plugin.validate(request).await?;
            }
        }
        Ok(())
    }
}
