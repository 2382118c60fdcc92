//! Whether an applied object fits its schema, in the words of upstream's typed values.

use super::walk::{Atom, atom, step};
use crate::schema::{Schema, Shape};
use serde_json::{Map, Value};

/// What does not fit, one message an error, with its path. `duplicates` says whether items of keyed lists may
/// repeat (live objects) or not (applied ones).
pub fn check(schema: Schema<'_>, object: &Map<String, Value>, duplicates: bool) -> Vec<String> {
    let mut errors = Vec::new();
    Walk { duplicates, errors: &mut errors }.map(schema, object, &mut String::new());
    errors
}

/// Joins the messages as upstream prints them.
pub fn print_errors(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => {
            let lines: Vec<String> = many.iter().map(|e| format!("  {e}")).collect();
            format!("errors:\n{}", lines.join("\n"))
        }
    }
}

struct Walk<'w> {
    duplicates: bool,
    errors: &'w mut Vec<String>,
}

impl Walk<'_> {
    fn error(&mut self, path: &str, message: String) {
        self.errors.push(if path.is_empty() { message } else { format!("{path}: {message}") });
    }

    fn node(&mut self, schema: Option<Schema<'_>>, value: &Value, path: &mut String) {
        let Some(place) = schema else { return };
        if value.is_null() {
            return;
        }
        let go = || crate::patch::go_print(value);
        match place.shape() {
            Shape::List(_) => match value {
                Value::Array(list) => self.list(place, list, path),
                _ => self.error(path, format!("expected list, got &{{{}}}", go())),
            },
            Shape::Map(_) | Shape::Struct(_) | Shape::AnyObject => {
                let Value::Object(map) = value else {
                    return self.error(path, format!("expected map, got &{{{}}}", go()));
                };
                self.map(place, map, path);
            }
            Shape::Bool if !value.is_boolean() => {
                self.error(path, format!("expected boolean, got &{{{}}}", go()));
            }
            Shape::Int(_) | Shape::Number if !value.is_number() => {
                self.error(
                    path,
                    format!("expected numeric (int or float), got {}", crate::patch::go_type(value)),
                );
            }
            Shape::String | Shape::Bytes if !value.is_string() => {
                self.error(path, format!("expected string, got &value.valueUnstructured{{Value:{}}}", go()));
            }
            Shape::IntOrString | Shape::Quantity | Shape::Time | Shape::MicroTime | Shape::Duration
                if value.is_array() || value.is_object() =>
            {
                self.error(path, format!("expected any scalar, got &{{{}}}", go()));
            }
            _ => {}
        }
    }

    fn map(&mut self, place: Schema<'_>, map: &Map<String, Value>, path: &mut String) {
        for (key, v) in map {
            let len = path.len();
            path.push('.');
            path.push_str(key);
            match place.child(key) {
                Some(below) => self.node(Some(below), v, path),
                None if place.preserve_unknown() => {}
                None => {
                    self.error(path, "field not declared in schema".to_owned());
                    path.truncate(len);
                    return;
                }
            }
            path.truncate(len);
        }
    }

    fn list(&mut self, place: Schema<'_>, list: &[Value], path: &mut String) {
        let way = atom(Some(place), None);
        let mut seen = Vec::new();
        for (i, item) in list.iter().enumerate() {
            let len = path.len();
            match way {
                Atom::List { keys, items } => match step(keys, items, item) {
                    Ok(e) => {
                        if !self.duplicates && seen.contains(&e) {
                            self.error(path, format!("duplicate entries for key {e}"));
                        }
                        path.push_str(&e.to_string());
                        seen.push(e);
                    }
                    Err(why) => return self.error(path, format!("element {i}: {why}")),
                },
                _ => path.push_str(&format!("[{i}]")),
            }
            self.node(place.items(), item, path);
            path.truncate(len);
        }
    }
}
