//! Who asks and whether they may: both delegated to the cluster's apiserver, answers kept for ten seconds.

use crate::route::{Asked, GROUP, VERSION};
use crate::trust::Trust;
use gantry_daemon::serving::Peer;
use gantry_types::Status;
use gantry_types::field::go_quote;
use gantry_types::gvk::GroupResource;
use gantry_types::user::UserInfo;
use http::{HeaderMap, header};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REMEMBERED: Duration = Duration::from_secs(10);
/// How long the apiserver may take over a review.
const PATIENCE: Duration = Duration::from_secs(10);
const AUTHENTICATED: &str = "system:authenticated";
/// Allowed everything by every apiserver, which need not be asked.
const MASTERS: &str = "system:masters";

/// Answers kept for a while; when there are too many, those that have expired go, then all.
struct Answers<K, V>(Mutex<HashMap<K, (Instant, V)>>);

const MOST: usize = 4096;

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.0.lock().get(key).filter(|(until, _)| now < *until).map(|(_, v)| v.clone())
    }

    fn put(&self, key: K, value: V, now: Instant) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (until, _)| now < *until);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(key, (now + REMEMBERED, value));
    }
}

/// Everything an answer of authorization depends on.
#[derive(PartialEq, Eq, Hash)]
struct Access {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    asked: Asked,
}

pub struct Gate {
    client: Client,
    trust: RwLock<Arc<Trust>>,
    tokens: Answers<[u8; 32], Option<UserInfo>>,
    accesses: Answers<Access, bool>,
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl Gate {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            trust: RwLock::default(),
            tokens: Answers(Mutex::default()),
            accesses: Answers(Mutex::default()),
        }
    }

    /// Believes others from now on.
    pub fn believe(&self, trust: Trust) {
        *self.trust.write() = Arc::new(trust);
    }

    /// Who asks: a certificate comes before a token; who shows neither is anonymous.
    ///
    /// # Errors
    /// 401 for a token nobody knows.
    pub async fn user(&self, peer: Option<&Peer>, headers: &HeaderMap) -> Result<UserInfo, Status> {
        let chain = peer.map(|p| &*p.certificates).unwrap_or_default();
        let trust = self.trust.read().clone();
        let mut user = trust.identify(chain, headers, Timestamp::now());
        if user.is_none()
            && let Some(token) = bearer(headers)
        {
            user = Some(self.token(token, Instant::now()).await.ok_or_else(Status::unauthorized)?);
        }
        let Some(mut user) = user else { return Ok(UserInfo::anonymous()) };
        if !user.in_group(AUTHENTICATED) && !user.in_group("system:unauthenticated") {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    async fn token(&self, token: &str, now: Instant) -> Option<UserInfo> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.tokens.get(&key, now) {
            return known;
        }
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let status = match tokio::time::timeout(PATIENCE, api.create(&parameters, &review)).await {
            Ok(Ok(answer)) => answer.status.unwrap_or_default(),
            Ok(Err(error)) => {
                tracing::error!(%error, "Unable to authenticate the request due to an error");
                return None;
            }
            Err(_) => return None,
        };
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|u| UserInfo {
            name: u.username.unwrap_or_default(),
            uid: u.uid.unwrap_or_default(),
            groups: u.groups.unwrap_or_default(),
            extra: u.extra.unwrap_or_default(),
        });
        self.tokens.put(key, user.clone(), now);
        user
    }

    /// Whether `user` may do what is asked.
    ///
    /// # Errors
    /// 403 where not, 500 where the apiserver does not tell.
    pub async fn pass(&self, user: &UserInfo, asked: &Asked) -> Result<(), Status> {
        if user.in_group(MASTERS) {
            return Ok(());
        }
        let now = Instant::now();
        let access = Access {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
            asked: asked.clone(),
        };
        let allowed = match self.accesses.get(&access, now) {
            Some(known) => known,
            None => {
                let allowed = self.review(user, asked).await.map_err(Status::internal)?;
                self.accesses.put(access, allowed, now);
                allowed
            }
        };
        if allowed { Ok(()) } else { Err(forbidden(user, asked)) }
    }

    async fn review(&self, user: &UserInfo, asked: &Asked) -> Result<bool, String> {
        let text = |t: &str| Some(t.to_owned()).filter(|t| !t.is_empty());
        let (resource, path) = if asked.resource.is_empty() {
            (None, Some(NonResourceAttributes { path: text(&asked.path), verb: text(&asked.verb) }))
        } else {
            let attributes = ResourceAttributes {
                group: text(GROUP),
                version: text(VERSION),
                resource: text(asked.resource),
                namespace: text(&asked.namespace),
                name: text(&asked.name),
                verb: text(&asked.verb),
                ..ResourceAttributes::default()
            };
            (Some(attributes), None)
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: text(&user.name),
                uid: text(&user.uid),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
                resource_attributes: resource,
                non_resource_attributes: path,
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        let answer = tokio::time::timeout(PATIENCE, api.create(&parameters, &review)).await;
        let answer = answer.map_err(|_| "timed out asking for authorization".to_owned())?;
        let answer = answer.map_err(|e| gantry_client::error::message(&e))?;
        Ok(answer.status.unwrap_or_default().allowed)
    }
}

fn forbidden(user: &UserInfo, asked: &Asked) -> Status {
    let who = go_quote(&user.name);
    if asked.resource.is_empty() {
        let why = format!("User {who} cannot {} path {}", asked.verb, go_quote(&asked.path));
        return Status::forbidden(&GroupResource::new("", ""), "", why);
    }
    let scope = match asked.namespace.as_str() {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {}", go_quote(namespace)),
    };
    let what = go_quote(asked.resource);
    let why =
        format!("User {who} cannot {} resource {what} in API group {} {scope}", asked.verb, go_quote(GROUP));
    Status::forbidden(&GroupResource::new(GROUP, asked.resource), &asked.name, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_worded_as_upstreams() {
        let user = UserInfo { name: "jane".into(), ..UserInfo::default() };
        let check = |asked: Asked, want: &str| assert_eq!(forbidden(&user, &asked).message(), want);
        let list = Asked { verb: "list".into(), resource: "pods", namespace: "a".into(), ..Asked::default() };
        check(
            list,
            "pods.metrics.k8s.io is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"metrics.k8s.io\" in the namespace \"a\"",
        );
        let get = Asked { verb: "get".into(), resource: "nodes", name: "n".into(), ..Asked::default() };
        check(
            get,
            "nodes.metrics.k8s.io \"n\" is forbidden: User \"jane\" cannot get resource \"nodes\" in API group \"metrics.k8s.io\" at the cluster scope",
        );
        let path = Asked { verb: "get".into(), path: "/metrics".into(), ..Asked::default() };
        check(path, "forbidden: User \"jane\" cannot get path \"/metrics\"");
    }
}
