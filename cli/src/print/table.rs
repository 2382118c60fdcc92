//! The server's tables.

use super::tabs;
use crate::resources::Resource;
use gantry_machinery::path::Node;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `meta.k8s.io/v1` `Table`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Table {
    pub kind: String,
    pub metadata: ListMeta,
    #[serde(deserialize_with = "null_is_empty")]
    pub column_definitions: Vec<Column>,
    #[serde(deserialize_with = "null_is_empty")]
    pub rows: Vec<Row>,
}

/// Go prints an absent list as `null`.
fn null_is_empty<'de, D, T>(d: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue")]
    pub token: String,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Column {
    pub name: String,
    pub format: String,
    pub priority: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Row {
    pub cells: Vec<Node>,
    pub object: Node,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Holder {
    metadata: RowMeta,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RowMeta {
    namespace: String,
    labels: BTreeMap<String, String>,
}

/// What the flags ask of tables.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub wide: bool,
    pub no_headers: bool,
    pub with_namespace: bool,
    /// `pod/x` instead of `x`.
    pub with_kind: bool,
    pub show_labels: bool,
    pub label_columns: Vec<String>,
    pub events: bool,
}

/// Prints tables of one type, remembering headers and widths for what follows.
#[derive(Default)]
pub struct Printer {
    columns: Vec<Column>,
    widths: Vec<usize>,
}

fn cell(node: &Node) -> String {
    let text = match node {
        Node::Null => "<nil>".to_owned(),
        Node::String(s) => s.clone(),
        other => gantry_machinery::patch::go_print(other),
    };
    match text.find(['\n', '\r', '\x0c']) {
        Some(at) => format!("{}...", &text[..at]),
        None => text.replace('\x1b', "^["),
    }
}

fn labels(map: &BTreeMap<String, String>) -> String {
    if map.is_empty() {
        return "<none>".into();
    }
    map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
}

impl Printer {
    /// The lines of a table; empty where it has no rows. `event` is a watch event's type.
    pub fn render(&mut self, table: &Table, resource: &Resource, o: &Options, event: Option<&str>) -> String {
        let mut headers = !o.no_headers;
        if !table.column_definitions.is_empty() && table.column_definitions != self.columns {
            self.columns = table.column_definitions.clone();
            self.widths.clear();
        } else {
            headers &= self.widths.is_empty();
        }
        if table.rows.is_empty() {
            if self.widths.is_empty() {
                self.columns.clear();
            }
            return String::new();
        }
        let shown: Vec<(usize, &Column)> =
            self.columns.iter().enumerate().filter(|(_, c)| o.wide || c.priority == 0).collect();
        let mut rows: Vec<Vec<String>> = Vec::new();
        if headers {
            let mut row: Vec<String> = Vec::new();
            row.extend(o.events.then(|| "EVENT".to_owned()));
            row.extend(o.with_namespace.then(|| "NAMESPACE".to_owned()));
            row.extend(shown.iter().map(|(_, c)| c.name.to_uppercase()));
            row.extend(o.label_columns.iter().map(|l| l.rsplit('/').next().unwrap_or(l).to_uppercase()));
            row.extend(o.show_labels.then(|| "LABELS".to_owned()));
            rows.push(row);
        }
        for r in &table.rows {
            let meta = Holder::deserialize(&r.object).unwrap_or_default().metadata;
            let mut row: Vec<String> = Vec::new();
            if o.events {
                row.push(event.unwrap_or("ADDED").to_owned());
            }
            if o.with_namespace {
                row.push(meta.namespace.clone());
            }
            for (i, c) in &shown {
                let text = r.cells.get(*i).map(cell).unwrap_or_default();
                let named = o.with_kind && c.format == "name";
                row.push(if named { resource.named(&text) } else { text });
            }
            row.extend(o.label_columns.iter().map(|l| meta.labels.get(l).cloned().unwrap_or_default()));
            row.extend(o.show_labels.then(|| labels(&meta.labels)));
            rows.push(row);
        }
        let text = tabs::align(&rows, 6, 3, &mut self.widths);
        if self.widths.is_empty() {
            // One column only: remember that the header was printed.
            self.widths.push(0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"kind":"Table","columnDefinitions":[{"name":"Name","format":"name"},{"name":"Age"},
        {"name":"IP","priority":1}],"rows":[{"cells":["a","5m","10.0.0.1"],
        "object":{"metadata":{"namespace":"x","labels":{"app":"y","a/b":"z"}}}}]}"#;

    #[test]
    fn tables_show_what_flags_ask() {
        let pods = Resource { kind: "Pod".into(), ..Resource::default() };
        let check = |o: Options, expected: &str| {
            let table: Table = serde_json::from_str(TABLE).unwrap();
            assert_eq!(Printer::default().render(&table, &pods, &o, None), expected);
        };
        check(Options::default(), "NAME   AGE\na      5m\n");
        check(Options { wide: true, ..Default::default() }, "NAME   AGE   IP\na      5m    10.0.0.1\n");
        check(
            Options { with_namespace: true, with_kind: true, ..Default::default() },
            "NAMESPACE   NAME    AGE\nx           pod/a   5m\n",
        );
        check(
            Options { label_columns: vec!["a/b".into()], show_labels: true, ..Default::default() },
            "NAME   AGE   B     LABELS\na      5m    z     a/b=z,app=y\n",
        );
        check(Options { no_headers: true, ..Default::default() }, "a     5m\n");
    }

    #[test]
    fn later_tables_have_no_header() {
        let pods = Resource { kind: "Pod".into(), ..Resource::default() };
        let table: Table = serde_json::from_str(TABLE).unwrap();
        let mut p = Printer::default();
        p.render(&table, &pods, &Options::default(), None);
        assert_eq!(p.render(&table, &pods, &Options::default(), None), "a      5m\n");
    }
}
