//! JSONPath templates: text with `{path}`, `{range path}…{end}` and `{"literal"}` in it.

use super::json;
use crate::error::{Result, message};
use gantry_machinery::path::{JsonPath, Node};

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Path(JsonPath),
    Range(JsonPath, Vec<Part>),
}

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

/// A value as templates show it: texts bare, the rest as JSON.
pub fn show(node: &Node) -> String {
    match node {
        Node::String(s) => s.clone(),
        Node::Null => String::new(),
        other => json::compact(other),
    }
}

/// A path as `--sort-by`, `wait` and columns take it: with or without braces and the first dot.
///
/// # Errors
/// Where it is none.
pub fn relaxed(text: &str) -> Result<JsonPath> {
    let body = text.trim();
    let body = body.strip_prefix('{').and_then(|b| b.strip_suffix('}')).unwrap_or(body);
    if body.contains(['{', '}']) && !body.contains("?(") {
        return Err(message(
            "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'",
        ));
    }
    let body = if body.starts_with(['.', '[', '$']) { body.to_owned() } else { format!(".{body}") };
    JsonPath::parse(&body).map_err(|e| message(e.to_string()))
}

/// The end of an action: its closing brace, outside quotes.
fn close(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (i, c) in text.char_indices() {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == '}' => return Some(i),
            None => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, ()) {
            ('\\', ()) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
            (c, ()) => out.push(c),
        }
    }
    out
}

impl Template {
    /// # Errors
    /// Unclosed actions, ranges without an end, broken paths.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(message("template format specified but no template given"));
        }
        let mut stack: Vec<(Option<JsonPath>, Vec<Part>)> = vec![(None, Vec::new())];
        let wrong = |why: &str| message(format!("error parsing jsonpath {text}, {why}"));
        let mut rest = text;
        while !rest.is_empty() {
            let (before, after) = rest.split_once('{').unwrap_or((rest, ""));
            let had_action = before.len() < rest.len();
            let top = |stack: &mut Vec<(Option<JsonPath>, Vec<Part>)>, part| {
                if let Some((_, parts)) = stack.last_mut() {
                    parts.push(part);
                }
            };
            if !before.is_empty() {
                top(&mut stack, Part::Text(before.to_owned()));
            }
            if !had_action {
                break;
            }
            let end = close(after).ok_or_else(|| wrong("unclosed action"))?;
            let action = after[..end].trim();
            rest = &after[end + 1..];
            let path = |p: &str| JsonPath::parse(p.trim()).map_err(|e| wrong(&e.to_string()));
            if let Some(over) = action.strip_prefix("range ") {
                stack.push((Some(path(over)?), Vec::new()));
            } else if action == "end" {
                match stack.pop() {
                    Some((Some(over), parts)) => top(&mut stack, Part::Range(over, parts)),
                    _ => return Err(wrong("not in range, nothing to end")),
                }
            } else if let Some(quote) = action.chars().next().filter(|c| matches!(c, '"' | '\'')) {
                let inner =
                    action[1..].strip_suffix(quote).ok_or_else(|| wrong("unterminated quoted string"))?;
                top(&mut stack, Part::Text(unescape(inner)));
            } else {
                for one in action.split_whitespace().collect::<Vec<_>>().join(" ").split("} {") {
                    top(&mut stack, Part::Path(path(one)?));
                }
            }
        }
        if stack.len() > 1 {
            return Err(wrong("unterminated range"));
        }
        Ok(Self { parts: stack.pop().map(|(_, parts)| parts).unwrap_or_default() })
    }

    /// The text for one document; what is missing is empty.
    ///
    /// # Errors
    /// None today; kept for templates that refuse missing keys.
    pub fn render(&self, root: &Node) -> Result<String> {
        let mut out = String::new();
        render(&self.parts, root, &mut out);
        Ok(out)
    }

    /// Every result as a JSON list of four-space indentation.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_json(&self, root: &Node) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            if let Part::Path(path) = part {
                let found: Vec<Node> = path.find(root).into_iter().cloned().collect();
                out.push_str(&json::pretty(&Node::from(found)));
                out.push('\n');
            }
        }
        Ok(out)
    }
}

fn render(parts: &[Part], at: &Node, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(t) => out.push_str(t),
            Part::Path(path) => {
                let found: Vec<String> = path.find(at).into_iter().map(show).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(over, inner) => {
                for item in over.find(at) {
                    render(inner, item, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_render() {
        let root: Node =
            serde_json::from_str(r#"{"items":[{"n":"a","v":1},{"n":"b","v":{"x":true}}],"k":{"a.b":"c"}}"#)
                .unwrap();
        let check = |t: &str, expected: &str| {
            let shown = Template::parse(t).and_then(|t| t.render(&root)).unwrap_or_else(|e| e.bare());
            assert_eq!(shown, expected, "{t}");
        };
        check("{.items[*].n}", "a b");
        check("{.items[0].n}", "a");
        check("{range .items[*]}{.n}={.v}{\"\\n\"}{end}", "a=1\nb={\"x\":true}\n");
        check("{.items[?(@.n==\"b\")].v.x}", "true");
        check("{.k.a\\.b}", "c");
        check("x{.missing}y", "xy");
        check("{$.items[1].n}", "b");
        check("{.a", "error parsing jsonpath {.a, unclosed action");
        check("{range .items[*]}x", "error parsing jsonpath {range .items[*]}x, unterminated range");
    }
}
