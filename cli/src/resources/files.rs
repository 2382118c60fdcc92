//! Manifests: files, directories and standard input, YAML or JSON, many documents each, lists taken apart.

use crate::error::{Error, Result, message};
use gantry_machinery::validate::yaml_to_json;
use gantry_types::Document;
use gantry_types::field::go_quote;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One object of a manifest and where it came from.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub source: String,
    pub object: Document,
}

/// Reads what `-f` names; `recursive` goes into directories of directories.
///
/// # Errors
/// Missing files, broken texts, objects without a kind. Sound objects before a broken one are lost.
pub fn read(names: &[String], recursive: bool) -> Result<Vec<Manifest>> {
    let mut out = Vec::new();
    for name in names {
        if name == "-" {
            parse(&crate::term::read_stdin()?, "STDIN", &mut out)?;
            continue;
        }
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(message(format!(
                "unable to read URL {}: remote manifests are not supported",
                go_quote(name)
            )));
        }
        let mut files = Vec::new();
        let path = Path::new(name);
        if !path.exists() {
            return Err(message(format!("the path {} does not exist", go_quote(name))));
        }
        collect(path, true, recursive, &mut files)?;
        if files.is_empty() {
            return Err(message(format!(
                "error reading [{name}]: recognized file extensions are [.json .yaml .yml]"
            )));
        }
        for file in files {
            let data = std::fs::read(&file)?;
            parse(&data, &file.to_string_lossy(), &mut out)?;
        }
    }
    Ok(out)
}

fn collect(path: &Path, top: bool, recursive: bool, out: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        let known = path.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
        if top || known {
            out.push(path.to_owned());
        }
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        if !entry.is_dir() || recursive {
            collect(&entry, false, recursive, out)?;
        }
    }
    Ok(())
}

/// The documents of a text: JSON values one after the other, or YAML between `---` lines.
pub fn documents(data: &[u8]) -> std::result::Result<Vec<Document>, String> {
    let mut out = Vec::new();
    if data.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        let stream = serde_json::Deserializer::from_slice(data).into_iter();
        let parsed: std::result::Result<Vec<_>, _> = stream.collect();
        if let Ok(maps) = parsed {
            return Ok(maps.into_iter().map(Document::new).collect());
        }
    }
    let text = String::from_utf8_lossy(data);
    let mut part = String::new();
    let mut parts = Vec::new();
    for line in text.split_inclusive('\n') {
        let separator = line.strip_prefix("---").is_some_and(|r| {
            let r = r.trim();
            r.is_empty() || r.starts_with('#')
        });
        if separator {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push_str(line);
        }
    }
    parts.push(part);
    for part in parts {
        if part.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) {
            continue;
        }
        let (json, _) =
            yaml_to_json(part.as_bytes()).map_err(|e| format!("error converting YAML to JSON: {e}"))?;
        if json == b"null" {
            continue;
        }
        out.push(Document::from_json(&json).map_err(|_| {
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct".to_owned()
        })?);
    }
    Ok(out)
}

fn parse(data: &[u8], source: &str, out: &mut Vec<Manifest>) -> Result<()> {
    let found = documents(data).map_err(|e| message(format!("error parsing {source}: {e}")))?;
    for object in found {
        flatten(object, source, out)?;
    }
    Ok(())
}

/// Takes lists apart.
fn flatten(object: Document, source: &str, out: &mut Vec<Manifest>) -> Result<()> {
    if object.kind().ends_with("List") && object.has(&["items"]) {
        let items: Vec<_> = object.get_at(&["items"]).unwrap_or_default();
        for item in items {
            flatten(Document::new(item), source, out)?;
        }
        return Ok(());
    }
    if object.kind().is_empty() || object.api_version().is_empty() {
        let missing = if object.kind().is_empty() { "kind" } else { "apiVersion" };
        let told = if object.kind().is_empty() {
            format!("Object '{missing}' is missing in '{}'", String::from_utf8_lossy(&object.to_json()))
        } else {
            format!("unable to decode {}: Object 'apiVersion' is missing", go_quote(source))
        };
        return Err(Error::Message(format!("error validating {}: {told}", go_quote(source))));
    }
    out.push(Manifest { source: source.to_owned(), object });
    Ok(())
}

/// The one file `-f` names, as it is.
///
/// # Errors
/// Not exactly one, or unreadable.
pub fn raw(names: &[String]) -> Result<Vec<u8>> {
    match names {
        [one] if one == "-" => Ok(crate::term::read_stdin()?),
        [one] => Ok(std::fs::read(one)?),
        _ => Err(message("--raw can only use a single local file or stdin")),
    }
}

/// A label selector as a test of objects.
///
/// # Errors
/// Where it is none.
pub fn selector(text: &str) -> Result<impl Fn(&Document) -> bool + use<>> {
    let selector = gantry_machinery::selector::Selector::parse(text).map_err(|e| message(e.to_string()))?;
    Ok(move |object: &Document| {
        let labels: BTreeMap<Box<str>, Box<str>> = object.get_at(&["metadata", "labels"]).unwrap_or_default();
        selector.matches(&labels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_split_into_objects() {
        let check = |text: &str, expected: &[&str]| {
            let mut out = Vec::new();
            let r = parse(text.as_bytes(), "f", &mut out);
            let names: Vec<String> = match r {
                Ok(()) => out.iter().map(|m| format!("{}/{}", m.object.kind(), m.object.name())).collect(),
                Err(e) => vec![e.bare()],
            };
            assert_eq!(names, expected, "{text}");
        };
        let pod = |n: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {n}\n");
        check(&format!("# c\n---\n{}--- # x\n{}---\n", pod("a"), pod("b")), &["Pod/a", "Pod/b"]);
        check(
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}} {"apiVersion":"v1","kind":"Pod"}"#,
            &["Pod/a", "Pod/"],
        );
        check(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n",
            &["Pod/a"],
        );
        check(
            "apiVersion: v1\n",
            &["error validating \"f\": Object 'kind' is missing in '{\"apiVersion\":\"v1\"}'"],
        );
        check("", &[]);
    }
}
