//! Where API objects come from.

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use std::sync::Arc;

/// Why an object could not be had. Texts are shown to users.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FetchError {
    /// `configmap "x" not found`
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Other(String),
}

/// A service account token and when to ask for the next one.
#[derive(Clone, Debug)]
pub struct Token {
    pub token: String,
    pub refresh_at: Timestamp,
}

/// A claim and the volume it is bound to.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub claim: PersistentVolumeClaim,
    pub volume: PersistentVolume,
}

/// Implemented by the kubelet's shell over watches and the token API.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>, FetchError>;
    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, FetchError>;
    /// A token bound to the pod. An empty audience is the apiserver's own.
    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, FetchError>;
    /// A claim that is bound, judged by [`crate::claim::judge`] and [`crate::claim::pair`].
    async fn claimed(&self, namespace: &str, claim: &str) -> Result<Claimed, FetchError>;
}
