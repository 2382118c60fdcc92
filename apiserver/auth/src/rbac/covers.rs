//! Whether rules already held cover rules to be granted.

use crate::go_list;
use crate::rbac::rule::url_matches;
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::collections::{BTreeMap, BTreeSet};

/// One verb on one resource (perhaps one name of it), or on one URL: a rule taken to its smallest parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    Resource { group: String, resource: String, name: Option<String>, verb: String },
    Url { url: String, verb: String },
}

fn list(field: &Option<Vec<String>>) -> &[String] {
    field.as_deref().unwrap_or_default()
}

fn grains(rule: &PolicyRule) -> Vec<Grain> {
    let mut out = Vec::new();
    for group in list(&rule.api_groups) {
        for resource in list(&rule.resources) {
            for verb in &rule.verbs {
                let grain = |name: Option<&String>| Grain::Resource {
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.cloned(),
                    verb: verb.clone(),
                };
                match list(&rule.resource_names) {
                    [] => out.push(grain(None)),
                    names => out.extend(names.iter().map(|name| grain(Some(name)))),
                }
            }
        }
    }
    for url in list(&rule.non_resource_urls) {
        out.extend(rule.verbs.iter().map(|verb| Grain::Url { url: url.clone(), verb: verb.clone() }));
    }
    out
}

fn covered(held: &PolicyRule, grain: &Grain) -> bool {
    let has = |items: &[String], wanted: &str| items.iter().any(|item| item == "*" || item == wanted);
    match grain {
        Grain::Resource { group, resource, name, verb } => {
            let resources = list(&held.resources);
            let names = list(&held.resource_names);
            has(&held.verbs, verb)
                && has(list(&held.api_groups), group)
                && (has(resources, resource)
                    || resource
                        .split_once('/')
                        .is_some_and(|(_, sub)| resources.iter().any(|r| r.strip_prefix("*/") == Some(sub))))
                && (names.is_empty() || name.as_ref().is_some_and(|name| names.contains(name)))
        }
        Grain::Url { url, verb } => {
            has(&held.verbs, verb)
                && list(&held.non_resource_urls)
                    .iter()
                    .any(|held| held == url || (held.ends_with('*') && url_matches(held, url)))
        }
    }
}

/// What of `wanted` nothing in `held` covers.
pub fn covers(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<Grain> {
    let mut missing = Vec::new();
    for rule in wanted {
        missing
            .extend(grains(rule).into_iter().filter(|grain| !held.iter().any(|rule| covered(rule, grain))));
    }
    missing
}

/// Missing grains as upstream lists them: verbs of one resource together, sorted, each once.
pub fn describe_missing(missing: &[Grain]) -> Vec<String> {
    let mut verbs: BTreeMap<(&str, &str, Option<&str>), Vec<&str>> = BTreeMap::new();
    let mut out = BTreeSet::new();
    for grain in missing {
        match grain {
            Grain::Resource { group, resource, name, verb } => {
                verbs.entry((group, resource, name.as_deref())).or_default().push(verb);
            }
            Grain::Url { url, verb } => {
                out.insert(format!("{{NonResourceURLs:{}, Verbs:{}}}", go_list(&[url]), go_list(&[verb])));
            }
        }
    }
    for ((group, resource, name), verbs) in verbs {
        let names = name.map(|name| format!(", ResourceNames:{}", go_list(&[name]))).unwrap_or_default();
        out.insert(format!(
            "{{APIGroups:{}, Resources:{}{names}, Verbs:{}}}",
            go_list(&[group]),
            go_list(&[resource]),
            go_list(&verbs)
        ));
    }
    out.into_iter().collect()
}
