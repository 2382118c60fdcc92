//! Passing requests of remote group versions on, with who asks in headers.

use super::{Route, backend};
use crate::assemble::Server;
use crate::cx::Cx;
use crate::http::body::Body;
use crate::http::respond::{self, Answer};
use crate::resources::proxy;
use gantry_aggregate::availability::Address;
use gantry_stream::upgrade;
use gantry_types::{StatusResult, UserInfo};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";

/// How long discovery may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Spreads requests over endpoints.
static TURN: AtomicUsize = AtomicUsize::new(0);

/// A key of `extra` as part of a header's name: what is no letter, digit or mark of one is percent-encoded.
fn escape(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte) {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Says who asks, and nothing anybody else said of it.
pub(super) fn identify(headers: &mut HeaderMap, user: &UserInfo) {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|name| [USER, UID, GROUP].contains(name) || name.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for name in said {
        headers.remove(name);
    }
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        if let Ok(name) = HeaderName::try_from(format!("{EXTRA}{}", escape(key))) {
            values.iter().for_each(|value| add(name.clone(), value));
        }
    }
}

fn refuse(code: u16, why: &str) -> Answer {
    respond::text(code, format!("{why}\n"))
}

/// The headers a backend is to see.
fn headers(cx: &Cx, to: &Address) -> HeaderMap {
    let mut headers = cx.headers.clone();
    upgrade::strip_hop(&mut headers);
    identify(&mut headers, &cx.user);
    for (name, value) in [
        (header::HOST, backend::authority(to)),
        (HeaderName::from_static("audit-id"), cx.audit_id.clone()),
        (HeaderName::from_static("x-forwarded-uri"), cx.path.clone()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// Serves one request of a remote group version.
pub async fn serve(
    server: &Arc<Server>,
    cx: &Cx,
    route: &Route,
    request: http::Request<Body>,
) -> StatusResult<Answer> {
    if !route.available {
        return Ok(refuse(503, "service unavailable"));
    }
    if let Err(why) = &route.backend.tls {
        return Ok(refuse(500, why));
    }
    let mut addresses = match backend::addresses(server, &route.service) {
        Ok(addresses) => addresses,
        Err(why) => {
            tracing::error!(name = route.service.metadata.name, why, "error resolving an APIService");
            return Ok(refuse(503, "service unavailable"));
        }
    };
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
    addresses.rotate_left(turn);
    let answer = exchange(cx, route, &addresses, request);
    if cx.info.is_resource {
        return Ok(answer.await);
    }
    // Discovery is quick or of no use: clients ask for all of it.
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer),
        Err(_) => Ok(refuse(503, "error trying to reach service: context deadline exceeded")),
    }
}

/// Asks the first address that takes connections.
async fn exchange(cx: &Cx, route: &Route, addresses: &[Address], request: http::Request<Body>) -> Answer {
    let mut failed = String::new();
    for address in addresses {
        match route.backend.connect(address).await {
            Ok(io) => {
                let path = match cx.raw_query.as_str() {
                    "" => cx.path.clone(),
                    query => format!("{}?{query}", cx.path),
                };
                let answer = proxy::exchange(io, cx, headers(cx, address), path, request).await;
                return answer.unwrap_or_else(|status| refuse(status.code(), status.message()));
            }
            Err(why) => failed = why,
        }
    }
    refuse(503, &format!("error trying to reach service: {failed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_told_and_never_believed() {
        let mut headers = HeaderMap::new();
        for name in ["x-remote-user", "x-remote-group", "x-remote-extra-scopes", "x-remote-uid"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("forged"));
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let user = UserInfo {
            name: "jane".into(),
            uid: "7".into(),
            groups: vec!["a".into(), "b".into()],
            extra: [("example.org/k%y".to_owned(), vec!["v".to_owned()])].into(),
        };
        identify(&mut headers, &user);
        let mut said: Vec<(&str, &[u8])> = headers.iter().map(|(k, v)| (k.as_str(), v.as_bytes())).collect();
        said.sort();
        assert_eq!(
            said,
            [
                ("accept", b"application/json".as_slice()),
                ("x-remote-extra-example.org%2fk%25y", b"v"),
                ("x-remote-group", b"a"),
                ("x-remote-group", b"b"),
                ("x-remote-uid", b"7"),
                ("x-remote-user", b"jane"),
            ]
        );
    }
}
