//! JSONPath as printer columns, selectable fields and `-o jsonpath` use it: `.a.b`, `['a.b']`, `[0]`, `[1:3]`,
//! `[*]`, `..a`, `[a,b]` unions and `[?(@.type=="Ready")]` filters. Templates (`{range}…`) are the CLI's.

use serde_json::Value;
use std::cmp::Ordering;

/// A node of a document, as paths lead to; for callers that print what they found.
pub use serde_json::Value as Node;

/// A path that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonPathError {
    #[error("unterminated array")]
    UnterminatedArray,
    #[error("unterminated filter")]
    UnterminatedFilter,
    #[error("unterminated quoted string")]
    UnterminatedString,
    #[error("invalid array index {0}")]
    BadIndex(String),
    #[error("unrecognized character in action: {0}")]
    BadCharacter(String),
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Recursive,
    /// `[from:to:step]`; a single index is a slice of one.
    Slice(Slice),
    Union(Vec<Step>),
    Filter(Box<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
struct Slice {
    from: Option<i64>,
    to: Option<i64>,
    by: i64,
    /// A plain index.
    one: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Exists,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// A path from the item (`@`) or the root (`$`).
    Path(bool, JsonPath),
    Literal(Value),
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    op: Op,
    right: Operand,
}

fn bad(text: &str) -> JsonPathError {
    JsonPathError::BadCharacter(
        text.chars().next().map_or_else(String::new, |c| format!("U+{:04X} {c:?}", c as u32)),
    )
}

impl JsonPath {
    /// Parses a path, with or without a leading `$` and without braces.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix(['$', '@']).unwrap_or(rest);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Recursive);
                rest = after;
                if !rest.starts_with(['[', '*']) {
                    rest = field(rest, &mut steps);
                }
            } else if let Some(after) = rest.strip_prefix('.') {
                rest = if after.starts_with('*') || after.starts_with('[') {
                    after
                } else {
                    field(after, &mut steps)
                };
            } else if let Some(after) = rest.strip_prefix('*') {
                steps.push(Step::Wildcard);
                rest = after;
            } else if rest.starts_with('[') {
                let (inner, after) = bracket(rest)?;
                steps.push(subscript(inner)?);
                rest = after;
            } else if steps.is_empty() && rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
                rest = field(rest, &mut steps);
            } else {
                return Err(bad(rest));
            }
        }
        Ok(Self { steps })
    }

    /// Everything the path leads to, in order. What is missing leads nowhere.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        self.from(root, root)
    }

    /// The first thing the path leads to.
    pub fn first<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        self.find(root).into_iter().next()
    }

    fn from<'v>(&self, root: &'v Value, at: &'v Value) -> Vec<&'v Value> {
        let mut now = vec![at];
        for step in &self.steps {
            let mut next = Vec::new();
            for v in now {
                walk(step, root, v, &mut next);
            }
            now = next;
        }
        now
    }
}

/// Takes a field name; backslash escapes.
fn field<'t>(text: &'t str, steps: &mut Vec<Step>) -> &'t str {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((i, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' | '[' | ' ' | '*' => {
                end = i;
                break;
            }
            c => name.push(c),
        }
    }
    if !name.is_empty() {
        steps.push(Step::Field(name));
    }
    &text[end..]
}

/// The inside of a leading bracket, and what follows it.
fn bracket(text: &str) -> Result<(&str, &str), JsonPathError> {
    let filter = text.starts_with("[?(");
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Ok((&text[1..i], &text[i + 1..]));
                }
            }
            _ => {}
        }
    }
    Err(match (quote, filter) {
        (Some(_), _) => JsonPathError::UnterminatedString,
        (_, true) => JsonPathError::UnterminatedFilter,
        _ => JsonPathError::UnterminatedArray,
    })
}

/// A quoted string's content.
fn quoted(text: &str) -> Option<String> {
    let q = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = text.strip_prefix(q)?.strip_suffix(q)?;
    Some(inner.replace(&format!("\\{q}"), &q.to_string()))
}

/// Splits at a separator outside quotes.
fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut out, mut start, mut quote) = (Vec::new(), 0, None);
    for (i, c) in text.char_indices() {
        match quote {
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if c == separator => {
                out.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            None => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn subscript(inner: &str) -> Result<Step, JsonPathError> {
    let inner = inner.trim();
    if let Some(filter) = inner.strip_prefix("?(") {
        let filter = filter.strip_suffix(')').ok_or(JsonPathError::UnterminatedFilter)?;
        return Ok(Step::Filter(Box::new(parse_filter(filter)?)));
    }
    if inner == "*" {
        return Ok(Step::Wildcard);
    }
    let parts = split_outside(inner, ',');
    if parts.len() > 1 {
        return Ok(Step::Union(parts.into_iter().map(subscript).collect::<Result<_, _>>()?));
    }
    if let Some(name) = quoted(inner) {
        return Ok(Step::Field(name));
    }
    let number = |s: &str| match s.trim() {
        "" => Ok(None),
        s => s.parse().map(Some).map_err(|_| JsonPathError::BadIndex(inner.to_owned())),
    };
    let mut parts = inner.split(':');
    let from = number(parts.next().unwrap_or_default())?;
    Ok(Step::Slice(match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => {
            let i = from.ok_or_else(|| JsonPathError::BadIndex(inner.to_owned()))?;
            Slice { from: Some(i), to: None, by: 1, one: true }
        }
        (Some(to), by, None) => {
            let by = number(by.unwrap_or_default())?.unwrap_or(1);
            if by < 1 {
                return Err(JsonPathError::BadIndex(inner.to_owned()));
            }
            Slice { from, to: number(to)?, by, one: false }
        }
        _ => return Err(JsonPathError::BadIndex(inner.to_owned())),
    }))
}

fn parse_filter(text: &str) -> Result<Filter, JsonPathError> {
    const OPS: [(&str, Op); 6] =
        [("==", Op::Eq), ("!=", Op::Ne), ("<=", Op::Le), (">=", Op::Ge), ("<", Op::Lt), (">", Op::Gt)];
    let mut quote = None;
    for (i, c) in text.char_indices() {
        match quote {
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None => {
                if let Some((sign, op)) = OPS.iter().find(|(s, _)| text[i..].starts_with(s)) {
                    let right = operand(&text[i + sign.len()..])?;
                    return Ok(Filter { left: operand(&text[..i])?, op: *op, right });
                }
            }
        }
    }
    Ok(Filter { left: operand(text)?, op: Op::Exists, right: Operand::Literal(Value::Null) })
}

fn operand(text: &str) -> Result<Operand, JsonPathError> {
    let text = text.trim();
    if let Some(s) = quoted(text) {
        return Ok(Operand::Literal(Value::String(s)));
    }
    if text.starts_with(['@', '$', '.', '[']) {
        return Ok(Operand::Path(text.starts_with('$'), JsonPath::parse(text)?));
    }
    serde_json::from_str(text).map(Operand::Literal).map_err(|_| bad(text))
}

impl Operand {
    fn resolve<'v>(&'v self, root: &'v Value, item: &'v Value) -> Option<&'v Value> {
        match self {
            Self::Literal(v) => Some(v),
            Self::Path(from_root, path) => {
                path.from(root, if *from_root { root } else { item }).into_iter().next()
            }
        }
    }
}

impl Filter {
    fn holds(&self, root: &Value, item: &Value) -> bool {
        let Some(left) = self.left.resolve(root, item) else { return false };
        if self.op == Op::Exists {
            return true;
        }
        let Some(right) = self.right.resolve(root, item) else { return false };
        let by = match (left, right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) if a == b => Some(Ordering::Equal),
            _ => None,
        };
        match (self.op, by) {
            (Op::Eq, by) => by == Some(Ordering::Equal),
            (Op::Ne, by) => by != Some(Ordering::Equal),
            (Op::Lt, Some(by)) => by.is_lt(),
            (Op::Le, Some(by)) => by.is_le(),
            (Op::Gt, Some(by)) => by.is_gt(),
            (Op::Ge, Some(by)) => by.is_ge(),
            _ => false,
        }
    }
}

fn walk<'v>(step: &Step, root: &'v Value, at: &'v Value, out: &mut Vec<&'v Value>) {
    match (step, at) {
        (Step::Field(name), Value::Object(map)) => out.extend(map.get(name)),
        (Step::Wildcard, Value::Object(map)) => out.extend(map.values()),
        (Step::Wildcard, Value::Array(list)) => out.extend(list),
        (Step::Recursive, v) => recurse(v, out),
        (Step::Slice(s), Value::Array(list)) => {
            let len = list.len() as i64;
            let absolute = |i: i64| if i < 0 { i + len } else { i };
            let from = absolute(s.from.unwrap_or(0));
            if s.one {
                out.extend(usize::try_from(from).ok().and_then(|i| list.get(i)));
                return;
            }
            let to = s.to.map_or(len, absolute).clamp(0, len) as usize;
            let from = (from.clamp(0, len) as usize).min(to);
            out.extend(list[from..to].iter().step_by(s.by as usize));
        }
        (Step::Union(steps), v) => steps.iter().for_each(|s| walk(s, root, v, out)),
        (Step::Filter(f), Value::Array(list)) => out.extend(list.iter().filter(|item| f.holds(root, item))),
        (Step::Filter(f), Value::Object(map)) => out.extend(map.values().filter(|item| f.holds(root, item))),
        _ => {}
    }
}

/// The value and everything in it.
fn recurse<'v>(at: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(at);
    match at {
        Value::Object(map) => map.values().for_each(|v| recurse(v, out)),
        Value::Array(list) => list.iter().for_each(|v| recurse(v, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let v: Value = serde_json::from_str(
            r#"{"spec":{"n":3,"a.b":1},"items":[{"t":"x","v":1},{"t":"Ready","v":2},{"v":3}],"name":"top"}"#,
        )
        .unwrap();
        let check = |path: &str, want: &str| {
            let found = JsonPath::parse(path).unwrap().find(&v);
            assert_eq!(serde_json::to_string(&found).unwrap(), want, "{path}");
        };
        check(".spec.n", "[3]");
        check("$.spec['a.b']", "[1]");
        check(".spec.a\\.b", "[1]");
        check(".items[0].t", "[\"x\"]");
        check(".items[-1].v", "[3]");
        check(".items[9].v", "[]");
        check(".items[*].v", "[1,2,3]");
        check(".items[1:].v", "[2,3]");
        check(".items[::2].v", "[1,3]");
        check(".items[0,2].v", "[1,3]");
        check(".items[?(@.t==\"Ready\")].v", "[2]");
        check(".items[?(@.t=='Ready')].v", "[2]");
        check(".items[?(@.t)].v", "[1,2]");
        check(".items[?(@.v>=2)].v", "[2,3]");
        check("..t", "[\"x\",\"Ready\"]");
        check(".missing.deep", "[]");
        check(".name", "[\"top\"]");
    }

    #[test]
    fn bad_paths_say_so() {
        let check = |path: &str, want: JsonPathError| assert_eq!(JsonPath::parse(path), Err(want), "{path}");
        check(".a[", JsonPathError::UnterminatedArray);
        check(".a[?(@.x", JsonPathError::UnterminatedFilter);
        check(".a['x]", JsonPathError::UnterminatedString);
        check(".a[x]", JsonPathError::BadIndex("x".into()));
        assert!(JsonPath::parse("%").is_err());
    }
}
