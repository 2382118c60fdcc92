//! YAML laid out as kubectl's library does: lists flush with their key, sorted keys, long texts folded at 80
//! columns, quotes only where a plain text would mean something else.

use gantry_machinery::path::Node;
use gantry_machinery::validate::yaml_to_json;
use std::cmp::Ordering;

const WIDTH: usize = 80;

/// A document, ending in a line end.
pub fn text(node: &Node) -> String {
    let mut out = String::new();
    match node {
        Node::Object(map) if !map.is_empty() => block(node, 0, false, &mut out),
        Node::Array(list) if !list.is_empty() => block(node, 0, false, &mut out),
        other => {
            scalar(other, 0, 0, false, &mut out);
            out.push('\n');
        }
    }
    out
}

fn column(out: &str) -> usize {
    out.rsplit('\n').next().unwrap_or_default().chars().count()
}

/// A map or list whose lines are indented; `started` where the first line's indentation is already there.
fn block(node: &Node, indent: usize, mut started: bool, out: &mut String) {
    let mut begin = |out: &mut String| {
        if !std::mem::take(&mut started) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
    };
    match node {
        Node::Array(list) => {
            for item in list {
                begin(out);
                out.push_str("- ");
                match item {
                    Node::Object(m) if !m.is_empty() => block(item, indent + 2, true, out),
                    Node::Array(l) if !l.is_empty() => block(item, indent + 2, true, out),
                    other => {
                        scalar(other, indent + 2, column(out), false, out);
                        out.push('\n');
                    }
                }
            }
        }
        Node::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| key_order(a.0, b.0));
            for (key, value) in entries {
                begin(out);
                string(key, 0, 0, true, out);
                out.push(':');
                match value {
                    Node::Object(m) if !m.is_empty() => {
                        out.push('\n');
                        block(value, indent + 2, false, out);
                    }
                    Node::Array(l) if !l.is_empty() => {
                        out.push('\n');
                        block(value, indent, false, out);
                    }
                    other => {
                        out.push(' ');
                        scalar(other, indent + 2, column(out), false, out);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn scalar(node: &Node, indent: usize, at: usize, key: bool, out: &mut String) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Node::Array(_) => out.push_str("[]"),
        Node::Object(_) => out.push_str("{}"),
        Node::String(s) => string(s, indent, at, key, out),
        Node::Number(n) => out.push_str(&n.to_string()),
    }
}

/// Which ways of writing a text keep it.
struct Ways {
    plain: bool,
    single: bool,
    block: bool,
    lines: bool,
}

fn ways(text: &str) -> Ways {
    let chars: Vec<char> = text.chars().collect();
    let mut w = Ways { plain: true, single: true, block: true, lines: false };
    let blank = |c: Option<&char>| c.is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    if text.starts_with("---") || text.starts_with("...") {
        w.plain = false;
    }
    for (i, c) in chars.iter().enumerate() {
        let next = chars.get(i + 1);
        let before = i.checked_sub(1).and_then(|p| chars.get(p));
        match c {
            '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`'
                if i == 0 =>
            {
                w.plain = false;
            }
            '-' | '?' | ':' if i == 0 && blank(next) => w.plain = false,
            ':' if blank(next) => w.plain = false,
            '#' if matches!(before, Some(' ' | '\n')) => w.plain = false,
            _ => {}
        }
        match c {
            '\n' => {
                w.lines = true;
                w.plain = false;
                if before == Some(&' ') {
                    (w.single, w.block) = (false, false);
                }
            }
            ' ' if before == Some(&'\n') => w.single = false,
            ' ' => {}
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                (w.plain, w.single, w.block) = (false, false, false)
            }
            c if c.is_control() => (w.plain, w.single, w.block) = (false, false, false),
            _ => {}
        }
    }
    if blank(chars.first()) || blank(chars.last()) {
        w.plain = false;
    }
    if chars.last() == Some(&' ') {
        w.block = false;
    }
    w
}

/// Whether a plain text would be read as something else than a text.
fn means_other(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return true };
    if first.is_ascii_digit() && timestamp(text) {
        return true;
    }
    match first {
        '0'..='9' | '+' | '-' | '.' => base60(text) || is_value(text),
        '~' | '<' => text == "~" || text == "<<",
        'y' | 'Y' | 'n' | 'N' | 't' | 'T' | 'f' | 'F' | 'o' | 'O' => {
            matches!(text, "y" | "Y" | "n" | "N") || text.len() <= 5 && is_value(text)
        }
        _ => false,
    }
}

/// Whether the reader makes a number, a bool or null of a text.
fn is_value(text: &str) -> bool {
    if text.contains([':', '#', '\n']) {
        return false;
    }
    let first = yaml_to_json(text.as_bytes()).ok().and_then(|(json, _)| json.first().copied());
    matches!(first, Some(b'0'..=b'9' | b'-' | b't' | b'f' | b'n'))
}

/// `2006-01-02`, with or without a time.
fn timestamp(text: &str) -> bool {
    let b = text.as_bytes();
    let digits = b.iter().take_while(|c| c.is_ascii_digit()).count();
    if digits != 4 || b.get(4) != Some(&b'-') {
        return false;
    }
    let date = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = date.split('-').collect();
    let small = |p: &str| !p.is_empty() && p.len() <= 2 && p.bytes().all(|c| c.is_ascii_digit());
    if parts.len() != 3 || !small(parts[1]) || !small(parts[2]) {
        return false;
    }
    match text.get(date.len() + 1..) {
        None => true,
        Some(time) => {
            time.split(':').count() == 3
                && time.bytes().all(|c| c.is_ascii_digit() || b":.+-Zz ".contains(&c))
        }
    }
}

/// `1:30`, which older YAML takes for a number.
fn base60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or_default();
    let mut any = false;
    let sound = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|c| c.is_ascii_digit() || c == b'_')
        && parts.all(|p| {
            any = true;
            let whole = p.split('.').next().unwrap_or_default();
            matches!(whole.len(), 1 | 2)
                && whole.bytes().all(|c| c.is_ascii_digit())
                && (whole.len() == 1 || whole.as_bytes()[0] < b'6')
        });
    sound && any
}

fn string(text: &str, indent: usize, at: usize, key: bool, out: &mut String) {
    let w = ways(text);
    if means_other(text) {
        double(text, indent, at, key, out);
    } else if w.lines && !key && w.block {
        literal(text, indent, out);
    } else if w.lines {
        double(text, indent, at, key, out);
    } else if w.plain {
        folded(text, indent, at, key, false, out);
    } else if w.single {
        out.push('\'');
        folded(text, indent, at + 1, key, true, out);
        out.push('\'');
    } else {
        double(text, indent, at, key, out);
    }
}

/// Plain or between single quotes, broken at spaces beyond the width.
fn folded(text: &str, indent: usize, at: usize, key: bool, quoted: bool, out: &mut String) {
    let chars: Vec<char> = text.chars().collect();
    let mut column = at;
    let mut spaces = false;
    for (i, c) in chars.iter().enumerate() {
        if *c == ' ' {
            let inner = !quoted || i > 0 && i + 1 < chars.len();
            if !key && !spaces && column > WIDTH && inner && chars.get(i + 1) != Some(&' ') {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                out.push(' ');
                column += 1;
            }
            spaces = true;
        } else {
            if quoted && *c == '\'' {
                out.push('\'');
                column += 1;
            }
            out.push(*c);
            column += 1;
            spaces = false;
        }
    }
}

fn double(text: &str, indent: usize, at: usize, key: bool, out: &mut String) {
    let chars: Vec<char> = text.chars().collect();
    let mut column = at + 1;
    let mut spaces = false;
    out.push('"');
    for (i, c) in chars.iter().enumerate() {
        let escaped = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\r' => "\\r".to_owned(),
            '\0' => "\\0".to_owned(),
            '\u{7}' => "\\a".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{b}' => "\\v".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\u{1b}' => "\\e".to_owned(),
            '\u{85}' => "\\N".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            '\u{feff}' => "\\uFEFF".to_owned(),
            c if c.is_control() => format!("\\x{:02X}", *c as u32),
            ' ' if !key && !spaces && column > WIDTH && i > 0 && i + 1 < chars.len() => {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                column = indent;
                if chars.get(i + 1) == Some(&' ') {
                    out.push('\\');
                    column += 1;
                }
                spaces = true;
                continue;
            }
            c => c.to_string(),
        };
        spaces = *c == ' ';
        column += escaped.chars().count();
        out.push_str(&escaped);
    }
    out.push('"');
}

fn literal(text: &str, indent: usize, out: &mut String) {
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !text.ends_with('\n') {
        out.push('-');
    } else if text == "\n" || text.ends_with("\n\n") {
        out.push('+');
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.extend(std::iter::repeat_n(' ', indent));
            out.push_str(line);
        }
    }
}

/// The library's order of keys: letters after other characters, numbers by value.
fn key_order(a: &str, b: &str) -> Ordering {
    let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for i in 0..x.len().min(y.len()) {
        if x[i] == y[i] {
            digits = x[i].is_numeric();
            continue;
        }
        let (al, bl) = (x[i].is_alphabetic(), y[i].is_alphabetic());
        if al && bl {
            return x[i].cmp(&y[i]);
        }
        if al || bl {
            let less = if digits { al } else { bl };
            return if less { Ordering::Less } else { Ordering::Greater };
        }
        let number = |c: &[char]| {
            let run: String = c[i..].iter().take_while(|c| c.is_ascii_digit()).collect();
            (run.len(), run.parse::<u64>().unwrap_or(0))
        };
        if x[i].is_ascii_digit() && y[i].is_ascii_digit() {
            let (p, q) = (number(&x), number(&y));
            return p.1.cmp(&q.1).then(p.0.cmp(&q.0));
        }
        return x[i].cmp(&y[i]);
    }
    x.len().cmp(&y.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_laid_out_as_kubectl_does() {
        let check = |json: &str, expected: &str| {
            let node: Node = serde_json::from_str(json).unwrap();
            assert_eq!(text(&node), expected, "{json}");
        };
        check(
            r#"{"a":{"b":[{"c":1,"d":[]}],"e":{}},"f":null}"#,
            "a:\n  b:\n  - c: 1\n    d: []\n  e: {}\nf: null\n",
        );
        check(
            r#"{"a":"1","b":"true","c":"","d":"x: y","e":"*"}"#,
            "a: \"1\"\nb: \"true\"\nc: \"\"\nd: 'x: y'\ne: '*'\n",
        );
        check(
            r#"{"a":"2024-01-02T03:04:05Z","b":"1.5","c":"1.5x","d":"1:30"}"#,
            "a: \"2024-01-02T03:04:05Z\"\nb: \"1.5\"\nc: 1.5x\nd: \"1:30\"\n",
        );
        check(
            r#"{"a":"x\ny\n","b":"x\ny","c":"y","d":"-"}"#,
            "a: |\n  x\n  y\nb: |-\n  x\n  y\nc: \"y\"\nd: '-'\n",
        );
        check(r#"{"a":"tab\there","b":"it's"}"#, "a: \"tab\\there\"\nb: it's\n");
        check(r#"{"k10":1,"k9":2,"aB":3,"a_":4}"#, "a_: 4\naB: 3\nk9: 2\nk10: 1\n");
        let long = format!(r#"{{"a":"{} tail end"}}"#, "x".repeat(90));
        check(&long, &format!("a: {}\n  tail end\n", "x".repeat(90)));
    }
}
