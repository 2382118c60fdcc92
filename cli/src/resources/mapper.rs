//! Names to resource types. What is built in at a stable version is known without asking; everything else is
//! found by discovery, in the server's order of precedence.

use super::Resource;
use super::discovery::Discovery;
use gantry_types::scheme::{KINDS, Kind};

/// A version without `alpha` or `beta`.
fn stable(version: &str) -> bool {
    version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A resource argument split into its parts: `deployments`, `deployments.apps`, `deployments.v1.apps`.
#[derive(Debug, PartialEq)]
pub struct Wanted<'a> {
    pub resource: &'a str,
    pub version: &'a str,
    pub group: &'a str,
}

/// The ways an argument may be read, the most specific first.
pub fn readings(arg: &str) -> Vec<Wanted<'_>> {
    let mut out = Vec::new();
    if let Some((resource, rest)) = arg.split_once('.') {
        if let Some((version, group)) = rest.split_once('.')
            && version.starts_with('v')
        {
            out.push(Wanted { resource, version, group });
        } else if stable(rest) {
            out.push(Wanted { resource, version: rest, group: "" });
        }
        out.push(Wanted { resource, version: "", group: rest });
    } else {
        out.push(Wanted { resource: arg, version: "", group: "" });
    }
    out
}

fn kind_matches(k: &Kind, w: &Wanted<'_>, lower: &str) -> bool {
    let named = k.plural == lower || k.singular == lower || k.short_names.contains(&lower);
    let group =
        if w.group.is_empty() { w.version.is_empty() || k.group.is_empty() } else { k.group == w.group };
    named && group && (w.version.is_empty() || k.version == w.version)
}

/// What needs no question: built-in resources whose names nothing else can take before them.
pub fn built_in(arg: &str) -> Option<Resource> {
    let lower = arg.to_lowercase();
    readings(&lower).iter().find_map(|w| {
        let mut rows = KINDS.iter().filter(|k| stable(k.version) && kind_matches(k, w, w.resource));
        let first = rows.next()?;
        // Without a group, only the core group and the groups every server orders first are beyond doubt.
        let sure = !w.group.is_empty() || matches!(first.group, "" | "apps" | "batch" | "autoscaling");
        sure.then(|| first.into())
    })
}

/// Another built-in resource a bare short name could stand for.
pub fn ambiguous(arg: &str, found: &Resource) -> Option<String> {
    if !found.short_names.iter().any(|s| s == arg) {
        return None;
    }
    let other = |k: &&Kind| stable(k.version) && k.group != found.group && k.short_names.contains(&arg);
    KINDS.iter().find(other).map(|k| format!("{}.{}", k.plural, k.group))
}

/// The built-in resource of a kind, for manifests.
pub fn built_in_kind(group: &str, version: &str, kind: &str) -> Option<Resource> {
    KINDS
        .iter()
        .find(|k| k.kind == kind && k.group == group && k.version == version && stable(version))
        .map(Into::into)
}

fn matches(r: &Resource, w: &Wanted<'_>, by_kind: bool) -> bool {
    let name = w.resource;
    let named = r.plural == name
        || r.singular == name
        || r.short_names.iter().any(|s| s == name)
        || by_kind && r.kind.eq_ignore_ascii_case(name);
    let group = if w.group.is_empty() {
        w.version.is_empty() || r.group.is_empty()
    } else if by_kind || r.group == w.group {
        r.group == w.group
    } else {
        // A group may be given by its beginning.
        r.group.starts_with(w.group)
    };
    named && group && (w.version.is_empty() || r.version == w.version)
}

/// Finds a resource by any of its names. Plurals and singulars of any group go before short names.
pub fn find<'d>(discovery: &'d Discovery, arg: &str) -> Option<&'d Resource> {
    let lower = arg.to_lowercase();
    for w in readings(&lower) {
        let exact =
            |r: &&Resource| matches(r, &w, false) && (r.plural == w.resource || r.singular == w.resource);
        let found = discovery
            .resources
            .iter()
            .find(exact)
            .or_else(|| discovery.resources.iter().find(|r| matches(r, &w, false)))
            .or_else(|| discovery.resources.iter().find(|r| matches(r, &w, true)));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Finds the resource of a kind at a version.
pub fn find_kind<'d>(d: &'d Discovery, group: &str, version: &str, kind: &str) -> Option<&'d Resource> {
    d.resources.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_resource() {
        let check = |arg: &str, expected: &str| {
            let found =
                built_in(arg).map(|r| format!("{}/{}", r.api_version(), r.plural)).unwrap_or_default();
            assert_eq!(found, expected, "{arg}");
        };
        check("po", "v1/pods");
        check("Pods", "v1/pods");
        check("deploy", "apps/v1/deployments");
        check("deployments.apps", "apps/v1/deployments");
        check("deployment.v1.apps", "apps/v1/deployments");
        check("services", "v1/services");
        check("events", "v1/events");
        check("events.events.k8s.io", "events.k8s.io/v1/events");
        check("lease", "");
        check("leases.coordination.k8s.io", "coordination.k8s.io/v1/leases");
        check("pods.v1", "v1/pods");
        check("widgets", "");
        check("widgets.example.com", "");
    }

    #[test]
    fn discovery_orders_by_group() {
        let r = |group: &str, plural: &str, short: &str| Resource {
            group: group.into(),
            version: "v1".into(),
            kind: "Widget".into(),
            plural: plural.into(),
            singular: "widget".into(),
            short_names: vec![short.into()],
            ..Resource::default()
        };
        let d = Discovery {
            resources: vec![r("a.io", "widgets", "w"), r("b.io", "widgets", "w")],
            ..Default::default()
        };
        let check = |arg: &str, group: &str| {
            assert_eq!(find(&d, arg).map(|r| r.group.as_str()).unwrap_or_default(), group, "{arg}");
        };
        check("widgets", "a.io");
        check("w", "a.io");
        check("widgets.b.io", "b.io");
        check("widget.v1.b.io", "b.io");
        check("nothing", "");
    }
}
