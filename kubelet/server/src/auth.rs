//! Who asks, and whether they may.

use crate::answer::{self, Answer};
use crate::attributes;
use crate::review::{Remembered, Reviews};
use gantry_daemon::serving::Peer;
use gantry_types::user::UserInfo;
use http::request::Parts;
use http::{HeaderMap, header};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use x509_parser::prelude::{FromDer, X509Certificate};

/// `authentication` and `authorization` of the kubelet's configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    pub anonymous: bool,
    /// Bearer tokens are looked at.
    pub tokens: bool,
    /// `authorization.mode: AlwaysAllow`.
    pub always_allow: bool,
    pub token_ttl: Duration,
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            anonymous: false,
            tokens: true,
            always_allow: false,
            token_ttl: Duration::from_secs(120),
            authorized_ttl: Duration::from_secs(300),
            unauthorized_ttl: Duration::from_secs(30),
        }
    }
}

type AccessKey = (String, String, Vec<String>, &'static str, &'static str);

pub struct Gate {
    node: String,
    policy: Policy,
    /// `None` where there is no API server: then only certificates count, and nobody is authorized unless all
    /// are.
    reviews: Option<Arc<dyn Reviews>>,
    tokens: Remembered<[u8; 32], Option<UserInfo>>,
    accesses: Remembered<AccessKey, bool>,
}

/// The identity in a verified client certificate.
pub fn of_certificate(leaf: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let subject = parsed.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    (!name.is_empty()).then(|| UserInfo { name, groups, ..UserInfo::default() })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

impl Gate {
    pub fn new(node: String, policy: Policy, reviews: Option<Arc<dyn Reviews>>) -> Self {
        Self { node, policy, reviews, tokens: Remembered::default(), accesses: Remembered::default() }
    }

    /// Lets a request in, or answers why not.
    ///
    /// # Errors
    /// 401, 403 and 500 in upstream's words.
    pub async fn check(&self, parts: &Parts, now: Instant) -> Result<UserInfo, Box<Answer>> {
        let Some(user) = self.authenticate(parts, now).await else {
            return Err(Box::new(answer::text(401, "Unauthorized")));
        };
        if self.policy.always_allow {
            return Ok(user);
        }
        let asked = attributes::asked(&parts.method, parts.uri.path());
        for subresource in &asked.subresources {
            match self.allowed(&user, asked.verb, subresource, now).await {
                Ok(true) => return Ok(user),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error, user = user.name, subresource, "Authorization error");
                    return Err(Box::new(answer::text(
                        500,
                        format!(
                            "Authorization error (user={}, verb={}, resource=nodes, subresource={subresource})",
                            user.name, asked.verb
                        ),
                    )));
                }
            }
        }
        Err(Box::new(answer::text(
            403,
            format!(
                "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])\n",
                user.name,
                asked.verb,
                asked.subresources.join(" ")
            ),
        )))
    }

    async fn authenticate(&self, parts: &Parts, now: Instant) -> Option<UserInfo> {
        let leaf = parts.extensions.get::<Peer>().and_then(|p| p.certificates.first().cloned());
        let mut user = leaf.as_ref().and_then(of_certificate);
        if user.is_none()
            && let Some(token) = bearer(&parts.headers).filter(|_| self.policy.tokens)
        {
            // A wrong token is not the same as none: it never becomes anonymous.
            user = Some(self.token(token, now).await?);
        }
        match user {
            Some(mut user) => {
                if !user.in_group("system:authenticated") && !user.in_group("system:unauthenticated") {
                    user.groups.push("system:authenticated".into());
                }
                Some(user)
            }
            None => self.policy.anonymous.then(UserInfo::anonymous),
        }
    }

    async fn token(&self, token: &str, now: Instant) -> Option<UserInfo> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.get(&key, now) {
            return known;
        }
        match self.reviews.as_ref()?.token(token).await {
            Ok(user) => {
                self.tokens.put(key, user.clone(), now, self.policy.token_ttl);
                user
            }
            Err(error) => {
                tracing::error!(error, "Unable to authenticate the request due to an error");
                None
            }
        }
    }

    async fn allowed(
        &self,
        user: &UserInfo,
        verb: &'static str,
        subresource: &'static str,
        now: Instant,
    ) -> Result<bool, String> {
        let key = (user.name.clone(), user.uid.clone(), user.groups.clone(), verb, subresource);
        // Extra attributes may matter to a webhook behind the API server: such users are asked about anew.
        let remember = user.extra.is_empty();
        if let Some(known) = self.accesses.get(&key, now).filter(|_| remember) {
            return Ok(known);
        }
        let Some(reviews) = &self.reviews else { return Ok(false) };
        let allowed = reviews.access(user, verb, &self.node, subresource).await?;
        if remember {
            let ttl = if allowed { self.policy.authorized_ttl } else { self.policy.unauthorized_ttl };
            self.accesses.put(key, allowed, now, ttl);
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use http::{Method, Request};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// One token, `good`, of a user who may do anything with `pods`.
    #[derive(Default)]
    struct Fixed(AtomicUsize);

    #[async_trait]
    impl Reviews for Fixed {
        async fn token(&self, token: &str) -> Result<Option<UserInfo>, String> {
            self.0.fetch_add(1, Ordering::SeqCst);
            match token {
                "good" => Ok(Some(UserInfo { name: "u".into(), ..UserInfo::default() })),
                "down" => Err("no answer".into()),
                _ => Ok(None),
            }
        }

        async fn access(&self, u: &UserInfo, _: &str, node: &str, sub: &str) -> Result<bool, String> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(u.name == "u" && node == "n" && sub == "pods")
        }
    }

    fn parts(method: Method, path: &str, token: &str) -> Parts {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn requests_pass_or_not() {
        let fixed = Arc::new(Fixed::default());
        let gate = Gate::new("n".into(), Policy::default(), Some(fixed.clone()));
        let now = Instant::now();
        for (method, path, token, code) in [
            (Method::GET, "/pods", "good", 200),
            (Method::GET, "/runningpods/", "good", 200),
            (Method::POST, "/exec/a/b/c", "good", 403),
            (Method::GET, "/pods", "bad", 401),
            (Method::GET, "/pods", "down", 401),
            (Method::GET, "/pods", "", 401),
        ] {
            let got = gate.check(&parts(method, path, token), now).await;
            assert_eq!(got.map_or_else(|a| a.status().as_u16(), |_| 200), code, "{path} {token}");
        }
        let before = fixed.0.load(Ordering::SeqCst);
        assert!(gate.check(&parts(Method::GET, "/pods", "good"), now).await.is_ok());
        assert_eq!(fixed.0.load(Ordering::SeqCst), before, "remembered");
        let later = now + Duration::from_secs(121);
        assert!(gate.check(&parts(Method::GET, "/pods", "good"), later).await.is_ok());
        assert_eq!(fixed.0.load(Ordering::SeqCst), before + 1, "the token alone is asked about again");
    }

    #[tokio::test]
    async fn anonymous_is_a_choice() {
        let policy = Policy { anonymous: true, always_allow: true, ..Policy::default() };
        let gate = Gate::new("n".into(), policy, None);
        let user = gate.check(&parts(Method::GET, "/pods", ""), Instant::now()).await.unwrap();
        assert_eq!(user, UserInfo::anonymous());
        assert!(gate.check(&parts(Method::GET, "/pods", "any"), Instant::now()).await.is_err());
    }
}
