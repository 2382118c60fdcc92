//! Patches: JSON patch, JSON merge patch and strategic merge patch, with upstream's error texts and limits,
//! and the making of patches for client-side apply.

use serde_json::Value;

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
