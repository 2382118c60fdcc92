//! What commands share: flags, the connection once made, and what discovery found once asked.

use crate::config;
use crate::error::{Error, Result, message};
use crate::flags::global::Global;
use crate::resources::discovery::Discovery;
use crate::resources::{Resource, mapper};
use crate::rest::Rest;
use std::rc::Rc;
use tokio::sync::OnceCell;

/// One run's shared state. Nothing is read or connected before it is needed.
pub struct Context {
    pub global: Global,
    resolved: OnceCell<config::Resolved>,
    rest: OnceCell<Rest>,
    discovery: OnceCell<Discovery>,
}

impl Context {
    pub fn new(global: Global) -> Self {
        Self { global, resolved: OnceCell::new(), rest: OnceCell::new(), discovery: OnceCell::new() }
    }

    /// The server, the identity and the namespace.
    ///
    /// # Errors
    /// A broken kubeconfig.
    pub async fn resolved(&self) -> Result<&config::Resolved> {
        self.resolved.get_or_try_init(|| config::resolve(&self.global)).await
    }

    /// The namespace commands work in.
    ///
    /// # Errors
    /// A broken kubeconfig.
    pub async fn namespace(&self) -> Result<String> {
        Ok(self.resolved().await?.namespace.clone())
    }

    /// The connection.
    ///
    /// # Errors
    /// A broken kubeconfig, unreadable certificates.
    pub async fn rest(&self) -> Result<&Rest> {
        self.rest
            .get_or_try_init(|| async {
                let r = self.resolved().await?;
                Ok(Rest {
                    client: r.client.build().map_err(|e| message(e.to_string()))?,
                    host: r.host.clone(),
                    server: r.server.clone(),
                    timeout: self.global.timeout,
                    verbosity: self.global.verbosity,
                    seen: Default::default(),
                })
            })
            .await
    }

    /// A client whose connections may be upgraded: exec, attach, port-forward.
    ///
    /// # Errors
    /// As [`Self::rest`].
    pub async fn upgrading(&self) -> Result<kube::Client> {
        let client = self.resolved().await?.client.clone().http1_only();
        client.build().map_err(|e| message(e.to_string()))
    }

    /// Everything the server serves.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn discovery(&self) -> Result<&Discovery> {
        self.discovery.get_or_try_init(|| async { Discovery::fetch(self.rest().await?).await }).await
    }

    /// A resource type by any of its names.
    ///
    /// # Errors
    /// Where the server has no such type.
    pub async fn resource(&self, arg: &str) -> Result<Rc<Resource>> {
        if let Some(r) = mapper::built_in(arg) {
            if let Some(other) = mapper::ambiguous(arg, &r) {
                let q = gantry_types::field::go_quote(arg);
                eprintln!("Warning: short name {q} could also match lower priority resource {other}");
            }
            return Ok(Rc::new(r));
        }
        if let Some(r) = mapper::find(self.discovery().await?, arg) {
            return Ok(Rc::new(r.clone()));
        }
        Err(Error::NoResource(arg.split('.').next().unwrap_or(arg).to_owned()))
    }

    /// A resource type, or the members of a category.
    ///
    /// # Errors
    /// Where the server has no such type.
    pub async fn resources(&self, arg: &str) -> Result<Vec<Rc<Resource>>> {
        if mapper::built_in(arg).is_none() && !arg.contains('.') {
            let d = self.discovery().await?;
            let members: Vec<Rc<Resource>> = d
                .preferred()
                .into_iter()
                .filter(|r| r.categories.iter().any(|c| c == arg) && r.verbs.iter().any(|v| v == "list"))
                .map(|r| Rc::new(r.clone()))
                .collect();
            if !members.is_empty() {
                return Ok(members);
            }
        }
        Ok(vec![self.resource(arg).await?])
    }

    /// The resource type of a kind, where the server has it.
    ///
    /// # Errors
    /// No connection, or a refusal.
    pub async fn resource_of_kind(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Option<Rc<Resource>>> {
        if let Some(r) = mapper::built_in_kind(group, version, kind) {
            return Ok(Some(Rc::new(r)));
        }
        let d = self.discovery().await?;
        Ok(mapper::find_kind(d, group, version, kind).map(|r| Rc::new(r.clone())))
    }
}
