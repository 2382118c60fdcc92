//! Service account tokens: signing, verifying, requesting, and publishing the keys.

mod bootstrap;
mod claims;
mod discovery;
mod jws;
mod live;
mod request;

pub use bootstrap::BootstrapTokens;
pub use claims::{Claims, Reference};
pub use discovery::{Discovery, MAX_AGE};
pub use jws::{Signer, VerifyKeys};
pub use request::{Issuer, TokenIssued};

use crate::authenticate::Authenticated;
use crate::go_list;
use claims::Kind;
use gantry_types::Object;
use gantry_types::reader::ObjectReader;
use jiff::Timestamp;
use parking_lot::RwLock;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Why a token of ours does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TokenError(pub String);

impl TokenError {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// `system:serviceaccount:<namespace>:<name>`
pub fn service_account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups every service account of a namespace is in.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}

/// How many verified tokens are remembered. A token is about a kilobyte.
const REMEMBERED: usize = 4096;

/// Told of each use of a token kept in a secret, with the secret; must not wait.
pub type LegacyUse = Arc<dyn Fn(&Object) + Send + Sync>;

/// Verifies tokens against keys, issuers and the live objects they are bound to.
pub struct TokenAuthenticator {
    keys: VerifyKeys,
    issuers: HashSet<String>,
    /// The apiserver's own audiences (`--api-audiences`).
    audiences: Vec<String>,
    reader: Arc<dyn ObjectReader>,
    /// Tokens whose signature held, with their claims. What they are bound to and their times are looked at
    /// anew every time.
    known: RwLock<HashMap<Box<str>, Arc<Claims>>>,
    legacy_use: Option<LegacyUse>,
}

impl TokenAuthenticator {
    /// `issuers`: every issuer whose tokens hold, the signing one first.
    pub fn new(
        keys: VerifyKeys,
        issuers: impl IntoIterator<Item = String>,
        audiences: Vec<String>,
        reader: Arc<dyn ObjectReader>,
    ) -> Self {
        let issuers = issuers.into_iter().collect();
        Self { keys, issuers, audiences, reader, known: RwLock::default(), legacy_use: None }
    }

    /// Tells of the use of tokens kept in secrets.
    #[must_use]
    pub fn telling(mut self, legacy_use: Option<LegacyUse>) -> Self {
        self.legacy_use = legacy_use;
        self
    }

    /// The claims of a token with one of our issuers and a good signature. `Ok(None)` where it is not a token
    /// of ours at all.
    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, TokenError> {
        if let Some(claims) = self.known.read().get(token) {
            return Ok(Some(claims.clone()));
        }
        let Some(unverified) = jws::Parts::split(token) else { return Ok(None) };
        let Some(claims) = Claims::read(&unverified.payload) else { return Ok(None) };
        let legacy = claims.issuer == claims::LEGACY_ISSUER;
        if !legacy && !self.issuers.contains(&claims.issuer) {
            return Ok(None);
        }
        self.keys.verify(&unverified)?;
        let claims = Arc::new(claims);
        let mut known = self.known.write();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(token.into(), claims.clone());
        Ok(Some(claims))
    }

    /// Whose token this is. `audiences`: those asked for; `None` for the apiserver's own.
    ///
    /// # Errors
    /// Where it is one of ours and does not hold, in upstream's words.
    pub fn authenticate(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Timestamp,
    ) -> Result<Option<Authenticated>, TokenError> {
        let Some(claims) = self.claims(token)? else { return Ok(None) };
        let mut annotations = Vec::new();
        let own: &[String] = if claims.audiences.is_empty() {
            annotations.push(("authentication.k8s.io/legacy-token", claims.subject.clone()));
            &self.audiences
        } else {
            &claims.audiences
        };
        let wanted = audiences.unwrap_or(&self.audiences);
        let shared: Vec<String> = own.iter().filter(|a| wanted.contains(a)).cloned().collect();
        if shared.is_empty() && !self.audiences.is_empty() {
            return Err(TokenError(format!(
                "token audiences {} is invalid for the target audiences {}",
                go_list(own),
                go_list(wanted)
            )));
        }
        let mut warnings = Vec::new();
        let user = match &claims.kind {
            Kind::Bound(bound) => {
                live::check_times(&claims, now)?;
                live::check_bound(&*self.reader, bound, now)?;
                if let Some(after) = bound.warn_after.filter(|after| now.as_second() > *after) {
                    let late = now.as_second() - after;
                    let text =
                        format!("subject: {}, seconds after warning threshold: {late}", claims.subject);
                    annotations.push(("authentication.k8s.io/stale-token", text));
                }
                claims.user.clone()
            }
            Kind::Legacy(legacy) => {
                let used = |secret: &Object| self.legacy_use.iter().for_each(|tell| tell(secret));
                let reader = &*self.reader;
                live::check_legacy(reader, &claims, legacy, token, &mut annotations, &mut warnings, &used)?;
                claims.user.clone()
            }
        };
        Ok(Some(Authenticated { user, audiences: shared, annotations, warnings }))
    }
}
