//! Patches: JSON patch, JSON merge patch and strategic merge patch, with upstream's error texts and limits,
//! and the making of patches for client-side apply.

pub mod json;
pub mod merge;
pub mod strategic;

mod lists;

use gantry_types::Status;
use serde_json::Value;

/// Why a patch cannot be made or applied, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("invalid JSON document")]
    BadDocument,
    #[error("invalid patch format of primitive list")]
    BadPrimitiveList,
    #[error("invalid patch format of retainKeys")]
    BadRetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    BadElementOrder,
    #[error("strategic merge patch format is not supported")]
    Unsupported,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(String, String),
    /// Client-side only: what is to be changed was changed by others.
    #[error("patch:\n{0}\nconflicts with changes made from original to current:\n{1}\n")]
    Conflict(String, String),
    #[error("{0}")]
    Other(String),
}

impl From<PatchError> for Status {
    /// As upstream's handler answers: 400 for malformed patches, 422 for lists of lists, else 500.
    fn from(e: PatchError) -> Self {
        let text = e.to_string();
        match e {
            PatchError::BadDocument
            | PatchError::BadPrimitiveList
            | PatchError::BadRetainKeys
            | PatchError::BadElementOrder
            | PatchError::Unsupported => Status::bad_request(text),
            PatchError::ListOfLists => unprocessable(),
            _ => Status::failure(500, "", text),
        }
    }
}

/// Upstream answers patches that do not apply without saying why.
fn unprocessable() -> Status {
    let mut s =
        Status::failure(422, "Invalid", "the server rejected our request due to an error in our request");
    s.body_mut().details = Some(Default::default());
    s
}

/// Reads a patch's JSON; the message is Go's where it is malformed.
fn read(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|e| {
        let mut lexer = crate::validate::Lexer::new(bytes);
        match lexer.skip().and_then(|()| lexer.end()) {
            Err(go) => go.0,
            Ok(()) => e.to_string(),
        }
    })
}

/// Go's complaint about a value of the wrong kind.
fn cannot_unmarshal(v: &Value, into: &str) -> String {
    let what = match v {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        _ => "bool",
    };
    format!("json: cannot unmarshal {what} into Go value of type {into}")
}

/// A value as Go's `%v` prints a decoded JSON tree: `map[a:1 b:[x y]]`.
pub fn go_print(v: &Value) -> String {
    match v {
        Value::Null => "<nil>".to_owned(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_print(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// The Go type a JSON value decodes to, as messages name it.
pub(crate) fn go_type(v: &Value) -> &'static str {
    match v {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() || n.is_u64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
