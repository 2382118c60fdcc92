//! Re-indenting JSON without parsing it into a tree.

/// Indents compact, sound JSON by two spaces a level, as Go's `json.Indent` does.
pub fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0usize;
    let mut i = 0;
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    while i < compact.len() {
        match compact[i] {
            b'"' => {
                let start = i;
                i += 1;
                while i < compact.len() && compact[i] != b'"' {
                    i += if compact[i] == b'\\' { 2 } else { 1 };
                }
                out.extend_from_slice(&compact[start..compact.len().min(i + 1)]);
            }
            open @ (b'{' | b'[') => {
                out.push(open);
                let mut next = i + 1;
                while compact.get(next).is_some_and(u8::is_ascii_whitespace) {
                    next += 1;
                }
                if let Some(close @ (b'}' | b']')) = compact.get(next) {
                    out.push(*close);
                    i = next;
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            close @ (b'}' | b']') => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(close);
            }
            b',' => {
                out.push(b',');
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b if b.is_ascii_whitespace() => {}
            b => out.push(b),
        }
        i += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn json_is_indented_as_go_does() {
        let check = |compact: &str, want: &str| {
            assert_eq!(String::from_utf8(super::indent(compact.as_bytes())).unwrap(), want);
        };
        check(
            r#"{"a":{},"b":[1,"x:{\""],"c":[]}"#,
            "{\n  \"a\": {},\n  \"b\": [\n    1,\n    \"x:{\\\"\"\n  ],\n  \"c\": []\n}",
        );
        check("[ ]\n", "[]");
    }
}
