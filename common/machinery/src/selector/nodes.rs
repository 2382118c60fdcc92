//! Node selectors: the affinity of pods and volumes to nodes.

use super::labels::{Labels, Op, Requirement};
use super::{FieldOp, FieldTerm, SelectorError};
use gantry_types::field::{Error, ErrorList, Path};
use gantry_types::k8s_openapi::api::core::v1 as core;

/// One compiled term: all of it must hold.
#[derive(Clone, Debug)]
struct Term {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
    /// A term that could not be compiled never matches, and says so.
    error: Option<SelectorError>,
}

/// A compiled `NodeSelector`: a node matches where one of its terms does. Terms with nothing in them match
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct NodeSelector {
    terms: Vec<Term>,
}

/// The weighted preferences of a pod.
#[derive(Clone, Debug, Default)]
pub struct PreferredTerms {
    terms: Vec<(i64, Term)>,
}

impl Term {
    fn new(term: &core::NodeSelectorTerm, path: &Path) -> Self {
        let mut out = Self { labels: Vec::new(), fields: Vec::new(), error: None };
        let mut errors: Vec<String> = Vec::new();
        let at = path.child("matchExpressions");
        for (i, e) in term.match_expressions.iter().flatten().enumerate() {
            let at = at.index(i);
            let op = match e.operator.as_str() {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::DoesNotExist,
                "Gt" => Op::GreaterThan,
                "Lt" => Op::LessThan,
                other => {
                    let all = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
                    errors.push(Error::not_supported(&at.child("operator"), other, &all).to_string());
                    continue;
                }
            };
            let values = e.values.iter().flatten().map(|v| v.as_str().into()).collect();
            match Requirement::new(&e.key, op, values, &at) {
                Ok(r) => out.labels.push(r),
                Err(why) => errors.push(why.0),
            }
        }
        let mut field_errors = ErrorList::new();
        let at = path.child("matchFields");
        for (i, e) in term.match_fields.iter().flatten().enumerate() {
            let at = at.index(i);
            let op = match e.operator.as_str() {
                "In" => FieldOp::Equals,
                "NotIn" => FieldOp::NotEquals,
                other => {
                    field_errors.push(Error::not_supported(&at.child("operator"), other, &["In", "NotIn"]));
                    continue;
                }
            };
            match e.values.as_deref().unwrap_or_default() {
                [one] => out.fields.push(FieldTerm {
                    field: e.key.as_str().into(),
                    op,
                    value: one.as_str().into(),
                }),
                values => {
                    field_errors.push(Error::invalid(&at.child("values"), values, "must have one element"));
                }
            }
        }
        if !field_errors.is_empty() {
            errors.extend(field_errors.iter().map(ToString::to_string));
        }
        out.error = match errors.len() {
            0 => None,
            1 => errors.pop().map(SelectorError),
            _ => Some(SelectorError(format!("[{}]", errors.join(", ")))),
        };
        out
    }

    fn matches(&self, name: &str, labels: &impl Labels) -> bool {
        self.error.is_none()
            && self.labels.iter().all(|r| r.matches(labels))
            // A node without a name has no fields, which upstream takes as no objection.
            && (name.is_empty()
                || self.fields.iter().all(|t| {
                    let value = if &*t.field == "metadata.name" { name } else { "" };
                    (value == &*t.value) == (t.op == FieldOp::Equals)
                }))
    }
}

fn is_empty(term: &core::NodeSelectorTerm) -> bool {
    term.match_expressions.as_ref().is_none_or(Vec::is_empty)
        && term.match_fields.as_ref().is_none_or(Vec::is_empty)
}

impl NodeSelector {
    /// Compiles; terms in error never match (see [`NodeSelector::error`]).
    pub fn new(selector: &core::NodeSelector, path: &Path) -> Self {
        let at = path.child("nodeSelectorTerms");
        let terms = selector
            .node_selector_terms
            .iter()
            .enumerate()
            .filter(|(_, t)| !is_empty(t))
            .map(|(i, t)| Term::new(t, &at.index(i)))
            .collect();
        Self { terms }
    }

    /// What is wrong with the terms, together.
    pub fn error(&self) -> Option<SelectorError> {
        combine(self.terms.iter().filter_map(|t| t.error.as_ref()))
    }

    /// Whether the node of that name and those labels is one of them.
    pub fn matches(&self, name: &str, labels: &impl Labels) -> bool {
        self.terms.iter().any(|t| t.matches(name, labels))
    }

    /// The only nodes that can match, where every term names its node.
    pub fn names(&self) -> Option<Vec<&str>> {
        self.terms
            .iter()
            .map(|t| {
                let by_name = |f: &&FieldTerm| &*f.field == "metadata.name" && f.op == FieldOp::Equals;
                t.fields.iter().find(by_name).map(|f| &*f.value)
            })
            .collect()
    }
}

fn combine<'e>(errors: impl Iterator<Item = &'e SelectorError>) -> Option<SelectorError> {
    let mut all: Vec<&str> = errors.map(|e| e.0.as_str()).collect();
    match all.len() {
        0 => None,
        1 => all.pop().map(|e| SelectorError(e.to_owned())),
        _ => Some(SelectorError(format!("[{}]", all.join(", ")))),
    }
}

impl PreferredTerms {
    /// # Errors
    /// Where any term that counts cannot be compiled.
    pub fn new(terms: &[core::PreferredSchedulingTerm], path: &Path) -> Result<Self, SelectorError> {
        let terms: Vec<(i64, Term)> = terms
            .iter()
            .enumerate()
            .filter(|(_, t)| t.weight != 0 && !is_empty(&t.preference))
            .map(|(i, t)| (i64::from(t.weight), Term::new(&t.preference, &path.index(i))))
            .collect();
        match combine(terms.iter().filter_map(|(_, t)| t.error.as_ref())) {
            Some(error) => Err(error),
            None => Ok(Self { terms }),
        }
    }

    /// The weights of the terms that match, together.
    pub fn score(&self, name: &str, labels: &impl Labels) -> i64 {
        self.terms.iter().filter(|(_, t)| t.matches(name, labels)).map(|(w, _)| w).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn selector(json: &str) -> NodeSelector {
        NodeSelector::new(&serde_json::from_str(json).unwrap(), &Path::root())
    }

    #[test]
    fn nodes_are_selected() {
        let labels: BTreeMap<String, String> =
            [("zone", "a"), ("n", "5")].map(|(k, v)| (k.into(), v.into())).into();
        let check =
            |json: &str, want: bool| assert_eq!(selector(json).matches("n1", &labels), want, "{json}");
        check(r#"{"nodeSelectorTerms":[]}"#, false);
        check(r#"{"nodeSelectorTerms":[{}]}"#, false);
        check(
            r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}"#,
            true,
        );
        check(
            r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"n","operator":"Gt","values":["4"]}]}]}"#,
            true,
        );
        check(
            r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"n","operator":"Lt","values":["4"]}]}]}"#,
            false,
        );
        check(
            r#"{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]}"#,
            true,
        );
        check(
            r#"{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"NotIn","values":["n1"]}]}]}"#,
            false,
        );
        let two = r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"x","operator":"Exists"}]},{"matchExpressions":[{"key":"zone","operator":"Exists"}]}]}"#;
        check(two, true);
        let bad = selector(r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"x","operator":"Is"}]}]}"#);
        assert_eq!(
            bad.error().unwrap().to_string(),
            r#"nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: "Is": supported values: "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt""#
        );
    }
}
