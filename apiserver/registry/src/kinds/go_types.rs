//! Prints API values the way Go prints upstream's internal types, which have no JSON names: some error
//! messages carry such values, and the refusal of a pod update carries a diff of two of them.
//!
//! `go_types.txt` has a line a type: its name, then `GoName[=jsonKey]:kind` for each field in declaration
//! order. The key is the Go name in lower camel case where not given; a `?` leaves the field out when empty.
//! Kinds: `s` text, `i` number, `b` boolean, `q` quantity, `v` as it is, `*` pointer, `[` list, `{` map, or
//! the name of another type.

use gantry_types::field::go_quote;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

static TYPES: &str = include_str!("go_types.txt");

/// A JSON tree; the body of any API object reads as one.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

/// How lines break: none, or one space of indentation a level.
#[derive(Clone, Copy)]
struct Layout {
    pretty: bool,
}

impl Layout {
    fn line(self, depth: usize, out: &mut String) {
        if self.pretty {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', depth));
        }
    }

    /// `open`, each item on a line, `close`.
    fn block(
        self,
        depth: usize,
        brackets: [char; 2],
        items: Vec<Box<dyn FnOnce(&mut String) + '_>>,
        out: &mut String,
    ) {
        out.push(brackets[0]);
        let empty = items.is_empty();
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            self.line(depth + 1, out);
            item(out);
        }
        if !empty {
            self.line(depth, out);
        }
        out.push(brackets[1]);
    }

    fn key(self, key: &str, out: &mut String) {
        out.push_str(&go_string(key));
        out.push_str(if self.pretty { ": " } else { ":" });
    }
}

fn go_string(s: &str) -> String {
    let json = serde_json::to_string(s).unwrap_or_else(|_| go_quote(s));
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn fields(name: &str) -> Option<&'static str> {
    TYPES.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))
}

fn write(kind: &str, value: Option<&Json>, layout: Layout, depth: usize, out: &mut String) {
    let value = value.filter(|v| !matches!(v, Json::Null));
    if let Some(inner) = kind.strip_prefix('*') {
        return match value {
            None => out.push_str("null"),
            some => write(inner, some, layout, depth, out),
        };
    }
    if let Some(item) = kind.strip_prefix('[') {
        let Some(Json::List(items)) = value else { return out.push_str("null") };
        let items = items.iter().map(|v| -> Box<dyn FnOnce(&mut String) + '_> {
            Box::new(move |out| write(item, Some(v), layout, depth + 1, out))
        });
        return layout.block(depth, ['[', ']'], items.collect(), out);
    }
    if let Some(item) = kind.strip_prefix('{') {
        let Some(Json::Map(map)) = value else { return out.push_str("null") };
        let items = map.iter().map(|(k, v)| -> Box<dyn FnOnce(&mut String) + '_> {
            Box::new(move |out| {
                layout.key(k, out);
                write(item, Some(v), layout, depth + 1, out);
            })
        });
        return layout.block(depth, ['{', '}'], items.collect(), out);
    }
    if let Some(fields) = fields(kind) {
        static EMPTY: BTreeMap<String, Json> = BTreeMap::new();
        let map = match value {
            Some(Json::Map(map)) => map,
            _ => &EMPTY,
        };
        let mut items: Vec<Box<dyn FnOnce(&mut String) + '_>> = Vec::new();
        for field in fields.split(' ') {
            let Some((names, kind)) = field.split_once(':') else { continue };
            let (names, optional) = names.strip_suffix('?').map_or((names, false), |n| (n, true));
            let (shown, key) = names.split_once('=').map_or_else(
                || (names, format!("{}{}", names[..1].to_lowercase(), &names[1..])),
                |(shown, key)| (shown, key.to_owned()),
            );
            let value = map.get(&key);
            if optional && value.is_none() {
                continue;
            }
            items.push(Box::new(move |out| {
                layout.key(shown, out);
                write(kind, value, layout, depth + 1, out);
            }));
        }
        return layout.block(depth, ['{', '}'], items, out);
    }
    match value {
        Some(Json::Text(s)) => out.push_str(&go_string(s)),
        Some(Json::Number(n)) => out.push_str(&n.to_string()),
        Some(Json::Bool(b)) => out.push_str(if *b { "true" } else { "false" }),
        _ => out.push_str(match kind {
            "s" => "\"\"",
            "i" => "0",
            "b" => "false",
            "q" => "\"0\"",
            _ => "null",
        }),
    }
}

/// The host namespace fields of a pod spec sit in its security context, in the internal type; the metadata of
/// a template sits in the template itself.
fn internal(kind: &str, mut json: Json) -> Json {
    if kind == "PodTemplateSpec"
        && let Json::Map(template) = &mut json
    {
        if let Some(Json::Map(metadata)) = template.remove("metadata") {
            template.extend(metadata);
        }
        if let Some(spec) = template.remove("spec") {
            template.insert("spec".to_owned(), internal("PodSpec", spec));
        }
    }
    if kind == "PodSpec"
        && let Json::Map(spec) = &mut json
    {
        let moved: Vec<(String, Json)> =
            ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"]
                .iter()
                .filter_map(|k| spec.remove_entry(*k))
                .collect();
        let context = spec.entry("securityContext".to_owned()).or_insert_with(|| Json::Map(BTreeMap::new()));
        if let Json::Map(context) = context {
            context.extend(moved);
        }
    }
    json
}

fn render<T: Serialize>(kind: &str, value: &T, pretty: bool) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let json = serde_json::from_str(&text).unwrap_or(Json::Null);
    let json = internal(kind.trim_start_matches(['[', '*']), json);
    let mut out = String::new();
    write(kind, Some(&json), Layout { pretty }, 0, &mut out);
    out
}

/// One line. `kind` is a type of the table, or a list of one (`[PodIP`).
pub fn print<T: Serialize>(kind: &str, value: &T) -> String {
    render(kind, value, false)
}

/// The unified diff of two values printed over many lines, three lines of context; empty when they print alike.
pub fn diff<T: Serialize>(kind: &str, old: &T, new: &T) -> String {
    unified(&render(kind, old, true), &render(kind, new, true))
}

type Block = (usize, usize, usize);

/// The matching runs of two texts, found as Python's difflib does: longest first, ignoring lines that come
/// up too often in long texts.
struct Matcher<'a> {
    a: Vec<&'a str>,
    b: Vec<&'a str>,
    at: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Matcher<'a> {
    fn new(a: &'a str, b: &'a str) -> Self {
        let (a, b): (Vec<&str>, Vec<&str>) = (a.split('\n').collect(), b.split('\n').collect());
        let mut at: HashMap<&str, Vec<usize>> = HashMap::new();
        for (j, line) in b.iter().enumerate() {
            at.entry(line).or_default().push(j);
        }
        if b.len() >= 200 {
            let most = b.len() / 100 + 1;
            at.retain(|_, places| places.len() <= most);
        }
        Self { a, b, at }
    }

    fn longest(&self, (alo, ahi): (usize, usize), (blo, bhi): (usize, usize)) -> Block {
        let (mut i, mut j, mut size) = (alo, blo, 0);
        let mut runs: HashMap<usize, usize> = HashMap::new();
        for (x, line) in self.a.iter().enumerate().take(ahi).skip(alo) {
            let mut next = HashMap::new();
            for &y in self.at.get(line).into_iter().flatten() {
                if y < blo {
                    continue;
                }
                if y >= bhi {
                    break;
                }
                let k = y.checked_sub(1).and_then(|y| runs.get(&y)).copied().unwrap_or(0) + 1;
                next.insert(y, k);
                if k > size {
                    (i, j, size) = (x + 1 - k, y + 1 - k, k);
                }
            }
            runs = next;
        }
        while i > alo && j > blo && self.a[i - 1] == self.b[j - 1] {
            (i, j, size) = (i - 1, j - 1, size + 1);
        }
        while i + size < ahi && j + size < bhi && self.a[i + size] == self.b[j + size] {
            size += 1;
        }
        (i, j, size)
    }

    fn blocks(&self, a: (usize, usize), b: (usize, usize), out: &mut Vec<Block>) {
        let (i, j, size) = self.longest(a, b);
        if size == 0 {
            return;
        }
        if a.0 < i && b.0 < j {
            self.blocks((a.0, i), (b.0, j), out);
        }
        match out.last_mut() {
            Some((x, y, n)) if *x + *n == i && *y + *n == j => *n += size,
            _ => out.push((i, j, size)),
        }
        if i + size < a.1 && j + size < b.1 {
            self.blocks((i + size, a.1), (j + size, b.1), out);
        }
    }
}

/// A stretch of both texts: alike, or replaced by one another.
#[derive(Clone, Copy)]
struct Stretch {
    same: bool,
    a: (usize, usize),
    b: (usize, usize),
}

const CONTEXT: usize = 3;

fn hunks(m: &Matcher<'_>) -> Vec<Vec<Stretch>> {
    let mut blocks = Vec::new();
    m.blocks((0, m.a.len()), (0, m.b.len()), &mut blocks);
    blocks.push((m.a.len(), m.b.len(), 0));
    let (mut i, mut j) = (0, 0);
    let mut all = Vec::new();
    for (x, y, n) in blocks {
        if i < x || j < y {
            all.push(Stretch { same: false, a: (i, x), b: (j, y) });
        }
        (i, j) = (x + n, y + n);
        if n > 0 {
            all.push(Stretch { same: true, a: (x, i), b: (y, j) });
        }
    }
    if let Some(first) = all.first_mut().filter(|s| s.same) {
        first.a.0 = first.a.0.max(first.a.1.saturating_sub(CONTEXT));
        first.b.0 = first.b.0.max(first.b.1.saturating_sub(CONTEXT));
    }
    if let Some(last) = all.last_mut().filter(|s| s.same) {
        last.a.1 = last.a.1.min(last.a.0 + CONTEXT);
        last.b.1 = last.b.1.min(last.b.0 + CONTEXT);
    }
    let mut out = Vec::new();
    let mut hunk = Vec::new();
    for mut s in all {
        if s.same && s.a.1 - s.a.0 > 2 * CONTEXT {
            let head = Stretch { same: true, a: (s.a.0, s.a.0 + CONTEXT), b: (s.b.0, s.b.0 + CONTEXT) };
            hunk.push(head);
            out.push(std::mem::take(&mut hunk));
            (s.a.0, s.b.0) = (s.a.1 - CONTEXT, s.b.1 - CONTEXT);
        }
        hunk.push(s);
    }
    if hunk.iter().any(|s| !s.same) {
        out.push(hunk);
    }
    out
}

fn range(from: usize, to: usize) -> String {
    match to - from {
        1 => (from + 1).to_string(),
        0 => format!("{from},0"),
        n => format!("{},{n}", from + 1),
    }
}

fn unified(a: &str, b: &str) -> String {
    let m = Matcher::new(a, b);
    let mut out = String::new();
    for hunk in hunks(&m) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        out.push_str(&format!("@@ -{} +{} @@\n", range(first.a.0, last.a.1), range(first.b.0, last.b.1)));
        for s in &hunk {
            let mut push = |mark: char, lines: &[&str]| {
                for line in lines {
                    out.push(mark);
                    out.push_str(line);
                    out.push('\n');
                }
            };
            if s.same {
                push(' ', &m.a[s.a.0..s.a.1]);
            } else {
                push('-', &m.a[s.a.0..s.a.1]);
                push('+', &m.b[s.b.0..s.b.1]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::k8s_openapi::api::core::v1::{PodResourceClaim, PodSpec};

    #[test]
    fn values_print_as_gos_internal_types() {
        let claim = PodResourceClaim { name: "a".into(), ..Default::default() };
        assert_eq!(
            print("PodResourceClaim", &claim),
            r#"{"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}"#
        );
    }

    #[test]
    fn specs_differ_in_unified_hunks() {
        let old = PodSpec { restart_policy: Some("Always".into()), ..Default::default() };
        let new = PodSpec { restart_policy: Some("Never".into()), ..Default::default() };
        assert_eq!(diff("PodSpec", &old, &old), "");
        let text = diff("PodSpec", &old, &new);
        assert_eq!(
            text,
            "@@ -3,7 +3,7 @@\n  \"InitContainers\": null,\n  \"Containers\": [],\n  \"EphemeralContainers\": null,\n- \"RestartPolicy\": \"Always\",\n+ \"RestartPolicy\": \"Never\",\n  \"TerminationGracePeriodSeconds\": null,\n  \"ActiveDeadlineSeconds\": null,\n  \"DNSPolicy\": \"\",\n"
        );
    }
}
