//! The forms a client may ask for instead of the objects: `Table` and `PartialObjectMetadata`, written
//! straight from serialized bodies.
//!
//! Nothing here builds a tree of an object: its metadata is found in the bytes and copied.

use gantry_types::scheme::Column;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One cell of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(s: &'a str) -> Self {
        Self::Text(Cow::Borrowed(s))
    }
}

impl From<String> for Cell<'_> {
    fn from(s: String) -> Self {
        Self::Text(Cow::Owned(s))
    }
}

impl From<i64> for Cell<'_> {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

/// `includeObject` of the table options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// Parses the query parameter; empty is the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The metadata of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub resource_version: Cow<'a, str>,
    #[serde(rename = "continue", skip_serializing_if = "str::is_empty")]
    pub continue_token: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<i64>,
}

/// A column, as tables define it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnDefinition<'a> {
    pub name: Cow<'a, str>,
    #[serde(rename = "type")]
    pub kind: Cow<'a, str>,
    pub format: Cow<'a, str>,
    pub description: Cow<'a, str>,
    pub priority: i32,
}

impl From<&Column> for ColumnDefinition<'static> {
    fn from(c: &Column) -> Self {
        Self {
            name: c.name.into(),
            kind: c.kind.into(),
            format: c.format.into(),
            description: "".into(),
            priority: i32::from(c.priority),
        }
    }
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Strings, numbers and structs of them always serialize, and a Vec takes every byte.
    let _ = serde_json::to_writer(out, value);
}

/// Writes a `Table`, row by row.
pub struct TableWriter<'o> {
    out: &'o mut Vec<u8>,
    include: Include,
    rows: usize,
}

impl<'o> TableWriter<'o> {
    /// Begins a table. Without columns it says `null`, as the second and later events of a watch do.
    pub fn new(
        out: &'o mut Vec<u8>,
        meta: &ListMeta<'_>,
        columns: Option<&[ColumnDefinition<'_>]>,
        include: Include,
    ) -> Self {
        out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
        json(out, meta);
        out.extend_from_slice(br#","columnDefinitions":"#);
        json(out, &columns);
        out.extend_from_slice(br#","rows":["#);
        Self { out, include, rows: 0 }
    }

    /// Adds a row. `body` is the object's JSON; only what was asked to be included is copied from it.
    ///
    /// # Errors
    /// Where the body has no readable metadata; the table is as it was.
    pub fn row(&mut self, cells: &[Cell<'_>], body: &[u8]) -> Result<(), serde_json::Error> {
        let meta = match self.include {
            Include::Metadata => Some(metadata(body)?),
            _ => None,
        };
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.out.extend_from_slice(br#"{"cells":"#);
        json(self.out, &cells);
        self.out.extend_from_slice(br#","object":"#);
        match (self.include, meta) {
            (Include::Object, _) => self.out.extend_from_slice(body.trim_ascii_end()),
            (Include::Metadata, Some(meta)) => write_partial(self.out, meta),
            _ => self.out.extend_from_slice(b"null"),
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Ends the table, with upstream's newline.
    pub fn finish(self) {
        self.out.extend_from_slice(b"]}\n");
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// The bytes of an object's metadata, inside its body.
///
/// # Errors
/// Where the body is no JSON object with metadata.
pub fn metadata(body: &[u8]) -> Result<&str, serde_json::Error> {
    serde_json::from_slice::<Head<'_>>(body).map(|h| h.metadata.get())
}

fn write_partial(out: &mut Vec<u8>, meta: &str) {
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.extend_from_slice(meta.as_bytes());
    out.push(b'}');
}

/// The `PartialObjectMetadata` of an object.
///
/// # Errors
/// Where the body is no JSON object with metadata.
pub fn partial(body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let meta = metadata(body)?;
    let mut out = Vec::with_capacity(meta.len() + 80);
    write_partial(&mut out, meta);
    out.push(b'\n');
    Ok(out)
}

/// Writes a `PartialObjectMetadataList`, item by item.
pub struct PartialListWriter<'o> {
    out: &'o mut Vec<u8>,
    items: usize,
}

impl<'o> PartialListWriter<'o> {
    pub fn new(out: &'o mut Vec<u8>, meta: &ListMeta<'_>) -> Self {
        out.extend_from_slice(
            br#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":"#,
        );
        json(out, meta);
        out.extend_from_slice(br#","items":["#);
        Self { out, items: 0 }
    }

    /// # Errors
    /// Where the body has no readable metadata; the list is as it was.
    pub fn item(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        let meta = metadata(body)?;
        if self.items > 0 {
            self.out.push(b',');
        }
        self.items += 1;
        write_partial(self.out, meta);
        Ok(())
    }

    pub fn finish(self) {
        self.out.extend_from_slice(b"]}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        br#"{"kind":"Pod","spec":{"metadata":{"name":"no"}},"metadata":{"name":"a","labels":{"x":"}"}}}"#;

    #[test]
    fn tables_hold_what_is_asked_for() {
        let pods = gantry_types::scheme::find("", "v1", "configmaps").unwrap();
        let columns: Vec<ColumnDefinition<'_>> = pods.columns.iter().map(Into::into).collect();
        let check = |include, object: &str| {
            let mut out = Vec::new();
            let meta = ListMeta { resource_version: "7".into(), ..ListMeta::default() };
            let mut t = TableWriter::new(&mut out, &meta, Some(&columns[..1]), include);
            t.row(&["a".into(), 2.into(), Cell::Null], BODY).unwrap();
            assert!(t.row(&[], b"{").is_err() || include != Include::Metadata);
            t.finish();
            let text = String::from_utf8(out).unwrap();
            let want = format!(
                "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{{\"resourceVersion\":\"7\"}},\"columnDefinitions\":[{{\"name\":\"Name\",\"type\":\"string\",\"format\":\"name\",\"description\":\"\",\"priority\":0}}],\"rows\":[{{\"cells\":[\"a\",2,null],\"object\":{object}}}"
            );
            assert!(text.starts_with(&want), "{text}");
        };
        check(Include::None, "null");
        check(
            Include::Metadata,
            r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a","labels":{"x":"}"}}}"#,
        );
        check(Include::Object, std::str::from_utf8(BODY).unwrap());
        assert_eq!((Include::parse(""), Include::parse("x")), (Some(Include::Metadata), None));
    }

    #[test]
    fn partial_lists_hold_metadata_only() {
        let mut out = Vec::new();
        let meta =
            ListMeta { continue_token: "t".into(), remaining_item_count: Some(3), ..ListMeta::default() };
        let mut l = PartialListWriter::new(&mut out, &meta);
        l.item(BODY).unwrap();
        l.item(BODY).unwrap();
        l.finish();
        let v: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(v["metadata"]["continue"], "t");
        assert_eq!(v["items"][1]["metadata"]["labels"]["x"], "}");
        assert!(v["items"][0].get("spec").is_none());
    }
}
