//! From a connection and a request's headers to an identity.

mod headers;
pub(crate) use headers::{strip_prefix, unescape};
mod tls;
mod x509;

pub use headers::FrontProxy;
pub use tls::RequestClientCert;

use crate::token::{BootstrapTokens, TokenAuthenticator, TokenError};
use crate::{AUTHENTICATED, UNAUTHENTICATED};
use gantry_pki::verify::ClientVerifier;
use gantry_types::UserInfo;
use http::HeaderMap;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// Why a request has no identity. Clients are told no more than 401; the text is for the log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unauthenticated(pub String);

/// An identity, with what the audit log and warnings want to know about how it was proven.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Carries `system:authenticated` or `system:unauthenticated` already.
    pub user: Arc<UserInfo>,
    /// The audiences asked for that the token is for; empty where no token was used.
    pub audiences: Vec<String>,
    /// Audit annotations.
    pub annotations: Vec<(&'static str, String)>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

impl Authenticated {
    fn plain(user: Arc<UserInfo>) -> Self {
        Self { user, audiences: Vec::new(), annotations: Vec::new(), warnings: Vec::new() }
    }

    pub(crate) fn of_token(user: UserInfo, audiences: Vec<String>) -> Self {
        Self { audiences, ..Self::plain(Arc::new(with_group(user))) }
    }
}

/// What a TLS connection's client certificate says: computed once per connection, asked on every request.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The identity of a certificate `--client-ca-file` vouches for, or why there is none.
    client: Option<Result<Arc<UserInfo>, String>>,
    /// Whether the certificate is the front proxy's.
    front_proxy: bool,
    not_after: Option<Timestamp>,
}

/// The authenticators in upstream's order: front proxy, client certificate, tokens, anonymous.
#[derive(Default)]
pub struct Authenticator {
    pub client_ca: Option<ClientVerifier>,
    pub front_proxy: Option<FrontProxy>,
    pub tokens: Option<Arc<TokenAuthenticator>>,
    /// Where bootstrap tokens are accepted.
    pub bootstrap_tokens: Option<BootstrapTokens>,
    /// Whether a request without credentials is `system:anonymous`.
    pub anonymous: bool,
}

fn with_group(mut user: UserInfo) -> UserInfo {
    // As upstream: not for those who carry one of the two groups already.
    if user.name != "system:anonymous" && !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

impl Authenticator {
    /// Checks a connection's client certificates, leaf first; empty where the client sent none.
    pub fn connection(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Connection {
        let Some(leaf) = chain.first() else { return Connection::default() };
        let client = self.client_ca.as_ref().and_then(|ca| {
            let identity = ca
                .verify(chain, now)
                .map_err(|e| e.to_string())
                .and_then(|()| x509::identity(leaf))
                .map_err(|e| format!("verifying certificate {} failed: {e}", x509::describe(leaf)));
            identity.map(|user| user.map(|u| Arc::new(with_group(u)))).transpose()
        });
        let front_proxy = self.front_proxy.as_ref().is_some_and(|proxy| proxy.vouches(chain, now));
        Connection { client, front_proxy, not_after: x509::not_after(leaf) }
    }

    /// Who asks. Synchronous and fast: a known token costs a map lookup and the live checks of what it is
    /// bound to.
    ///
    /// # Errors
    /// Where credentials were given and none held, or none were and anonymous requests are refused.
    pub fn authenticate(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Authenticated, Unauthenticated> {
        let expired = connection.not_after.is_some_and(|end| now > end);
        if connection.front_proxy
            && !expired
            && let Some(user) = self.front_proxy.as_ref().and_then(|proxy| proxy.identity(headers))
        {
            return Ok(Authenticated::plain(Arc::new(with_group(user))));
        }
        let mut failed: Option<String> = None;
        match &connection.client {
            Some(Ok(user)) if !expired => return Ok(Authenticated::plain(user.clone())),
            Some(Ok(_)) => failed = Some("client certificate has expired".to_owned()),
            Some(Err(why)) => failed = Some(why.clone()),
            None => {}
        }
        if let Some(token) = headers::bearer(headers) {
            match self.token(&token, None, now) {
                Ok(Some(authenticated)) => return Ok(authenticated),
                Ok(None) => failed = Some("invalid bearer token".to_owned()),
                Err(e) => failed = Some(format!("invalid bearer token, {e}")),
            }
        }
        match failed {
            Some(why) => Err(Unauthenticated(why)),
            None if self.anonymous => Ok(Authenticated::plain(Arc::new(UserInfo::anonymous()))),
            None => Err(Unauthenticated("no credentials provided".to_owned())),
        }
    }

    /// Who a token belongs to. `audiences`: those asked for, `None` for the apiserver's own.
    ///
    /// # Errors
    /// Where it is one of ours and does not hold. `Ok(None)` where it is none of ours.
    pub fn token(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Timestamp,
    ) -> Result<Option<Authenticated>, TokenError> {
        if let Some(bootstrap) = &self.bootstrap_tokens
            && let Some(found) = bootstrap.authenticate(token, audiences, now)
        {
            return Ok(Some(found));
        }
        match &self.tokens {
            Some(tokens) => tokens.authenticate(token, audiences, now),
            None => Ok(None),
        }
    }
}

/// Removes what a request proved its identity with, before anything else sees the headers.
pub fn strip_credentials(headers: &mut HeaderMap, front_proxy: Option<&FrontProxy>) {
    headers.remove(http::header::AUTHORIZATION);
    if let Some(proxy) = front_proxy {
        proxy.strip(headers);
    }
}
