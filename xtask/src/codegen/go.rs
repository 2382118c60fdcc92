//! Reads type declarations out of Go sources: just enough Go for the API's own style.

use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A Go package with the types it declares.
pub struct Package {
    /// `k8s.io/api/core/v1`.
    pub path: String,
    /// The API group its `GroupName` constant says, where it has one.
    pub group: Option<String>,
    pub types: BTreeMap<String, Type>,
    /// Messages `generated.proto` declares.
    pub messages: BTreeSet<String>,
}

/// A declared type. References inside are fully qualified: `k8s.io/api/core/v1.Container`.
pub enum Type {
    Struct(Vec<Field>),
    /// Another name for a type.
    Alias(String),
    /// Anything else: the type it is declared as.
    Named(String),
}

pub struct Field {
    /// Whether embedded (and so inline in JSON unless it has a JSON name).
    pub embedded: bool,
    pub ty: String,
    pub tags: BTreeMap<String, String>,
}

const GROUPS_OF_PACKAGES: &[&str] = &[
    "api",
    "apimachinery/pkg/apis/meta",
    "apiextensions-apiserver/pkg/apis/apiextensions",
    "kube-aggregator/pkg/apis/apiregistration",
];

/// Loads every versioned API package below `staging`, by import path.
pub fn load(staging: &Path) -> Result<BTreeMap<String, Package>> {
    let mut dirs = Vec::new();
    for root in GROUPS_OF_PACKAGES {
        for entry in std::fs::read_dir(staging.join(root)).with_context(|| (*root).to_owned())? {
            let dir = entry?.path();
            if *root != "api" {
                dirs.push(dir);
            } else if dir.is_dir() {
                for version in std::fs::read_dir(&dir)? {
                    dirs.push(version?.path());
                }
            }
        }
    }
    let mut packages = BTreeMap::new();
    for dir in dirs {
        // CustomResourceDefinition's old version is not served and shares its special types' names.
        if !dir.join("generated.proto").exists() || dir.ends_with("apiextensions/v1beta1") {
            continue;
        }
        let path = format!("k8s.io/{}", dir.strip_prefix(staging)?.display());
        packages.insert(path.clone(), package(&dir, path)?);
    }
    Ok(packages)
}

fn package(dir: &Path, path: String) -> Result<Package> {
    let mut out = Package { path, group: None, types: BTreeMap::new(), messages: BTreeSet::new() };
    let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(std::fs::DirEntry::file_name);
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        if name == "generated.proto" {
            let text = std::fs::read_to_string(file.path())?;
            out.messages = text
                .lines()
                .filter_map(|l| l.strip_prefix("message ")?.strip_suffix(" {").map(str::to_owned))
                .collect();
        }
        let generated = name.starts_with("zz_") || name.starts_with("generated") || name.contains("swagger");
        if name.ends_with(".go") && !name.ends_with("_test.go") && !generated {
            source(&std::fs::read_to_string(file.path())?, &mut out).with_context(|| name.clone())?;
        }
    }
    Ok(out)
}

fn source(text: &str, out: &mut Package) -> Result<()> {
    let mut imports: BTreeMap<String, String> = BTreeMap::new();
    let mut lines = text.lines();
    let mut in_imports = false;
    while let Some(line) = lines.next() {
        let t = line.trim();
        if t == "import (" {
            in_imports = true;
        } else if in_imports && t == ")" {
            in_imports = false;
        } else if in_imports || t.starts_with("import ") {
            let t = t.trim_start_matches("import ");
            if let Some((alias, rest)) = t.split_once('"') {
                let path = rest.trim_end_matches('"').to_owned();
                let last = path.rsplit('/').next().unwrap_or_default().to_owned();
                let alias = if alias.trim().is_empty() { last } else { alias.trim().to_owned() };
                imports.insert(alias, path);
            }
        } else if let Some(rest) = t.strip_prefix("const GroupName = \"") {
            out.group = Some(rest.trim_end_matches('"').to_owned());
        } else if let Some(rest) = line.strip_prefix("type ") {
            let (name, decl) = rest.split_once(' ').context("type without body")?;
            let decl = decl.split("//").next().unwrap_or_default().trim();
            if decl == "struct {" {
                let fields = fields(&mut lines, &imports, &out.path)?;
                out.types.insert(name.to_owned(), Type::Struct(fields));
            } else if decl == "struct{}" {
                out.types.insert(name.to_owned(), Type::Struct(Vec::new()));
            } else if !decl.starts_with("interface") && !decl.starts_with("func") {
                let ty = match decl.strip_prefix("= ") {
                    Some(target) => Type::Alias(qualify(target, &imports, &out.path)),
                    None => Type::Named(qualify(decl, &imports, &out.path)),
                };
                out.types.insert(name.to_owned(), ty);
            }
        }
    }
    Ok(())
}

fn fields<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
    imports: &BTreeMap<String, String>,
    package: &str,
) -> Result<Vec<Field>> {
    let mut out = Vec::new();
    let mut in_comment = false;
    for line in lines {
        if line == "}" {
            return Ok(out);
        }
        let t = line.trim();
        if in_comment || t.starts_with("/*") {
            in_comment = !t.contains("*/");
            continue;
        }
        if t.is_empty() || t.starts_with("//") {
            continue;
        }
        let mut parts = t.splitn(3, '`');
        let decl = parts.next().unwrap_or_default().split("//").next().unwrap_or_default().trim();
        let tags = tags(parts.next().unwrap_or_default());
        let (embedded, ty) = match decl.split_once(char::is_whitespace) {
            Some((_, ty)) => (false, ty.trim()),
            None => (true, decl),
        };
        out.push(Field { embedded, ty: qualify(ty, imports, package), tags });
    }
    ensure!(false, "struct without end");
    Ok(out)
}

fn tags(mut text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    while let Some((key, rest)) = text.split_once(":\"") {
        let Some((value, rest)) = rest.split_once('"') else { break };
        out.insert(key.trim().to_owned(), value.to_owned());
        text = rest;
    }
    out
}

/// Puts the import path before every type name that is not Go's own.
fn qualify(ty: &str, imports: &BTreeMap<String, String>, package: &str) -> String {
    for prefix in ["*", "[]", "map[string]"] {
        if let Some(rest) = ty.strip_prefix(prefix) {
            return format!("{prefix}{}", qualify(rest, imports, package));
        }
    }
    if let Some(rest) = ty.strip_prefix("map[") {
        // Keys are always text in JSON and in protobuf.
        let value = rest.split_once(']').map_or("", |(_, v)| v);
        return format!("map[string]{}", qualify(value, imports, package));
    }
    match ty.split_once('.') {
        Some((alias, name)) => {
            format!("{}.{name}", imports.get(alias).map_or(alias, String::as_str))
        }
        None if ty.starts_with(|c: char| c.is_ascii_uppercase()) => format!("{package}.{ty}"),
        None => ty.to_owned(),
    }
}
