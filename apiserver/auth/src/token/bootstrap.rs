//! Bootstrap tokens: `<id>.<secret>`, as secrets `bootstrap-token-<id>` in `kube-system` have them.

use crate::authenticate::Authenticated;
use crate::resources::SECRETS;
use gantry_types::UserInfo;
use gantry_types::reader::ObjectReader;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use std::collections::BTreeSet;
use std::sync::Arc;

const NAMESPACE: &str = "kube-system";
const KIND: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Authenticates bootstrap tokens (`--enable-bootstrap-token-auth`), from memory.
pub struct BootstrapTokens {
    reader: Arc<dyn ObjectReader>,
    /// The apiserver's own audiences, which such a token is for.
    audiences: Vec<String>,
}

/// The id and the secret of a token of this form.
fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

/// Takes as long for any two texts of one length.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// `None` where the token has run out, or says it is not for this, or a time cannot be read.
fn usable(secret: &Secret, now: Timestamp) -> Option<()> {
    if let Some(end) = text(secret, "expiration").filter(|e| !e.is_empty()) {
        let end: Timestamp = end.parse().ok()?;
        (end > now).then_some(())?;
    }
    (text(secret, "usage-bootstrap-authentication") == Some("true")).then_some(())
}

fn is_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("system:bootstrappers:") else { return false };
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=256).contains(&rest.len())
        && rest.bytes().all(|b| lower(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(lower)
}

/// `None` where a group is not one a token may give.
fn groups(secret: &Secret) -> Option<Vec<String>> {
    let mut all = BTreeSet::from([GROUP.to_owned()]);
    for name in text(secret, "auth-extra-groups").unwrap_or_default().split(',').filter(|g| !g.is_empty()) {
        is_group(name).then(|| all.insert(name.to_owned()))?;
    }
    Some(all.into_iter().collect())
}

/// Who has a token, by the secret of its id.
fn identity(id: &str, secret: &str, stored: &Secret, now: Timestamp) -> Option<UserInfo> {
    let alive = stored.metadata.deletion_timestamp.is_none() && stored.type_.as_deref() == Some(KIND);
    if !alive || !same(text(stored, "token-secret").unwrap_or_default(), secret) {
        return None;
    }
    if text(stored, "token-id") != Some(id) {
        return None;
    }
    usable(stored, now)?;
    Some(UserInfo { name: format!("system:bootstrap:{id}"), groups: groups(stored)?, ..UserInfo::default() })
}

impl BootstrapTokens {
    pub fn new(reader: Arc<dyn ObjectReader>, audiences: Vec<String>) -> Self {
        Self { reader, audiences }
    }

    /// Who a token belongs to; `None` where it is none of these or does not hold. `audiences`: those asked
    /// for, `None` for the apiserver's own.
    pub fn authenticate(
        &self,
        token: &str,
        audiences: Option<&[String]>,
        now: Timestamp,
    ) -> Option<Authenticated> {
        let (id, secret) = split(token)?;
        let fitting: Vec<String> = match audiences {
            None => self.audiences.clone(),
            Some(asked) => asked.iter().filter(|a| self.audiences.contains(a)).cloned().collect(),
        };
        if audiences.is_some() && fitting.is_empty() {
            return None;
        }
        let stored = self.reader.get(&SECRETS, NAMESPACE, &format!("bootstrap-token-{id}"))?;
        let user = identity(id, secret, &stored.typed().ok()?, now)?;
        Some(Authenticated::of_token(user, fitting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_hold_while_their_secret_says_so() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |data: &[(&str, &str)], want: Option<&[&str]>| {
            let mut all = vec![("token-id", "abcdef"), ("token-secret", "0123456789abcdef")];
            all.push(("usage-bootstrap-authentication", "true"));
            all.extend(data);
            let data =
                all.iter().map(|(k, v)| ((*k).to_owned(), k8s_openapi::ByteString(v.as_bytes().to_vec())));
            let stored = Secret { type_: Some(KIND.into()), data: Some(data.collect()), ..Secret::default() };
            let found = identity("abcdef", "0123456789abcdef", &stored, now);
            assert_eq!(
                found.as_ref().map(|u| u.groups.iter().map(String::as_str).collect()),
                want.map(<[&str]>::to_vec),
                "{all:?}"
            );
            assert!(found.is_none_or(|u| u.name == "system:bootstrap:abcdef"));
        };
        check(&[], Some(&["system:bootstrappers"]));
        check(&[("token-secret", "x")], None);
        check(&[("token-id", "abcdeg")], None);
        check(&[("usage-bootstrap-authentication", "false")], None);
        check(&[("expiration", "2026-01-01T00:00:01Z")], Some(&["system:bootstrappers"]));
        check(&[("expiration", "2026-01-01T00:00:00Z")], None);
        check(&[("expiration", "soon")], None);
        let extra = "system:bootstrappers:kubeadm:default-node-token";
        check(&[("auth-extra-groups", extra)], Some(&["system:bootstrappers", extra]));
        check(&[("auth-extra-groups", "system:masters")], None);
        check(&[("auth-extra-groups", "system:bootstrappers:a-")], None);
    }

    #[test]
    fn only_the_form_of_a_token_is_one() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for text in ["abcdef", "abcdef.0123", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef.x", ""] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
