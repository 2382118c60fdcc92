//! What a request for a log may ask for (`PodLogOptions`).

use crate::http::query::Query;
use gantry_types::field::{Error, ErrorList, Path};
use gantry_types::{GroupKind, Status, StatusResult};

/// A number, where there is one; what is none is the kubelet's to refuse.
fn number(query: &Query, key: &str) -> Option<i64> {
    query.get(key).and_then(|text| text.parse().ok())
}

/// Checks the parameters of a request for the log of the pod `name`.
///
/// # Errors
/// `Invalid` with every parameter that is wrong.
pub(super) fn check(query: &Query, name: &str) -> StatusResult<()> {
    let mut errors = ErrorList::new();
    let mut refuse = |key: &str, least: i64| {
        if let Some(value) = number(query, key).filter(|value| *value < least) {
            let why = match least {
                0 => "must be greater than or equal to 0",
                _ => "must be greater than 0",
            };
            errors.push(Error::invalid(&Path::new(key), &value, why));
        }
    };
    refuse("tailLines", 0);
    refuse("limitBytes", 1);
    if query.get("sinceSeconds").is_some() && !query.text("sinceTime").is_empty() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(&Path::new("[]"), why));
    } else {
        refuse("sinceSeconds", 1);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind { group: "".into(), kind: "PodLogOptions".into() };
    Err(Status::invalid(&kind, name, errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        let check = |query: &str, expected: Option<&str>| {
            let got = check(&Query::parse(query), "p").err().map(|s| s.message().to_owned());
            assert_eq!(got.as_deref(), expected, "{query}");
        };
        check("tailLines=0&limitBytes=1&sinceSeconds=1", None);
        check(
            "tailLines=-1&limitBytes=0",
            Some(
                "PodLogOptions \"p\" is invalid: [tailLines: Invalid value: -1: must be greater than or equal to 0, limitBytes: Invalid value: 0: must be greater than 0]",
            ),
        );
        check(
            "sinceSeconds=5&sinceTime=2020-01-01T00:00:00Z",
            Some(
                "PodLogOptions \"p\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
        );
    }
}
