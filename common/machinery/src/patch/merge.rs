//! JSON merge patch (RFC 7386): applying, and making for client-side apply.

use super::PatchError;
use gantry_types::{Document, Status, StatusResult};
use serde_json::{Map, Value};

/// Reads a patch. `validated` says whether fields are validated (`Strict` and `Warn`), which words a
/// malformed patch differently.
///
/// # Errors
/// 400 where the bytes are no JSON object.
pub fn parse(bytes: &[u8], validated: bool) -> StatusResult<Map<String, Value>> {
    match super::read(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) if validated && !other.is_null() => Err(Status::bad_request(format!(
            "error decoding patch: {}",
            super::cannot_unmarshal(&other, "map[string]interface {}")
        ))),
        Err(why) if validated => Err(Status::bad_request(format!("error decoding patch: {why}"))),
        _ => Err(Status::bad_request("Invalid JSON Patch")),
    }
}

/// Merges: null removes, objects go deep, anything else replaces.
pub fn apply(object: &mut Document, patch: Map<String, Value>) {
    merge(object.map_mut(), patch);
}

fn merge(into: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, mut value) in patch {
        match (into.get_mut(&key), value) {
            (_, Value::Null) => {
                into.remove(&key);
            }
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, new) => {
                value = new;
                prune(&mut value);
                into.insert(key, value);
            }
        }
    }
}

/// Drops nulls of objects, at any depth; those of lists stay.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The patch that makes `modified` of `original`.
pub fn diff(original: &Map<String, Value>, modified: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, new) in modified {
        match (original.get(key), new) {
            (Some(Value::Object(a)), Value::Object(b)) => {
                let below = diff(a, b);
                if !below.is_empty() {
                    out.insert(key.clone(), Value::Object(below));
                }
            }
            (Some(old), new) if old == new => {}
            (_, new) => {
                out.insert(key.clone(), new.clone());
            }
        }
    }
    for key in original.keys().filter(|k| !modified.contains_key(*k)) {
        out.insert(key.clone(), Value::Null);
    }
    out
}

/// The patch that brings `current` to `modified`: additions and changes against `current`, deletions only
/// of what `original` (the last applied) had. As `kubectl apply` makes it for custom resources.
///
/// # Errors
/// [`PatchError::Conflict`] where a path is both deleted and changed.
pub fn three_way(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    current: &Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    let changes = filter(diff(current, modified), false);
    let mut deletions = filter(diff(original, modified), true);
    if conflicts(&changes, &deletions) {
        let print = |m: &Map<String, Value>| Value::Object(m.clone()).to_string();
        return Err(PatchError::Conflict(print(&changes), print(&deletions)));
    }
    join(&mut deletions, changes);
    Ok(deletions)
}

/// Keeps only the nulls, or everything but the nulls.
fn filter(map: Map<String, Value>, nulls: bool) -> Map<String, Value> {
    map.into_iter()
        .filter_map(|(k, v)| match v {
            Value::Null => nulls.then_some((k, Value::Null)),
            Value::Object(m) if m.is_empty() => (!nulls).then_some((k, Value::Object(m))),
            Value::Object(m) => {
                let inner = filter(m, nulls);
                (!inner.is_empty()).then_some((k, Value::Object(inner)))
            }
            v => (!nulls).then_some((k, v)),
        })
        .collect()
}

fn conflicts(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.iter().any(|(k, x)| match (x, b.get(k)) {
        (_, None) => false,
        (Value::Object(x), Some(Value::Object(y))) => conflicts(x, y),
        (x, Some(y)) => x != y,
    })
}

/// Merges two patches into one: nulls stay nulls.
fn join(into: &mut Map<String, Value>, other: Map<String, Value>) {
    for (key, value) in other {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(a)), Value::Object(b)) => join(a, b),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// JSON objects without nulls, as objects in the API are.
    pub(crate) fn any_object() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0i64..4).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map("[a-d]", value, 0..4).prop_map(|m| m.into_iter().collect())
    }

    #[test]
    fn merging_follows_the_rfc() {
        let check = |object: &str, patch: &str, want: &str| {
            let mut d = Document::from_json(object.as_bytes()).unwrap();
            apply(&mut d, parse(patch.as_bytes(), true).unwrap());
            assert_eq!(String::from_utf8(d.to_json()).unwrap(), want, "{patch}");
        };
        check(r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#);
        check(r#"{"a":"b"}"#, r#"{"a":null}"#, "{}");
        check(r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#);
        check(r#"{"a":[1]}"#, r#"{"a":"x"}"#, r#"{"a":"x"}"#);
        check("{}", r#"{"a":{"b":{"c":null}}}"#, r#"{"a":{"b":{}}}"#);
        let err = |text: &[u8], want: &str| assert_eq!(parse(text, true).unwrap_err().message(), want);
        err(b"null", "Invalid JSON Patch");
        err(
            b"[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        );
        err(b"x", "error decoding patch: invalid character 'x' looking for beginning of value");
    }

    proptest! {
        #[test]
        fn a_diff_applied_is_the_target(a in any_object(), b in any_object()) {
            let mut d = Document::new(a.clone());
            apply(&mut d, diff(&a, &b));
            prop_assert_eq!(d.into_map(), b);
        }

        #[test]
        fn three_ways_keep_what_others_added(a in any_object(), b in any_object()) {
            // Nobody else touched it: the patch brings exactly the target.
            if let Ok(patch) = three_way(&a, &b, &a) {
                let mut d = Document::new(a);
                apply(&mut d, patch);
                prop_assert_eq!(d.into_map(), b);
            }
        }
    }
}
