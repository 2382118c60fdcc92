//! Acting as someone else: the `Impersonate-*` headers.

use crate::authenticate::Authenticated;
use crate::token::{service_account_groups, service_account_user};
use crate::{AUTHENTICATED, UNAUTHENTICATED, forbidden};
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{Status, StatusResult, UserInfo};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What one header value asks to act as, in the terms of authorization.
struct Target<'a> {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

/// Whom a request acts as; `Ok(None)` where it acts for itself. The headers are removed by the caller
/// ([`strip`]) once this has been asked.
///
/// # Errors
/// 403 where the requestor may not act as one of those named, 500 where headers name no user.
pub fn impersonate(
    authorizer: &dyn Authorizer,
    requestor: &Authenticated,
    headers: &HeaderMap,
) -> StatusResult<Option<Arc<UserInfo>>> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let all = |name: &'static str| headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    let (user, uid) = (text(USER), text(UID));
    let groups: Vec<&str> = all(GROUP).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = crate::authenticate::strip_prefix(name.as_str(), EXTRA) else { continue };
        let value = value.to_str().unwrap_or_default().to_owned();
        extra.entry(crate::authenticate::unescape(&key.to_ascii_lowercase())).or_default().push(value);
    }
    if user.is_empty() {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal(format_args!(
            "requested [{}] without impersonating a user",
            listing(&groups, &extra, uid)
        )));
    }
    let account =
        user.strip_prefix(SERVICE_ACCOUNT).and_then(|rest| rest.split_once(':')).filter(|(ns, name)| {
            gantry_types::names::name_is_dns_label(ns, false).is_empty()
                && gantry_types::names::name_is_dns_subdomain(name, false).is_empty()
        });
    let core = |resource, namespace, name| Target {
        group: "",
        version: "v1",
        resource,
        subresource: "",
        namespace,
        name,
    };
    let mut targets = vec![match account {
        Some((namespace, name)) => core("serviceaccounts", namespace, name),
        None => core("users", "", user),
    }];
    targets.extend(groups.iter().map(|group| core("groups", "", group)));
    let authentication = |resource, subresource, name| Target {
        group: "authentication.k8s.io",
        version: "v1",
        resource,
        subresource,
        namespace: "",
        name,
    };
    for (key, values) in &extra {
        targets.extend(values.iter().map(|value| authentication("userextras", &**key, &**value)));
    }
    if !uid.is_empty() {
        targets.push(authentication("uids", "", uid));
    }
    for target in &targets {
        let attributes = Attributes {
            user: (*requestor.user).clone(),
            verb: "impersonate".to_owned(),
            group: target.group.to_owned(),
            version: target.version.to_owned(),
            resource: target.resource.to_owned(),
            subresource: target.subresource.to_owned(),
            namespace: target.namespace.to_owned(),
            name: target.name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        };
        match authorizer.authorize(&attributes) {
            Decision::Allow { .. } => {}
            Decision::Deny { reason } | Decision::NoOpinion { reason } => {
                return Err(forbidden(&attributes, &reason));
            }
        }
    }
    let name =
        account.map_or_else(|| user.to_owned(), |(namespace, name)| service_account_user(namespace, name));
    let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
    if let (true, Some((namespace, _))) = (groups.is_empty(), account) {
        groups = service_account_groups(namespace);
    }
    let has = |groups: &[String], wanted: &str| groups.iter().any(|g| g == wanted);
    if name == "system:anonymous" {
        if !has(&groups, UNAUTHENTICATED) {
            groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !has(&groups, AUTHENTICATED) && !has(&groups, UNAUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    Ok(Some(Arc::new(UserInfo { name, uid: uid.to_owned(), groups, extra })))
}

fn listing(groups: &[&str], extra: &BTreeMap<String, Vec<String>>, uid: &str) -> String {
    let mut parts: Vec<String> = groups.iter().map(|g| format!("Group={g}")).collect();
    parts.extend(extra.iter().flat_map(|(k, vs)| vs.iter().map(move |v| format!("UserExtra {k}={v}"))));
    if !uid.is_empty() {
        parts.push(format!("UID={uid}"));
    }
    parts.join(" ")
}

/// Removes the headers, so that nothing behind acts on them again.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
