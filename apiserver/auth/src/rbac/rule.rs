//! Whether one rule allows one request.

use gantry_types::user::Attributes;
use k8s_openapi::api::rbac::v1::PolicyRule;
use std::borrow::Cow;

/// A request, with what rules compare computed once.
pub struct Request<'a> {
    attributes: &'a Attributes,
    /// `resource` or `resource/subresource`.
    resource: Cow<'a, str>,
}

fn list(field: &Option<Vec<String>>) -> &[String] {
    field.as_deref().unwrap_or_default()
}

fn has(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == wanted)
}

fn matches(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

impl<'a> Request<'a> {
    pub fn of(attributes: &'a Attributes) -> Self {
        let resource = if attributes.subresource.is_empty() {
            Cow::Borrowed(&*attributes.resource)
        } else {
            Cow::Owned(format!("{}/{}", attributes.resource, attributes.subresource))
        };
        Self { attributes, resource }
    }

    pub fn allowed_by(&self, rule: &PolicyRule) -> bool {
        let a = self.attributes;
        if !matches(&rule.verbs, &a.verb) {
            return false;
        }
        if !a.resource_request {
            return list(&rule.non_resource_urls).iter().any(|url| url_matches(url, &a.path));
        }
        let names = list(&rule.resource_names);
        matches(list(&rule.api_groups), &a.group)
            && list(&rule.resources).iter().any(|r| self.resource_matches(r))
            && (names.is_empty() || has(names, &a.name))
    }

    fn resource_matches(&self, ruled: &str) -> bool {
        ruled == "*"
            || ruled == self.resource
            || (!self.attributes.subresource.is_empty()
                && ruled.strip_prefix("*/").is_some_and(|sub| sub == self.attributes.subresource))
    }
}

/// Whether a `nonResourceURLs` entry covers a path: equal, or a prefix where it ends in `*`.
pub fn url_matches(ruled: &str, path: &str) -> bool {
    ruled == "*" || ruled == path || (ruled.ends_with('*') && path.starts_with(ruled.trim_end_matches('*')))
}
