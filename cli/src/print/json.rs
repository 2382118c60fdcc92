//! JSON as Go prints it: four spaces, sorted keys, `<`, `>` and `&` escaped.

use gantry_machinery::path::Node;

/// A string with its quotes.
fn quoted(text: &str) -> String {
    // A string always serializes.
    let plain = serde_json::to_string(text).unwrap_or_default();
    let mut out = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            c => out.push(c),
        }
    }
    out
}

/// Indented by four spaces, without a last line end.
pub fn pretty(node: &Node) -> String {
    let mut out = String::new();
    write(node, Some(0), &mut out);
    out
}

/// On one line.
pub fn compact(node: &Node) -> String {
    let mut out = String::new();
    write(node, None, &mut out);
    out
}

fn line(depth: Option<usize>, out: &mut String) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    }
}

fn write(node: &Node, depth: Option<usize>, out: &mut String) {
    let deeper = depth.map(|d| d + 1);
    match node {
        Node::String(s) => out.push_str(&quoted(s)),
        Node::Array(list) if !list.is_empty() => {
            out.push('[');
            for (i, item) in list.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(deeper, out);
                write(item, deeper, out);
            }
            line(depth, out);
            out.push(']');
        }
        Node::Object(map) if !map.is_empty() => {
            out.push('{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                line(deeper, out);
                out.push_str(&quoted(key));
                out.push_str(if depth.is_some() { ": " } else { ":" });
                write(value, deeper, out);
            }
            line(depth, out);
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        let node: Node = serde_json::from_str(r#"{"b":[1,{}],"a":"<&>"}"#).unwrap();
        assert_eq!(
            pretty(&node),
            "{\n    \"a\": \"\\u003c\\u0026\\u003e\",\n    \"b\": [\n        1,\n        {}\n    ]\n}"
        );
        assert_eq!(compact(&node), r#"{"a":"\u003c\u0026\u003e","b":[1,{}]}"#);
    }
}
