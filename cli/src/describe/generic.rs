//! Kinds without a text of their own: every field, titled by its name.

use super::text::Text;
use gantry_machinery::patch::go_print;
use gantry_machinery::path::Node;
use gantry_types::Document;
use std::collections::BTreeMap;

const HIDDEN: &[&str] = &[
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
];

pub fn generic(t: &mut Text, o: &Document) {
    t.pair(0, "Name", o.name());
    t.pair(0, "Namespace", o.namespace());
    let map = |field: &str| o.get_at::<BTreeMap<String, String>>(&["metadata", field]);
    t.labels("Labels", map("labels").as_ref());
    t.annotations("Annotations", map("annotations").as_ref());
    content(t, 0, &o.clone().into_value(), "");
}

fn content(t: &mut Text, level: usize, node: &Node, path: &str) {
    let Some(map) = node.as_object() else { return };
    for (field, value) in map {
        let path = format!("{path}.{field}");
        if HIDDEN.contains(&path.as_str()) {
            continue;
        }
        match value {
            Node::Object(_) => {
                t.line(level, &format!("{}:", title(field)));
                content(t, level + 1, value, &path);
            }
            Node::Array(list) => {
                t.line(level, &format!("{}:", title(field)));
                for item in list {
                    match item {
                        Node::Object(_) => content(t, level + 1, item, &path),
                        other => t.line(level + 1, &go_print(other)),
                    }
                }
            }
            other => t.pair(level, &title(field), go_print(other)),
        }
    }
}

/// `apiVersion` as `API Version`: words apart, first letters large, known abbreviations whole.
fn title(field: &str) -> String {
    let chars: Vec<char> = field.chars().collect();
    if field.contains(|c: char| !c.is_ascii_alphanumeric()) {
        return field.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    for (i, c) in chars.iter().enumerate() {
        let upper = c.is_ascii_uppercase();
        let after_lower = i > 0 && !chars[i - 1].is_ascii_uppercase();
        let before_lower = chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase());
        if i == 0 || upper && (after_lower || before_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*c);
        }
    }
    let shown = words.iter().map(|w| match w.to_uppercase().as_str() {
        u @ ("API" | "URL" | "UID" | "OSB" | "GUID") => u.to_owned(),
        _ => {
            let mut c = w.chars();
            c.next().map(|f| f.to_uppercase().collect::<String>() + c.as_str()).unwrap_or_default()
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_titles() {
        let check = |f: &str, e: &str| assert_eq!(title(f), e);
        check("apiVersion", "API Version");
        check("creationTimestamp", "Creation Timestamp");
        check("uid", "UID");
        check("podCIDR", "Pod CIDR");
        check("a/b", "a/b");
    }
}
