//! Joins the three sources and writes the table.

use super::go::{Field, Package, Type};
use super::openapi::{self, Definitions};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

type Packages = BTreeMap<String, Package>;

/// Go types that are scalars (or opaque) in the schema.
const SCALARS: &[(&str, &str)] = &[
    ("string", "string"),
    ("bool", "bool"),
    ("int", "int64"),
    ("int32", "int32"),
    ("int64", "int64"),
    ("uint8", "uint8"),
    ("uint16", "uint16"),
    ("uint32", "uint32"),
    ("uint64", "uint64"),
    ("float64", "number"),
    ("[]byte", "bytes"),
    ("interface{}", "any"),
    ("k8s.io/apimachinery/pkg/types.UID", "string"),
    ("k8s.io/apimachinery/pkg/types.NodeName", "string"),
    ("k8s.io/apimachinery/pkg/api/resource.Quantity", "quantity"),
    ("k8s.io/apimachinery/pkg/util/intstr.IntOrString", "intorstring"),
    ("k8s.io/apimachinery/pkg/runtime.RawExtension", "object"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Time", "time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime", "microtime"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Duration", "duration"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1", "object"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON", "any"),
];

/// Types that are a `JSONSchemaProps` or something else.
const SCHEMA_OR: &[(&str, &str)] = &[
    ("JSONSchemaPropsOrBool", "schemaorbool"),
    ("JSONSchemaPropsOrArray", "schemaorarray"),
    ("JSONSchemaPropsOrStringArray", "schemaorstrings"),
];

/// Types that are not objects of the API, or have a Go method for their JSON form.
const SKIPPED: &[&str] =
    &["Time", "MicroTime", "Duration", "FieldsV1", "JSON", "Timestamp", "InternalEvent", "ParameterCodec"];

struct Writer<'a> {
    packages: &'a Packages,
    docs: &'a Definitions,
    out: String,
}

pub fn write(packages: &Packages, docs: &Definitions) -> Result<String> {
    let mut w = Writer { packages, docs, out: String::new() };
    for p in packages.values() {
        for (name, ty) in &p.types {
            let skipped = SKIPPED.contains(&name.as_str()) || SCHEMA_OR.iter().any(|(n, _)| n == name);
            if !p.messages.contains(name) || skipped {
                continue;
            }
            if let Some(fields) = w.struct_of(ty) {
                w.definition(p, name, fields).with_context(|| format!("{}.{name}", p.path))?;
            }
        }
    }
    Ok(w.out)
}

/// `io.k8s.api.core.v1.Pod`, abbreviated.
fn definition_name(package: &str, name: &str) -> String {
    format!("io.{}.{name}", package.replacen("k8s.io", "k8s", 1).replace('/', "."))
}

fn short(definition: &str) -> String {
    match definition.strip_prefix("io.k8s.api.") {
        Some(rest) => format!("~{rest}"),
        None => definition.to_owned(),
    }
}

/// A qualified type as Go's messages print it: `v1.RestartPolicy`.
fn go_name(qualified: &str) -> &str {
    qualified.rsplit('/').next().unwrap_or(qualified)
}

/// A field ready for its line.
struct Row {
    name: String,
    ty: String,
    flags: String,
    wire: String,
    /// Go names of the embedded structs the field comes through, dotted.
    through: String,
}

impl<'a> Writer<'a> {
    fn find(&self, qualified: &str) -> Result<(&'a Package, &'a str, &'a Type)> {
        let (path, name) = qualified.rsplit_once('.').with_context(|| format!("unknown type {qualified}"))?;
        let package = self.packages.get(path).with_context(|| format!("unknown package of {qualified}"))?;
        let (name, ty) = package.types.get_key_value(name).with_context(|| format!("no type {qualified}"))?;
        match ty {
            Type::Alias(target) => self.find(target),
            _ => Ok((package, name, ty)),
        }
    }

    /// The fields of a struct, or of the struct a type is declared as.
    fn struct_of(&self, ty: &'a Type) -> Option<&'a [Field]> {
        match ty {
            Type::Struct(fields) => Some(fields),
            // An alias has its definition where it points to.
            Type::Alias(_) => None,
            Type::Named(other) => {
                let (_, _, ty) = self.find(other).ok()?;
                self.struct_of(ty)
            }
        }
    }

    fn definition(&mut self, p: &'a Package, name: &str, fields: &'a [Field]) -> Result<()> {
        let full = definition_name(&p.path, name);
        let doc = self.docs.get(&full);
        let mut rows = Vec::new();
        let mut inlines = Vec::new();
        let is_kind = self.rows(fields, "", &mut rows, &mut inlines)?;
        let _ = write!(self.out, "= {}", short(&full));
        if is_kind || name == "WatchEvent" {
            let version = p.path.rsplit('/').next().unwrap_or_default();
            if p.path.ends_with("apis/meta/v1") {
                let _ = write!(self.out, " kind=/v1/{name} kind=meta.k8s.io/v1/{name}");
            } else {
                let group = p.group.as_deref().with_context(|| format!("{} has no group", p.path))?;
                let _ = write!(self.out, " kind={group}/{version}/{name}");
            }
        }
        if doc.and_then(|d| d.get("x-kubernetes-map-type")).is_some_and(|v| v == "atomic") {
            self.out.push_str(" atomic");
        }
        if let Some(unions) = doc.and_then(|d| d.get("x-kubernetes-unions")) {
            let _ = write!(self.out, " unions={unions}");
        }
        self.out.push('\n');
        if let Some(properties) = doc.and_then(openapi::properties) {
            let ours: BTreeSet<&str> = rows.iter().map(|r| r.name.as_str()).collect();
            let theirs: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            ensure!(ours == theirs, "Go has {ours:?}, OpenAPI has {theirs:?}");
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        for row in rows {
            let property = doc.and_then(openapi::properties).and_then(|m| m.get(&row.name));
            let mut flags = row.flags;
            if openapi::required(doc, &row.name) {
                flags.push('r');
            }
            if flags.is_empty() {
                flags.push('-');
            }
            let attributes = property.map(openapi::attributes).unwrap_or_default();
            let through = match row.through.as_str() {
                "" | "TypeMeta" => String::new(),
                through => format!(" i={through}"),
            };
            let _ = writeln!(self.out, "{} {} {flags} {}{through}{attributes}", row.name, row.ty, row.wire);
        }
        for line in inlines {
            self.out.push_str(&line);
        }
        Ok(())
    }

    /// Collects the rows of a struct with those it inlines; `through` names the structs embedded on
    /// the way here. Answers whether the struct embeds a `TypeMeta`.
    fn rows(
        &self,
        fields: &'a [Field],
        through: &str,
        rows: &mut Vec<Row>,
        inlines: &mut Vec<String>,
    ) -> Result<bool> {
        let mut is_kind = false;
        let top = through.is_empty();
        for field in fields {
            let json = field.tags.get("json").map_or("", String::as_str);
            let mut parts = json.split(',');
            let name = parts.next().unwrap_or_default();
            let options: Vec<&str> = parts.collect();
            if name == "-" || (json.is_empty() && !field.embedded) {
                continue;
            }
            let pointer = field.ty.starts_with('*');
            let wire = match field.tags.get("protobuf").map(String::as_str) {
                None | Some("-") => None,
                Some(tag) => Some(tag.split(',').nth(1).context("tag without number")?.parse::<u32>()?),
            };
            if name.is_empty() && field.embedded {
                let target = field.ty.trim_start_matches('*');
                is_kind |= target.ends_with("apis/meta/v1.TypeMeta");
                let (tp, tname, ty) = self.find(target)?;
                let inner = self.struct_of(ty).with_context(|| format!("{target} is no struct"))?;
                let below = if top { tname.to_owned() } else { format!("{through}.{tname}") };
                self.rows(inner, &below, rows, inlines)?;
                if let (true, Some(number)) = (top, wire) {
                    let flags = if pointer { "*" } else { "-" };
                    let name = short(&definition_name(&tp.path, tname));
                    inlines.push(format!("> @{name} {flags} {number}\n"));
                }
                continue;
            }
            let mut flags = String::new();
            if pointer {
                flags.push('*');
            }
            if options.contains(&"omitempty") {
                flags.push('e');
            }
            if options.contains(&"omitzero") {
                flags.push('z');
            }
            let ty = self.ty(field.ty.trim_start_matches('*'))?;
            let wire = wire.filter(|_| top).map_or_else(|| "-".to_owned(), |n| n.to_string());
            rows.push(Row { name: name.to_owned(), ty, flags, wire, through: through.to_owned() });
        }
        Ok(is_kind)
    }

    /// A type as the table writes it.
    fn ty(&self, go: &str) -> Result<String> {
        if let Some((_, scalar)) = SCALARS.iter().find(|(g, _)| *g == go) {
            if go.contains("/pkg/types.") {
                return Ok(format!("({}){scalar}", go_name(go)));
            }
            return Ok((*scalar).to_owned());
        }
        for (prefix, ours) in [("[]", "[]"), ("map[string]", "{}")] {
            if let Some(rest) = go.strip_prefix(prefix) {
                return Ok(format!("{ours}{}", self.ty(rest.trim_start_matches('*'))?));
            }
        }
        let (p, name, ty) = self.find(go)?;
        if let Some((_, kind)) = SCHEMA_OR.iter().find(|(n, _)| *n == name) {
            return Ok((*kind).to_owned());
        }
        match ty {
            Type::Struct(_) => Ok(format!("@{}", short(&definition_name(&p.path, name)))),
            Type::Alias(other) | Type::Named(other) => {
                let inner = self.ty(other)?;
                if inner.starts_with('@') && p.messages.contains(name) {
                    // A struct declared as another one has a definition of its own.
                    return Ok(format!("@{}", short(&definition_name(&p.path, name))));
                }
                if inner.starts_with("[]") && p.messages.contains(name) {
                    return Ok(format!("({})w{inner}", go_name(go)));
                }
                if inner.starts_with("{}") && p.messages.contains(name) {
                    bail!("{go} is a map with a message of its own");
                }
                let inner = inner.split_once(')').map_or(inner.as_str(), |(_, i)| i);
                Ok(format!("({}){inner}", go_name(go)))
            }
        }
    }
}
