//! Identities in headers: bearer tokens, and what a trusted front proxy says.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use gantry_pki::verify::ClientVerifier;
use gantry_types::UserInfo;
use http::HeaderMap;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The subprotocol prefix that carries a token where a WebSocket client cannot set headers.
const WEBSOCKET_TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// The bearer token of a request, from its `Authorization` header or its WebSocket subprotocols.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()) {
        let (scheme, rest) = value.trim().split_once(' ')?;
        let token = rest.split(' ').next().unwrap_or_default();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(Cow::Borrowed(token));
    }
    let upgrade = headers.get(http::header::UPGRADE)?.to_str().ok()?;
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return None;
    }
    headers
        .get_all(http::header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_TOKEN))
        .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).or_else(|_| URL_SAFE.decode(encoded)).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|token| !token.is_empty())
        .map(Cow::Owned)
}

/// A proxy in front of the apiserver that has authenticated the user itself, as the `--requestheader-*`
/// flags describe it.
pub struct FrontProxy {
    pub ca: ClientVerifier,
    /// Common names the proxy's certificate may have; empty for any.
    pub allowed_names: Vec<String>,
    /// `X-Remote-User`
    pub user_headers: Vec<String>,
    /// `X-Remote-Uid`
    pub uid_headers: Vec<String>,
    /// `X-Remote-Group`
    pub group_headers: Vec<String>,
    /// `X-Remote-Extra-`
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// With the header names kubeadm sets.
    pub fn new(ca: ClientVerifier, allowed_names: Vec<String>) -> Self {
        Self {
            ca,
            allowed_names,
            user_headers: vec!["X-Remote-User".to_owned()],
            uid_headers: vec!["X-Remote-Uid".to_owned()],
            group_headers: vec!["X-Remote-Group".to_owned()],
            extra_prefixes: vec!["X-Remote-Extra-".to_owned()],
        }
    }

    /// Whether a connection with this certificate may speak for others.
    pub(super) fn vouches(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        let Some(leaf) = chain.first() else { return false };
        if self.ca.verify(chain, now).is_err() {
            return false;
        }
        let Ok((_, cert)) = x509_parser::parse_x509_certificate(leaf) else { return false };
        let name =
            cert.subject().iter_common_name().last().and_then(|cn| cn.as_str().ok()).unwrap_or_default();
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|allowed| allowed == name)
    }

    fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
        names
            .iter()
            .filter_map(|name| headers.get(name.as_str())?.to_str().ok())
            .find(|value| !value.is_empty())
            .map(str::to_owned)
    }

    /// Whom the proxy speaks for; `None` where it names nobody.
    pub(super) fn identity(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let name = Self::first(headers, &self.user_headers)?;
        let uid = Self::first(headers, &self.uid_headers).unwrap_or_default();
        let mut groups = Vec::new();
        for group in &self.group_headers {
            let values = headers.get_all(group.as_str()).iter().filter_map(|v| v.to_str().ok());
            groups.extend(values.filter(|v| !v.is_empty()).map(str::to_owned));
        }
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefixes {
            for (header, value) in headers {
                let (Some(key), Ok(value)) = (strip_prefix(header.as_str(), prefix), value.to_str()) else {
                    continue;
                };
                extra.entry(unescape(&key.to_ascii_lowercase())).or_default().push(value.to_owned());
            }
        }
        Some(UserInfo { name, uid, groups, extra })
    }

    /// Removes the proxy's headers, whoever sent them.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        for name in self.user_headers.iter().chain(&self.uid_headers).chain(&self.group_headers) {
            headers.remove(name.as_str());
        }
        let extras: Vec<_> = headers
            .keys()
            .filter(|h| self.extra_prefixes.iter().any(|p| strip_prefix(h.as_str(), p).is_some()))
            .cloned()
            .collect();
        for name in extras {
            headers.remove(name);
        }
    }
}

pub(crate) fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let head = name.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &name[prefix.len()..])
}

/// Decodes `%xx`; the text as it is where that fails, as upstream records malformed keys.
pub(crate) fn unescape(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(bytes.next()), digit(bytes.next())) {
            // Two hexadecimal digits make one byte.
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return text.to_owned(),
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}
