//! Selectors: by labels, by fields, and of nodes. Parsed once per request, matched many times.

mod fields;
mod labels;
mod nodes;
mod parse;

pub use fields::{FieldOp, FieldSelector, FieldTerm};
pub use labels::{Labels, Op, Requirement, Selector, validate_label_selector};
pub use nodes::{NodeSelector, PreferredTerms};

/// A selector that is not one, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);
