//! Whom the cluster tells us to believe: the ConfigMap `kube-system/extension-apiserver-authentication`.

use gantry_pki::verify::{self, ClientVerifier};
use gantry_types::user::UserInfo;
use http::HeaderMap;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::collections::BTreeMap;

pub const NAMESPACE: &str = "kube-system";
pub const NAME: &str = "extension-apiserver-authentication";

/// The front proxy, and the authority of client certificates.
#[derive(Debug, Default)]
pub struct Trust {
    proxy: Option<ClientVerifier>,
    /// Common names the proxy may have; empty for any.
    allowed_names: Vec<String>,
    users: Vec<String>,
    uids: Vec<String>,
    groups: Vec<String>,
    extras: Vec<String>,
    clients: Option<ClientVerifier>,
    /// Both authorities, for the handshake.
    pub bundle: String,
}

/// Undoes `%2F` in the name of a header.
fn unescape(text: &str) -> String {
    crate::query::decode(&text.to_ascii_lowercase(), false)
}

fn named(leaf: &CertificateDer<'_>) -> Option<UserInfo> {
    let (name, groups) = verify::subject(leaf).ok()?;
    (!name.is_empty()).then(|| UserInfo { name, groups, ..UserInfo::default() })
}

impl Trust {
    /// Reads the ConfigMap. What is missing or broken is not believed.
    pub fn read(data: &BTreeMap<String, String>) -> Self {
        let mut bundle = String::new();
        let mut authority = |key: &str| {
            let text = data.get(key).filter(|text| !text.trim().is_empty())?;
            match ClientVerifier::new(text) {
                Ok(verifier) => {
                    bundle.push_str(text.trim_end());
                    bundle.push('\n');
                    Some(verifier)
                }
                Err(error) => {
                    tracing::warn!(key, %error, "an authority in {NAMESPACE}/{NAME} is no good");
                    None
                }
            }
        };
        let list = |key: &str| -> Vec<String> {
            let text = data.get(key).map(String::as_str).unwrap_or_default();
            serde_json::from_str(text).unwrap_or_default()
        };
        let (proxy, clients) = (authority("requestheader-client-ca-file"), authority("client-ca-file"));
        Self {
            proxy,
            allowed_names: list("requestheader-allowed-names"),
            users: list("requestheader-username-headers"),
            uids: list("requestheader-uid-headers"),
            groups: list("requestheader-group-headers"),
            extras: list("requestheader-extra-headers-prefix"),
            clients,
            bundle,
        }
    }

    /// Who is at the other end: whom the front proxy speaks for, or who a client certificate names.
    pub fn identify(
        &self,
        chain: &[CertificateDer<'_>],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<UserInfo> {
        let leaf = chain.first()?;
        let vouched = |by: &Option<ClientVerifier>| by.as_ref().is_some_and(|v| v.verify(chain, now).is_ok());
        let subject = named(leaf)?;
        let allowed = self.allowed_names.is_empty() || self.allowed_names.contains(&subject.name);
        if allowed
            && vouched(&self.proxy)
            && let Some(user) = self.spoken_for(headers)
        {
            return Some(user);
        }
        vouched(&self.clients).then_some(subject)
    }

    fn spoken_for(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let all = |names: &[String]| -> Vec<String> {
            let values = names.iter().flat_map(|name| headers.get_all(name.as_str()));
            values.filter_map(|v| v.to_str().ok()).filter(|v| !v.is_empty()).map(str::to_owned).collect()
        };
        let first = |names: &[String]| all(names).into_iter().next();
        let mut user = UserInfo {
            name: first(&self.users)?,
            uid: first(&self.uids).unwrap_or_default(),
            groups: all(&self.groups),
            extra: BTreeMap::new(),
        };
        for (header, value) in headers {
            let key = self.extras.iter().find_map(|prefix| {
                let head = header.as_str().get(..prefix.len())?;
                head.eq_ignore_ascii_case(prefix).then(|| &header.as_str()[prefix.len()..])
            });
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                user.extra.entry(unescape(key)).or_default().push(value.to_owned());
            }
        }
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_pki::{Ca, Profile};

    #[test]
    fn only_the_proxy_speaks_for_others() {
        let now = Timestamp::now();
        let ca = |name: &str| Ca::create(name, now, gantry_pki::CA_LIFETIME).unwrap();
        let (proxies, clients, strangers) = (ca("proxies"), ca("clients"), ca("strangers"));
        let data = |allowed: &str| -> BTreeMap<String, String> {
            [
                ("client-ca-file", clients.cert()),
                ("requestheader-client-ca-file", proxies.cert()),
                ("requestheader-allowed-names", allowed),
                ("requestheader-username-headers", r#"["X-Remote-User"]"#),
                ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
                ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
                ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "a"),
            ("x-remote-group", "b"),
            ("x-remote-extra-example.org%2fkey", "v"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let told = |ca: &Ca, name: &str, allowed: &str, headers: &HeaderMap| {
            let issued = ca.issue(&Profile::client(name, Some("g")), now).unwrap();
            let chain = verify::certificates(&issued.cert).unwrap();
            let user = Trust::read(&data(allowed)).identify(&chain, headers, now);
            user.map_or("nobody".into(), |u| {
                format!("{}/{} {} {:?}", u.name, u.uid, u.groups.join("+"), u.extra)
            })
        };
        let jane = r#"jane/7 a+b {"example.org/key": ["v"]}"#;
        assert_eq!(told(&proxies, "front-proxy-client", r#"["front-proxy-client"]"#, &headers), jane);
        assert_eq!(told(&proxies, "anybody", "[]", &headers), jane);
        assert_eq!(told(&proxies, "anybody", r#"["front-proxy-client"]"#, &headers), "nobody");
        assert_eq!(told(&proxies, "front-proxy-client", "[]", &HeaderMap::new()), "nobody");
        // A client may not speak for others, whatever it says.
        assert_eq!(told(&clients, "front-proxy-client", "[]", &headers), "front-proxy-client/ g {}");
        assert_eq!(told(&strangers, "front-proxy-client", "[]", &headers), "nobody");
        assert!(Trust::read(&data("[]")).identify(&[], &headers, now).is_none());
        assert!(Trust::read(&BTreeMap::new()).bundle.is_empty());
    }
}
