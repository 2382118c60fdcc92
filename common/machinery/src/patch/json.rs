//! JSON patch (RFC 6902), as lenient and as strict as upstream's library.

use gantry_types::{Document, Status, StatusResult};
use serde_json::{Map, Value};

/// The most operations one patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// The most bytes the `copy` operations of one patch may add.
pub const MAX_COPY: usize = 3 << 20;

/// One operation, not yet looked into.
#[derive(Clone, Debug)]
pub struct Operation(Map<String, Value>);

/// Why a patch does not apply, in the words of upstream's library. The API does not pass them on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ApplyError(String);

impl From<ApplyError> for Status {
    fn from(_: ApplyError) -> Self {
        super::unprocessable()
    }
}

/// Reads a patch. `validated` says whether fields are validated (`Strict` and `Warn`), which words a
/// malformed patch differently.
///
/// # Errors
/// 400 where the bytes are no list of objects, 413 where there are too many operations.
pub fn parse(bytes: &[u8], validated: bool) -> StatusResult<Vec<Operation>> {
    let (prefix, list_type, item_type) = if validated {
        ("error decoding patch: ", "[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
    } else {
        ("", "jsonpatch.Patch", "jsonpatch.Operation")
    };
    let wrong = |why: String| Status::bad_request(format!("{prefix}{why}"));
    let list = match super::read(bytes).map_err(wrong)? {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        other => return Err(wrong(super::cannot_unmarshal(&other, list_type))),
    };
    if list.len() > MAX_OPERATIONS {
        let n = list.len();
        return Err(Status::too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {n}"
        )));
    }
    list.into_iter()
        .map(|v| match v {
            Value::Object(map) => Ok(Operation(map)),
            Value::Null => Ok(Operation(Map::new())),
            other => Err(wrong(super::cannot_unmarshal(&other, item_type))),
        })
        .collect()
}

/// Applies the operations in order, all or none.
///
/// # Errors
/// Where one does not apply.
pub fn apply(object: &Document, operations: &[Operation]) -> Result<Document, ApplyError> {
    let mut root = Value::Object(object.map().clone());
    let mut copied = 0;
    for op in operations {
        one(&mut root, &op.0, &mut copied).map_err(ApplyError)?;
    }
    match root {
        Value::Object(map) => Ok(Document::new(map)),
        _ => Err(ApplyError("the patched object is not a JSON object".to_owned())),
    }
}

const MISSING: &str = "missing value";

fn invalid_index(i: i64) -> String {
    format!("Unable to access invalid index: {i}: invalid index referenced")
}

/// The container a path's last step is in, and that step unescaped.
fn find<'v>(root: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let decode = |part: &str| {
        let mut out = String::with_capacity(part.len());
        let mut rest = part;
        while let Some(at) = rest.find('~') {
            out.push_str(&rest[..at]);
            let (c, skip) = match rest.as_bytes().get(at + 1) {
                Some(b'1') => ('/', 2),
                Some(b'0') => ('~', 2),
                _ => ('~', 1),
            };
            out.push(c);
            rest = &rest[at + skip..];
        }
        out + rest
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() < 2 {
        return None;
    }
    let last = decode(parts.pop()?);
    let mut at = root;
    for part in &parts[1..] {
        let part = decode(part);
        at = match at {
            Value::Object(map) => map.get_mut(&part)?,
            Value::Array(list) => {
                let i = index(&part, list.len()).ok()?;
                list.get_mut(i)?
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then_some((at, last))
}

fn number(key: &str) -> Result<i64, String> {
    let quoted = gantry_types::field::go_quote(key);
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {quoted}: invalid syntax"))
}

/// An existing position; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, String> {
    let i = number(key)?;
    let at = if i < 0 { i + len as i64 } else { i };
    usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(|| invalid_index(i))
}

fn get(con: &Value, key: &str) -> Result<Option<Value>, String> {
    match con {
        Value::Array(list) => index(key, list.len()).map(|i| Some(list[i].clone())),
        other => Ok(other.get(key).cloned()),
    }
}

fn add(con: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match con {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let i = number(key).map_err(|e| format!("value was not a proper array index: '{key}': {e}"))?;
            let room = list.len() as i64 + 1;
            let at = if i < 0 { i + room } else { i };
            let at = usize::try_from(at).ok().filter(|at| *at < room as usize);
            list.insert(at.ok_or_else(|| invalid_index(i))?, value);
        }
        _ => {}
    }
    Ok(())
}

fn take(con: &mut Value, key: &str) -> Result<Value, String> {
    match con {
        Value::Array(list) => Ok(list.remove(index(key, list.len())?)),
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        _ => Err(MISSING.to_owned()),
    }
}

fn one(root: &mut Value, op: &Map<String, Value>, copied: &mut usize) -> Result<(), String> {
    let kind = op.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let text = |field: &str| op.get(field).and_then(Value::as_str);
    let value = || op.get("value").cloned().unwrap_or(Value::Null);
    let path = || text("path");
    let no_path = || format!("operation missing path field: {MISSING}");
    let from = || {
        text("from").ok_or_else(|| {
            format!("{kind} operation failed to decode from: operation, missing from field: {MISSING}")
        })
    };
    match kind {
        "add" => {
            let path = path().ok_or_else(|| format!("add operation failed to decode path: {MISSING}"))?;
            let (con, key) = find(root, path).ok_or_else(|| {
                format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}")
            })?;
            add(con, &key, value()).map_err(|e| format!("error in add for path: '{path}': {e}"))
        }
        "remove" => {
            let path = path().ok_or_else(|| format!("remove operation failed to decode path: {MISSING}"))?;
            let (con, key) = find(root, path).ok_or_else(|| {
                format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}")
            })?;
            take(con, &key).map(drop).map_err(|e| format!("error in remove for path: '{path}': {e}"))
        }
        "replace" => {
            let path =
                path().ok_or_else(|| format!("replace operation failed to decode path: {}", no_path()))?;
            if path.is_empty() {
                let value = value();
                if !value.is_object() && !value.is_array() {
                    return Err("replace operation value must be object or array: %!w(<nil>)".to_owned());
                }
                *root = value;
                return Ok(());
            }
            let (con, key) = find(root, path).ok_or_else(|| {
                format!("replace operation does not apply: doc is missing path: {path}: {MISSING}")
            })?;
            match con {
                Value::Array(list) => {
                    let i = index(&key, list.len()).map_err(|_| {
                        format!("replace operation does not apply: doc is missing key: {path}: {MISSING}")
                    })?;
                    list[i] = value();
                    Ok(())
                }
                con => add(con, &key, value()),
            }
        }
        "move" => {
            let from = from()?;
            let missing =
                || format!("move operation does not apply: doc is missing from path: {from}: {MISSING}");
            let (con, key) = find(root, from).ok_or_else(missing)?;
            let value = take(con, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
            let path =
                path().ok_or_else(|| format!("move operation failed to decode path: {}", no_path()))?;
            let (con, key) = find(root, path).ok_or_else(|| {
                format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
            })?;
            add(con, &key, value).map_err(|e| format!("error in move for path: '{path}': {e}"))
        }
        "copy" => {
            let from = from()?;
            let missing =
                || format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}");
            let (con, key) = find(root, from).ok_or_else(missing)?;
            let found = get(con, &key).map_err(|e| format!("error in copy for from: '{from}': {e}"))?;
            let path = path().ok_or_else(|| format!("copy operation failed to decode path: {MISSING}"))?;
            let (con, key) = find(root, path).ok_or_else(|| {
                format!("copy operation does not apply: doc is missing destination path: {path}: {MISSING}")
            })?;
            let value = found.unwrap_or(Value::Null);
            *copied += if value.is_null() { 0 } else { value.to_string().len() };
            if *copied > MAX_COPY {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPY}"
                ));
            }
            add(con, &key, value).map_err(|e| format!("error while adding value during copy: {e}"))
        }
        "test" => {
            let path =
                path().ok_or_else(|| format!("test operation failed to decode path: {}", no_path()))?;
            let found = if path.is_empty() {
                root.clone()
            } else {
                let (con, key) = find(root, path).ok_or_else(|| {
                    format!("test operation does not apply: is missing path: {path}: {MISSING}")
                })?;
                get(con, &key)
                    .map_err(|e| format!("error in test for path: '{path}': {e}"))?
                    .unwrap_or(Value::Null)
            };
            if found == value() { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(object: &str, patch: &str) -> Result<String, String> {
        let object = Document::from_json(object.as_bytes()).unwrap();
        let ops = parse(patch.as_bytes(), true).map_err(|s| s.message().to_owned())?;
        let patched = apply(&object, &ops).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(patched.to_json()).unwrap())
    }

    #[test]
    fn operations_apply() {
        let check = |object: &str, patch: &str, want: &str| {
            assert_eq!(run(object, patch).as_deref(), Ok(want), "{patch}");
        };
        check("{}", r#"[{"op":"add","path":"/a","value":1}]"#, r#"{"a":1}"#);
        check(r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2,3]}"#);
        check(r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":2}]"#, r#"{"a":[1,2]}"#);
        check(r#"{"a/b":{"c~d":1}}"#, r#"[{"op":"remove","path":"/a~1b/c~0d"}]"#, r#"{"a/b":{}}"#);
        check("{}", r#"[{"op":"replace","path":"/a","value":1}]"#, r#"{"a":1}"#);
        check(r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/b"}]"#, r#"{"b":1}"#);
        check(r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a/-1","path":"/b"}]"#, r#"{"a":[1,2],"b":2}"#);
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1}]"#, r#"{"a":1}"#);
        check("{}", r#"[{"op":"test","path":"/a","value":null}]"#, "{}");
    }

    #[test]
    fn failures_read_as_upstream() {
        let check = |object: &str, patch: &str, want: &str| {
            assert_eq!(run(object, patch).unwrap_err(), want, "{patch}");
        };
        check(
            "{}",
            r#"[{"op":"add","path":"/a/b","value":1}]"#,
            "add operation does not apply: doc is missing path: \"/a/b\": missing value",
        );
        check(
            "{}",
            r#"[{"op":"remove","path":"/a"}]"#,
            "error in remove for path: '/a': Unable to remove nonexistent key: a: missing value",
        );
        check(
            r#"{"a":1}"#,
            r#"[{"op":"test","path":"/a","value":2}]"#,
            "testing value /a failed: test failed",
        );
        check(
            r#"{"a":[]}"#,
            r#"[{"op":"replace","path":"/a/0","value":2}]"#,
            "replace operation does not apply: doc is missing key: /a/0: missing value",
        );
        check(
            r#"{"a":[]}"#,
            r#"[{"op":"add","path":"/a/5","value":2}]"#,
            "error in add for path: '/a/5': Unable to access invalid index: 5: invalid index referenced",
        );
        check("{}", r#"[{"op":"nope"}]"#, "Unexpected kind: nope");
        check(
            "{}",
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        );
        let many = format!("[{}]", vec![r#"{"op":"test"}"#; MAX_OPERATIONS + 1].join(","));
        check(
            "{}",
            &many,
            "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
        );
        let big = format!(r#"{{"a":"{}"}}"#, "x".repeat(2 << 20));
        let twice = r#"[{"op":"copy","from":"/a","path":"/b"},{"op":"copy","from":"/a","path":"/c"}]"#;
        check(
            &big,
            twice,
            "Unable to complete the copy, the accumulated size increase of copy is 4194308, exceeding the limit 3145728",
        );
    }
}
