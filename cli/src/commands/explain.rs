//! `explain`: fields and their words from the server's OpenAPI v3.

use super::Outcome;
use crate::context::Context;
use crate::error::{Result, message};
use crate::flags::{Args, Flag, on, text};
use gantry_types::field::go_quote;
use serde::Deserialize;
use std::collections::BTreeMap;

pub const FLAGS: &[Flag] = &[
    on("recursive", "When true, print the name of all the fields recursively."),
    text("api-version", "Use given api-version (group/version) of the resource."),
    text("output", "Format in which to render the schema. Only plaintext is supported.")
        .default("plaintext")
        .short('o'),
];

#[derive(Deserialize, Default)]
#[serde(default)]
struct Api {
    components: Components,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Components {
    schemas: BTreeMap<String, Schema>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Schema {
    description: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "$ref")]
    reference: String,
    #[serde(rename = "allOf")]
    all_of: Vec<Schema>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    items: Option<Box<Schema>>,
    #[serde(rename = "additionalProperties", deserialize_with = "schema_or_bool")]
    values: Option<Box<Schema>>,
    #[serde(rename = "enum")]
    choices: Vec<String>,
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kinds: Vec<Gvk>,
}

#[derive(Deserialize, Default, Clone, PartialEq)]
#[serde(default)]
struct Gvk {
    group: String,
    version: String,
    kind: String,
}

/// `additionalProperties` may also be a bool.
fn schema_or_bool<'de, D: serde::Deserializer<'de>>(
    d: D,
) -> std::result::Result<Option<Box<Schema>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Schema(Box<Schema>),
        Bool(bool),
    }
    Ok(match Option::<Either>::deserialize(d)? {
        Some(Either::Schema(s)) => Some(s),
        Some(Either::Bool(any)) => any.then(Box::default),
        None => None,
    })
}

impl Components {
    /// Where a schema leads by reference.
    fn resolve<'a>(&'a self, s: &'a Schema) -> &'a Schema {
        let reference = if s.reference.is_empty() {
            s.all_of.first().map_or("", |a| a.reference.as_str())
        } else {
            &s.reference
        };
        let name = reference.rsplit('/').next().unwrap_or_default();
        self.schemas.get(name).unwrap_or(s)
    }

    /// The object a field's content is of, through lists and maps.
    fn inner<'a>(&'a self, s: &'a Schema) -> &'a Schema {
        let s = self.resolve(s);
        match (&s.items, &s.values) {
            (Some(items), _) => self.inner(items),
            (_, Some(values)) if s.properties.is_empty() => self.inner(values),
            _ => s,
        }
    }

    fn type_name(&self, s: &Schema) -> String {
        let reference = if s.reference.is_empty() {
            s.all_of.first().map_or("", |a| a.reference.as_str())
        } else {
            &s.reference
        };
        if let Some(name) = reference.rsplit(['/', '.']).next().filter(|n| !n.is_empty()) {
            let target = self.resolve(s);
            return if target.kind == "object" || target.kind.is_empty() {
                name.to_owned()
            } else {
                target.kind.clone()
            };
        }
        match (&s.items, &s.values) {
            (Some(items), _) => format!("[]{}", self.type_name(items)),
            (_, Some(values)) => format!("map[string]{}", self.type_name(values)),
            _ if s.kind == "object" || s.kind.is_empty() => "Object".into(),
            _ => s.kind.clone(),
        }
    }
}

/// Text wrapped at 80 columns with an indentation.
fn wrapped(text: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut out = String::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && indent + line.len() + 1 + word.len() > 80 {
                out.push_str(&format!("{pad}{line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        out.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") });
    }
    out
}

fn fields(
    c: &Components,
    s: &Schema,
    depth: usize,
    recursive: bool,
    seen: &mut Vec<*const Schema>,
    out: &mut String,
) {
    let pad = " ".repeat(2 + depth * 2);
    for (name, field) in &s.properties {
        let required = if s.required.contains(name) { " -required-" } else { "" };
        out.push_str(&format!("{pad}{name}\t<{}>{required}\n", c.type_name(field)));
        if !recursive {
            let words = if field.description.is_empty() { "<no description>" } else { &field.description };
            if !field.choices.is_empty() {
                out.push_str(&format!("{pad}enum: {}\n", field.choices.join(", ")));
            }
            out.push_str(&wrapped(words, 4));
            out.push('\n');
            continue;
        }
        let inner = c.inner(field);
        let at = std::ptr::from_ref(inner);
        if !seen.contains(&at) {
            seen.push(at);
            fields(c, inner, depth + 1, true, seen, out);
            seen.pop();
        }
    }
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let [target] = args.operands.as_slice() else {
        return Err(message(if args.operands.is_empty() {
            "You must specify the type of resource to explain. Use \"kctl api-resources\" for a complete list of supported resources."
        } else {
            "We accept only this format: explain RESOURCE"
        }));
    };
    let mut parts = target.split('.');
    let first = parts.next().unwrap_or_default();
    let resource = match cx.resource(target).await {
        Ok(r) if target.contains('.') && r.full() == *target => {
            parts = "".split('.');
            parts.next();
            r
        }
        _ => cx.resource(first).await?,
    };
    let (group, version) = match args.text("api-version") {
        "" => (resource.group.clone(), resource.version.clone()),
        given => match given.split_once('/') {
            Some((g, v)) => (g.to_owned(), v.to_owned()),
            None => (String::new(), given.to_owned()),
        },
    };
    let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
    let api: Api = cx.rest().await?.typed(&format!("/openapi/v3/{path}")).await?;
    let wanted = Gvk { group: group.clone(), version: version.clone(), kind: resource.kind.clone() };
    let root = api
        .components
        .schemas
        .values()
        .find(|s| s.kinds.contains(&wanted))
        .ok_or_else(|| message(format!("couldn't find resource for {}", go_quote(&resource.kind))))?;
    let path: Vec<&str> = parts.collect();
    out!("{}", text_of(&api.components, &wanted, root, &path, args.on("recursive"))?);
    Ok(())
}

fn text_of(c: &Components, gvk: &Gvk, root: &Schema, path: &[&str], recursive: bool) -> Result<String> {
    let mut out = String::new();
    if !gvk.group.is_empty() {
        out += &format!("GROUP:      {}\n", gvk.group);
    }
    out += &format!("KIND:       {}\nVERSION:    {}\n\n", gvk.kind, gvk.version);
    let mut at = root;
    let mut words = root.description.clone();
    for (i, step) in path.iter().enumerate() {
        let field = at
            .properties
            .get(*step)
            .ok_or_else(|| message(format!("field {} does not exist", go_quote(step))))?;
        words = field.description.clone();
        at = c.inner(field);
        if i + 1 == path.len() {
            out += &format!("FIELD: {step} <{}>\n\n", c.type_name(field));
            if !field.choices.is_empty() {
                out += &format!(
                    "ENUM:\n{}\n",
                    field.choices.iter().map(|e| format!("    {e}\n")).collect::<String>()
                );
            }
        }
    }
    if !path.is_empty() && !at.description.is_empty() && at.description != words && !at.properties.is_empty()
    {
        words = format!("{words}\n{}", at.description);
    }
    let words = if words.is_empty() { "<empty>".to_owned() } else { words };
    out += &format!("\nDESCRIPTION:\n{}", wrapped(&words, 4)).replacen("\n\nDESC", "\nDESC", 1);
    if !at.properties.is_empty() {
        out += "\nFIELDS:\n";
        fields(c, at, 0, recursive, &mut Vec::new(), &mut out);
    }
    out.push('\n');
    Ok(out)
}
