//! Acting as someone else: the `Impersonate-*` headers.
//!
//! Two ways lead there. The plain one asks whether the requestor may `impersonate` each thing named. The
//! constrained one (KEP-5284) asks whether it may act as that identity and, apart from that, whether it may
//! do the request at hand while doing so.

use crate::authenticate::{Authenticated, strip_prefix, unescape};
use crate::token::{service_account_groups, service_account_user};
use crate::{AUTHENTICATED, MASTERS, UNAUTHENTICATED, forbidden};
use gantry_types::field::{Error, Path, go_quote};
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{Status, StatusResult, UserInfo, names};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From this many checks of one sort on, a wildcard is tried first.
const MANY: usize = 4;

/// The identity the headers ask for.
fn wanted(headers: &HeaderMap) -> StatusResult<Option<UserInfo>> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let groups: Vec<String> =
        headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = strip_prefix(name.as_str(), EXTRA) else { continue };
        let value = value.to_str().unwrap_or_default().to_owned();
        extra.entry(unescape(&key.to_ascii_lowercase())).or_default().push(value);
    }
    let wanted = UserInfo { name: text(USER), uid: text(UID), groups, extra };
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.groups.is_empty() && wanted.extra.is_empty() && wanted.uid.is_empty() {
        return Ok(None);
    }
    let list = |items: &[String]| items.iter().map(|i| go_quote(i)).collect::<Vec<_>>().join(", ");
    let groups = match &wanted.groups[..] {
        [] => "[]string(nil)".to_owned(),
        some => format!("[]string{{{}}}", list(some)),
    };
    let extra = if wanted.extra.is_empty() {
        "map[string][]string(nil)".to_owned()
    } else {
        let pairs = wanted.extra.iter().map(|(k, vs)| format!("{}:[]string{{{}}}", go_quote(k), list(vs)));
        format!("map[string][]string{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    };
    Err(Status::bad_request(format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:{groups}, Extra:{extra}}} without impersonating a \
         user name",
        go_quote(&wanted.uid)
    )))
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let sound = names::name_is_dns_label(namespace, false).is_empty()
        && names::name_is_dns_subdomain(name, false).is_empty();
    sound.then_some((namespace, name))
}

fn node(name: &str) -> Option<&str> {
    let name = name.strip_prefix("system:node:")?;
    names::name_is_dns_subdomain(name, false).is_empty().then_some(name)
}

/// One way to be allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

impl Mode {
    const ALL: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    /// Whether the mode is for such a request at all.
    fn fits(self, requestor: &UserInfo, wanted: &UserInfo) -> bool {
        let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Self::AssociatedNode => {
                let home = requestor.extra.get("authentication.kubernetes.io/node-name").map(Vec::as_slice);
                let home = if let Some([one]) = home { one } else { "" };
                bare && service_account(&requestor.name).is_some()
                    && node(&wanted.name).is_some_and(|n| n == home)
            }
            Self::ArbitraryNode => bare && node(&wanted.name).is_some(),
            Self::ServiceAccount => bare && service_account(&wanted.name).is_some(),
            Self::UserInfo => node(&wanted.name).is_none() && service_account(&wanted.name).is_none(),
            Self::Legacy => true,
        }
    }
}

/// The checks of one mode.
struct Check<'a> {
    authorizer: &'a dyn Authorizer,
    requestor: UserInfo,
    mode: Mode,
}

impl Check<'_> {
    fn attributes(&self, group: &str, resource: &str, name: &str) -> Attributes {
        let verb = match self.mode {
            Mode::Legacy => "impersonate".to_owned(),
            mode => format!("impersonate:{}", mode.name()),
        };
        Attributes {
            user: self.requestor.clone(),
            verb,
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        }
    }

    fn may(&self, attributes: &Attributes) -> StatusResult<()> {
        match self.authorizer.authorize(attributes) {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { reason } | Decision::NoOpinion { reason } => Err(forbidden(attributes, &reason)),
        }
    }

    /// Users, groups and accounts are the core group's in the plain mode.
    fn group(&self) -> &'static str {
        if self.mode == Mode::Legacy { "" } else { AUTHENTICATION }
    }

    fn user(&self, wanted: &UserInfo) -> StatusResult<Vec<String>> {
        let constrained = self.mode != Mode::Legacy;
        let mut attributes = self.attributes(self.group(), "users", &wanted.name);
        let mut groups = wanted.groups.clone();
        if let Some(name) = node(&wanted.name).filter(|_| constrained) {
            attributes.resource = "nodes".to_owned();
            attributes.name = if self.mode == Mode::AssociatedNode { "*" } else { name }.to_owned();
            groups = vec!["system:nodes".to_owned()];
        } else if let Some((namespace, name)) = service_account(&wanted.name) {
            attributes.resource = "serviceaccounts".to_owned();
            attributes.namespace = namespace.to_owned();
            attributes.name = name.to_owned();
            if groups.is_empty() {
                groups = service_account_groups(namespace);
            }
        }
        self.may(&attributes)?;
        Ok(groups)
    }

    fn groups(&self, groups: &[String]) -> StatusResult<()> {
        let mut attributes = self.attributes(self.group(), "groups", "");
        if self.mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(forbidden(&attributes, "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|g| g == MASTERS) {
                attributes.name = MASTERS.to_owned();
                return Err(forbidden(&attributes, "impersonating the system:masters group is not allowed"));
            }
            attributes.name = "*".to_owned();
            if groups.len() >= MANY && self.may(&attributes).is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            attributes.name.clone_from(group);
            self.may(&attributes)?;
        }
        Ok(())
    }

    fn extra(&self, extra: &BTreeMap<String, Vec<String>>) -> StatusResult<()> {
        if extra.is_empty() {
            return Ok(());
        }
        let mut attributes = self.attributes(AUTHENTICATION, "userextras", "");
        if self.mode != Mode::Legacy {
            if let Some(why) = extra.iter().find_map(|(key, values)| unsound_extra(key, values)) {
                return Err(forbidden(&attributes, &why));
            }
            if extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY {
                attributes.subresource = "*".to_owned();
                attributes.name = "*".to_owned();
                if self.may(&attributes).is_ok() {
                    return Ok(());
                }
            }
        }
        for (key, values) in extra {
            attributes.subresource.clone_from(key);
            for value in values {
                attributes.name.clone_from(value);
                self.may(&attributes)?;
            }
        }
        Ok(())
    }

    fn run(&self, wanted: &UserInfo, request: Option<&Attributes>) -> StatusResult<UserInfo> {
        if let Some(request) = request.filter(|_| self.mode != Mode::Legacy) {
            let mut on = request.clone();
            on.user = self.requestor.clone();
            on.verb = format!("impersonate-on:{}:{}", self.mode.name(), request.verb);
            self.may(&on)?;
        }
        let mut groups = self.user(wanted)?;
        if !wanted.uid.is_empty() {
            self.may(&self.attributes(AUTHENTICATION, "uids", &wanted.uid))?;
        }
        self.groups(&wanted.groups)?;
        self.extra(&wanted.extra)?;
        let has = |groups: &[String], group: &str| groups.iter().any(|g| g == group);
        let name = match service_account(&wanted.name) {
            Some((namespace, name)) => service_account_user(namespace, name),
            None => wanted.name.clone(),
        };
        let due = if name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
        if !has(&groups, due) && !has(&groups, UNAUTHENTICATED) {
            groups.push(due.to_owned());
        }
        Ok(UserInfo { name, uid: wanted.uid.clone(), groups, extra: wanted.extra.clone() })
    }
}

/// What is wrong with an extra, for the constrained modes.
fn unsound_extra(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let prefixed = key
        .split_once('/')
        .is_some_and(|(domain, path)| names::dns1123_subdomain(domain).is_empty() && !path.is_empty());
    if !prefixed {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        let error = Error::invalid(&Path::new("extra").child("key"), key, why);
        return Some(format!("impersonating an invalid key in extra is not allowed: {error}"));
    }
    if key != key.to_lowercase() {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {}", go_quote(key)));
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

/// Whom a request acts as; `Ok(None)` where it acts for itself. `request` is what it asks to do, for the
/// constrained modes; without it only the plain mode counts. The headers are removed by the caller
/// ([`strip`]) once this has been asked.
///
/// # Errors
/// 403 where the requestor may not (with the first mode's reason), 400 where headers name no user.
pub fn impersonate_for(
    authorizer: &dyn Authorizer,
    requestor: &Authenticated,
    headers: &HeaderMap,
    request: Option<&Attributes>,
) -> StatusResult<Option<Arc<UserInfo>>> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut first = None;
    for mode in Mode::ALL {
        let usable = mode == Mode::Legacy || request.is_some();
        if !usable || !mode.fits(&requestor.user, &wanted) {
            continue;
        }
        let mut requestor = (*requestor.user).clone();
        if mode == Mode::AssociatedNode {
            // The answer holds whatever the requestor's own extra says, which policy sees by its keys only.
            let keys = requestor.extra.into_keys().collect();
            requestor.extra =
                BTreeMap::from([("authentication.kubernetes.io/associated-node-keys".to_owned(), keys)]);
        }
        match (Check { authorizer, requestor, mode }).run(&wanted, request) {
            Ok(user) => return Ok(Some(Arc::new(user))),
            Err(status) => first = first.or(Some(status)),
        }
    }
    // The plain mode always runs, so there is an error where nothing allowed.
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// [`impersonate_for`] with the plain mode only.
///
/// # Errors
/// As there.
pub fn impersonate(
    authorizer: &dyn Authorizer,
    requestor: &Authenticated,
    headers: &HeaderMap,
) -> StatusResult<Option<Arc<UserInfo>>> {
    impersonate_for(authorizer, requestor, headers, None)
}

/// Removes the headers, so that nothing behind acts on them again.
pub fn strip(headers: &mut HeaderMap) {
    let names: Vec<_> = headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
