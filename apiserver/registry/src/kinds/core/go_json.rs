//! What Go's JSON decoder says of bytes that should hold an object.

use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// The message of unmarshalling into a map, `None` when it succeeds.
pub fn unmarshal_map_error(bytes: &[u8]) -> Option<String> {
    if let Err(e) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Some(syntax(bytes, &e));
    }
    let first = bytes.iter().copied().find(|b| !b.is_ascii_whitespace()).unwrap_or(b'{');
    let kind = match first {
        b'"' => "string",
        b'[' => "array",
        b't' | b'f' => "bool",
        b'n' => return None,
        b'{' => {
            let fits = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(bytes).is_ok();
            return (!fits).then(|| "json: cannot unmarshal object into Go value".to_owned());
        }
        _ => "number",
    };
    Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}

fn syntax(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line_start = bytes
        .split_inclusive(|b| *b == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum::<usize>();
    let at = line_start + error.column().saturating_sub(1);
    let shown = match bytes.get(at).map(|b| char::from(*b)) {
        Some('\'') => "'\\''".to_owned(),
        Some('"') => "'\"'".to_owned(),
        Some(c) => format!("'{}'", c.escape_default()),
        None => return "unexpected end of JSON input".to_owned(),
    };
    let text = error.to_string();
    let place = [
        ("key must be a string", "looking for beginning of object key string"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected `:`", "after object key"),
        ("trailing characters", "after top-level value"),
        ("trailing comma", "looking for beginning of value"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
    ];
    let place = place.iter().find(|(ours, _)| text.contains(ours));
    format!("invalid character {shown} {}", place.map_or("looking for beginning of value", |(_, go)| go))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_read_as_gos() {
        let check = |input: &str, want: Option<&str>| {
            assert_eq!(unmarshal_map_error(input.as_bytes()).as_deref(), want, "{input}");
        };
        check("{}", None);
        check("null", None);
        check("", Some("unexpected end of JSON input"));
        check("bad", Some("invalid character 'b' looking for beginning of value"));
        check("[]", Some("json: cannot unmarshal array into Go value of type map[string]interface {}"));
        check("{a}", Some("invalid character 'a' looking for beginning of object key string"));
    }
}
