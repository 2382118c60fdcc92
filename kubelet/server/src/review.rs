//! Asking the API server who somebody is and what they may do, and remembering the answers for a while.

use async_trait::async_trait;
use gantry_types::user::UserInfo;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The two questions.
#[async_trait]
pub trait Reviews: Send + Sync + 'static {
    /// The token's owner; `None` where the token is not one.
    async fn token(&self, token: &str) -> Result<Option<UserInfo>, String>;
    /// Whether `user` may do `verb` on the subresource of the node.
    async fn access(
        &self,
        user: &UserInfo,
        verb: &str,
        node: &str,
        subresource: &str,
    ) -> Result<bool, String>;
}

/// Asks the API server.
pub struct Remote(pub kube::Client);

#[async_trait]
impl Reviews for Remote {
    async fn token(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.0.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|e| e.to_string())?;
        let status = answer.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)).map(|u| UserInfo {
            name: u.username.unwrap_or_default(),
            uid: u.uid.unwrap_or_default(),
            groups: u.groups.unwrap_or_default(),
            extra: u.extra.unwrap_or_default(),
        }))
    }

    async fn access(
        &self,
        user: &UserInfo,
        verb: &str,
        node: &str,
        subresource: &str,
    ) -> Result<bool, String> {
        let text = |t: &str| Some(t.to_owned()).filter(|t| !t.is_empty());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: text(&user.name),
                uid: text(&user.uid),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()).filter(|e| !e.is_empty()),
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    version: text("v1"),
                    resource: text("nodes"),
                    subresource: text(subresource),
                    name: text(node),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.0.clone());
        let answer = api.create(&PostParams::default(), &review).await.map_err(|e| e.to_string())?;
        Ok(answer.status.unwrap_or_default().allowed)
    }
}

/// Answers remembered until they expire; when full, expired ones go first, then all.
pub struct Remembered<K, V>(Mutex<HashMap<K, (Instant, V)>>);

const MOST: usize = 4096;

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    pub fn get(&self, key: &K, now: Instant) -> Option<V> {
        self.0.lock().get(key).filter(|(until, _)| now < *until).map(|(_, v)| v.clone())
    }

    pub fn put(&self, key: K, value: V, now: Instant, ttl: Duration) {
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.retain(|_, (until, _)| now < *until);
            if all.len() >= MOST {
                all.clear();
            }
        }
        all.insert(key, (now + ttl, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_expire_and_are_bounded() {
        let all = Remembered::default();
        let start = Instant::now();
        all.put(0_usize, 'a', start, Duration::from_secs(10));
        assert_eq!(all.get(&0, start + Duration::from_secs(9)), Some('a'));
        assert_eq!(all.get(&0, start + Duration::from_secs(10)), None);
        for n in 0..MOST * 2 {
            all.put(n, 'b', start, Duration::from_secs(1));
        }
        assert!(all.0.lock().len() <= MOST);
        assert_eq!(all.get(&(MOST * 2 - 1), start), Some('b'));
    }
}
