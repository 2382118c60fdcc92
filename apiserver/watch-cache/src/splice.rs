//! Putting `metadata.resourceVersion` into a stored body, without parsing it into a tree.

use bytes::{BufMut, Bytes, BytesMut};
use gantry_storage::Revision;

/// The body with `"resourceVersion":"N"` as the first member of its top-level `metadata`. A
/// `resourceVersion` that is there already is replaced. `None` where there is no `metadata` object.
///
/// The body must be sound JSON (the decode hook has parsed it); on anything else the answer is `None` or a
/// body as broken as the input, never a panic.
pub fn splice_revision(body: &[u8], revision: Revision) -> Option<Bytes> {
    let open = find_member(body, 0, b"metadata")?;
    if body.get(open) != Some(&b'{') {
        return None;
    }
    let mut out = BytesMut::with_capacity(body.len() + 44);
    if let Some(value) = find_member(body, open, b"resourceVersion") {
        let end = skip_value(body, value)?;
        out.put_slice(&body[..value]);
        put_quoted(&mut out, revision);
        out.put_slice(&body[end..]);
    } else {
        let next = skip_space(body, open + 1);
        out.put_slice(&body[..=open]);
        out.put_slice(b"\"resourceVersion\":");
        put_quoted(&mut out, revision);
        if body.get(next) != Some(&b'}') {
            out.put_u8(b',');
        }
        out.put_slice(&body[next..]);
    }
    Some(out.freeze())
}

fn put_quoted(out: &mut BytesMut, revision: Revision) {
    out.put_u8(b'"');
    out.put_slice(revision.to_string().as_bytes());
    out.put_u8(b'"');
}

/// Where the value of a member begins, in the object that opens at `at` (or after white space there).
fn find_member(json: &[u8], at: usize, name: &[u8]) -> Option<usize> {
    let mut i = skip_space(json, at);
    if json.get(i) != Some(&b'{') {
        return None;
    }
    i = skip_space(json, i + 1);
    while json.get(i) == Some(&b'"') {
        let end = skip_string(json, i)?;
        let found = &json[i + 1..end - 1] == name;
        i = skip_space(json, end);
        if json.get(i) != Some(&b':') {
            return None;
        }
        i = skip_space(json, i + 1);
        if found {
            return Some(i);
        }
        i = skip_space(json, skip_value(json, i)?);
        if json.get(i) != Some(&b',') {
            return None;
        }
        i = skip_space(json, i + 1);
    }
    None
}

fn skip_space(json: &[u8], mut i: usize) -> usize {
    while matches!(json.get(i), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        i += 1;
    }
    i
}

/// The position after the string that opens at `i`.
fn skip_string(json: &[u8], mut i: usize) -> Option<usize> {
    i += 1;
    loop {
        match json.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// The position after the value that begins at `i`.
fn skip_value(json: &[u8], mut i: usize) -> Option<usize> {
    match json.get(i)? {
        b'"' => return skip_string(json, i),
        b'{' | b'[' => {}
        _ => {
            while !matches!(json.get(i), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')) {
                i += 1;
            }
            return Some(i);
        }
    }
    let mut depth = 0usize;
    loop {
        match json.get(i)? {
            b'"' => {
                i = skip_string(json, i)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<&str>) {
        let got = splice_revision(body.as_bytes(), 7).map(|b| String::from_utf8(b.to_vec()).unwrap());
        assert_eq!(got.as_deref(), expected, "{body}");
    }

    #[test]
    fn splices() {
        check(r#"{"metadata":{"name":"a"}}"#, Some(r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#));
        check(r#"{"metadata":{}}"#, Some(r#"{"metadata":{"resourceVersion":"7"}}"#));
        check(
            r#"{"data":{"metadata":{"x":"}\"{"}},"n":[1,{"a":2}],"t":true, "metadata" : { "name":"a" } }"#,
            Some(
                r#"{"data":{"metadata":{"x":"}\"{"}},"n":[1,{"a":2}],"t":true, "metadata" : {"resourceVersion":"7","name":"a" } }"#,
            ),
        );
        check(
            r#"{"metadata":{"name":"a","resourceVersion":"123","uid":"u"}}"#,
            Some(r#"{"metadata":{"name":"a","resourceVersion":"7","uid":"u"}}"#),
        );
        check(
            r#"{"metadata":{"annotations":{"resourceVersion":"1"}}}"#,
            Some(r#"{"metadata":{"resourceVersion":"7","annotations":{"resourceVersion":"1"}}}"#),
        );
        for bad in ["", "{", "[]", r#"{"metadata":null}"#, r#"{"metadata":"#, r#"{"a":"\"#, r#"{"kind":"x"}"#]
        {
            check(bad, None);
        }
    }
}
