//! What every kind's file uses.

pub use crate::strategy::{Cell, Context, Deletion, Propagation, Strategy};
pub use gantry_types::field::{Error, ErrorList, ErrorType, Path};
pub use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, MicroTime, ObjectMeta, Time,
};
pub use gantry_types::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
pub use gantry_types::k8s_openapi::jiff::Timestamp;
pub use gantry_types::names;

/// The text of an optional string; absent is empty, as in Go.
pub fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

/// The items of an optional list; absent is empty, as in Go.
pub fn list<T>(l: &Option<Vec<T>>) -> &[T] {
    l.as_deref().unwrap_or_default()
}

/// An optional flag; absent is false.
pub fn flag(b: Option<bool>) -> bool {
    b.unwrap_or(false)
}

/// Sets an absent or empty string.
pub fn default_text(s: &mut Option<String>, value: &str) {
    if text(s).is_empty() {
        *s = Some(value.to_owned());
    }
}

/// Whether two optional collections hold the same, absent and empty being alike.
pub fn same<T: PartialEq + Default>(a: &Option<T>, b: &Option<T>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        (Some(x), None) | (None, Some(x)) => *x == T::default(),
        (None, None) => true,
    }
}

/// An error whose bad value is already rendered (Go prints struct values in declaration order).
pub fn invalid_raw(path: &Path, value: impl Into<String>, detail: impl Into<String>) -> Error {
    Error {
        kind: ErrorType::Invalid,
        field: path.to_string(),
        value: Some(value.into()),
        detail: detail.into(),
    }
}

/// A value that is not one of a set; upstream prints sets sorted.
pub fn unsupported(path: &Path, value: &str, supported: &[&str]) -> Error {
    let mut sorted = supported.to_vec();
    sorted.sort_unstable();
    Error::not_supported(path, value, &sorted)
}

/// One [`Error::invalid`] per message.
pub fn invalid_each(path: &Path, value: &str, messages: Vec<String>) -> impl Iterator<Item = Error> {
    messages.into_iter().map(move |m| Error::invalid(path, value, m))
}
