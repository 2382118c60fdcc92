//! Who a test speaks as.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_pki::{Ca, Profile};
use jiff::Timestamp;
use kube::config::AuthInfo;

/// An identity, made when it is first used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// `kubernetes-admin` in `system:masters`.
    Admin,
    /// `system:node:<name>` in `system:nodes`.
    Node(String),
    /// A client certificate with this user and, unless empty, this group.
    User {
        name: String,
        group: String,
    },
    /// Whatever bears this token.
    Token(String),
    Anonymous,
}

impl Identity {
    /// A user whom nothing is granted.
    pub fn nobody() -> Self {
        Self::user("nobody")
    }

    pub fn user(name: &str) -> Self {
        Self::User { name: name.to_owned(), group: String::new() }
    }

    pub fn node(name: &str) -> Self {
        Self::Node(name.to_owned())
    }

    /// What to send so that the apiserver takes us for this identity.
    pub(crate) fn credentials(&self, ca: &Ca) -> anyhow::Result<AuthInfo> {
        let profile = match self {
            Self::Admin => Profile::client("kubernetes-admin", Some("system:masters")),
            Self::Node(name) => Profile::client(format!("system:node:{name}"), Some("system:nodes")),
            Self::User { name, group } => Profile::client(name, (!group.is_empty()).then_some(group)),
            Self::Token(token) => {
                return Ok(AuthInfo { token: Some(token.clone().into()), ..AuthInfo::default() });
            }
            Self::Anonymous => return Ok(AuthInfo::default()),
        };
        let issued = ca.issue(&profile, Timestamp::now()).context("cannot issue a client certificate")?;
        Ok(AuthInfo {
            client_certificate_data: Some(STANDARD.encode(issued.cert)),
            client_key_data: Some(STANDARD.encode(issued.key).into()),
            ..AuthInfo::default()
        })
    }
}
