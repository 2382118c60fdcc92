//! Merging an applied object into a live one, and taking paths out of an object.

use super::element::Element;
use super::set::Set;
use super::walk::{Atom, as_list, as_map, atom, below, step};
use crate::schema::{Name, Schema};
use serde_json::{Map, Value};

/// The live object with everything the applied one states, without `metadata.managedFields`. Items of keyed lists take the applied order where
/// it says anything.
///
/// # Errors
/// Where items cannot be told apart (`duplicate entries for key …`).
pub fn merge(
    schema: Schema<'_>,
    live: Option<&Map<String, Value>>,
    applied: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    maps(Some(schema), live, applied, Level::Root)
}

/// How deep the maps being merged are: the metadata of the root loses its `managedFields`, which are about to
/// be written anew.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Metadata,
    Below,
}

/// Both maps' entries, merged.
fn maps(
    schema: Option<Schema<'_>>,
    live: Option<&Map<String, Value>>,
    applied: &Map<String, Value>,
    level: Level,
) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    for (key, v) in live.into_iter().flatten() {
        let merged = match applied.get(key) {
            _ if level == Level::Metadata && key == "managedFields" => None,
            Some(Value::Object(applied)) if level == Level::Root && key == "metadata" => {
                let merged = maps(below(schema, key), v.as_object(), applied, Level::Metadata)?;
                Some(Value::Object(merged))
            }
            None => Some(v.clone()),
            Some(applied) => node(below(schema, key), Some(v), Some(applied))?,
        };
        if let Some(v) = merged {
            out.insert(key.clone(), v);
        }
    }
    for (key, v) in applied {
        if live.is_none_or(|l| !l.contains_key(key))
            && let Some(v) = node(below(schema, key), None, Some(v))?
        {
            out.insert(key.clone(), v);
        }
    }
    Ok(out)
}

/// `None` where nothing is left, which upstream leaves out of the result.
fn node(
    schema: Option<Schema<'_>>,
    live: Option<&Value>,
    applied: Option<&Value>,
) -> Result<Option<Value>, String> {
    let keep = || applied.or(live).cloned();
    let way = match applied {
        None => atom(schema, live),
        Some(v) => atom(schema, Some(v)),
    };
    // A live value of another nature than the applied one gives way to it.
    let live = live.filter(|l| applied.is_none() || atom(schema, Some(l)).alike(&way));
    match way {
        Atom::Leaf => Ok(keep()),
        Atom::Map(schema) => {
            let (l, a) = (as_map(live), as_map(applied));
            if l.is_none_or(Map::is_empty) && a.is_none_or(Map::is_empty) {
                return Ok(keep());
            }
            let out = match a {
                Some(a) => maps(schema, l, a, Level::Below)?,
                None => l.cloned().unwrap_or_default(),
            };
            Ok((!out.is_empty()).then_some(Value::Object(out)))
        }
        Atom::List { keys, items } => {
            let (l, a) = (as_list(live), as_list(applied));
            if l.is_none_or(Vec::is_empty) && a.is_none_or(Vec::is_empty) {
                return Ok(keep());
            }
            let out = list(keys, items, l.map_or(&[], |v| v), a.map_or(&[], |v| v))?;
            Ok((!out.is_empty()).then_some(Value::Array(out)))
        }
    }
}

fn index<'a>(
    keys: &'a [Name],
    items: Option<Schema<'a>>,
    list: &'a [Value],
) -> Result<Vec<Element<'a>>, String> {
    list.iter()
        .enumerate()
        .map(|(i, v)| step(keys, items, v).map_err(|e| format!("element {i}: {e}")))
        .collect()
}

/// Position of the only item with this step; `None` where there is none, `Some(None)` where it repeats.
fn find(steps: &[Element<'_>], e: &Element<'_>) -> Option<Option<usize>> {
    let mut hits = steps.iter().enumerate().filter(|(_, s)| *s == e);
    let first = hits.next()?;
    Some(if hits.next().is_some() { None } else { Some(first.0) })
}

fn list(
    keys: &[Name],
    items: Option<Schema<'_>>,
    live: &[Value],
    applied: &[Value],
) -> Result<Vec<Value>, String> {
    let a = index(keys, items, applied)?;
    let l = index(keys, items, live)?;
    for (i, e) in a.iter().enumerate() {
        if a[..i].contains(e) {
            return Err(format!("duplicate entries for key {e}"));
        }
    }
    // Items of both, in the order of the applied list: the next of them bounds how far live items go ahead.
    let mut shared = a.iter().filter(|e| l.contains(e)).collect::<std::collections::VecDeque<_>>();
    let mut next = shared.pop_front();
    let mut merged = vec![false; a.len()];
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let one =
        |li: Option<usize>, ai: Option<usize>| node(items, li.map(|i| &live[i]), ai.map(|i| &applied[i]));
    let (mut li, mut ai) = (0, 0);
    while li < l.len() || ai < a.len() {
        if li < l.len() && ai < a.len() {
            if l[li] == a[ai] {
                merged[ai] = true;
                out.extend(one(find(&l, &l[li]).flatten(), Some(ai))?);
                (li, ai) = (li + 1, ai + 1);
                next = shared.pop_front();
                continue;
            }
            if a.contains(&l[li]) && next.is_some_and(|n| *n != l[li]) {
                li += 1;
                continue;
            }
        }
        if li < l.len() {
            match a.iter().position(|e| *e == l[li]) {
                None => {
                    out.extend(one(Some(li), None)?);
                    li += 1;
                    continue;
                }
                Some(at) if merged[at] => li += 1,
                Some(_) => {}
            }
        }
        if ai < a.len() {
            merged[ai] = true;
            out.extend(one(find(&l, &a[ai]).flatten(), Some(ai))?);
            if next.is_some_and(|n| *n == a[ai]) {
                next = shared.pop_front();
            }
            ai += 1;
        }
    }
    Ok(out)
}

/// The object without the paths given and what is below them.
pub fn remove(schema: Schema<'_>, object: &Map<String, Value>, paths: &Set<'_>) -> Map<String, Value> {
    without_keys(Some(schema), object, paths).1
}

/// What stays of a value some of whose inner paths go; emptied, it stays as an empty one.
fn inner(schema: Option<Schema<'_>>, v: &Value, paths: &Set<'_>) -> Value {
    without(schema, v, paths).unwrap_or_else(|| match v {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    })
}

fn without_keys(
    schema: Option<Schema<'_>>,
    map: &Map<String, Value>,
    paths: &Set<'_>,
) -> (bool, Map<String, Value>) {
    let mut out = Map::new();
    let mut matched = false;
    for (key, v) in map {
        let e = Element::Field(key);
        if paths.has_member(&e) {
            continue;
        }
        let kept = match paths.child(&e) {
            Some(sub) => {
                matched = true;
                inner(below(schema, key), v, sub)
            }
            None => v.clone(),
        };
        out.insert(key.clone(), kept);
    }
    (matched, out)
}

fn without(schema: Option<Schema<'_>>, value: &Value, paths: &Set<'_>) -> Option<Value> {
    match (atom(schema, Some(value)), value) {
        (Atom::Leaf, v) if !v.is_array() && !v.is_object() => Some(v.clone()),
        (Atom::Map(schema), Value::Object(map)) if !map.is_empty() => {
            let (matched, out) = without_keys(schema, map, paths);
            (matched || !out.is_empty()).then_some(Value::Object(out))
        }
        (Atom::List { keys, items }, Value::Array(list)) if !list.is_empty() => {
            let mut out = Vec::with_capacity(list.len());
            let mut matched = false;
            for v in list {
                let Ok(e) = step(keys, items, v) else {
                    out.push(v.clone());
                    continue;
                };
                if paths.has_member(&e) {
                    continue;
                }
                match paths.child(&e) {
                    Some(sub) => {
                        matched = true;
                        out.push(inner(items, v, sub));
                    }
                    None => out.push(v.clone()),
                }
            }
            (matched || !out.is_empty()).then_some(Value::Array(out))
        }
        _ => None,
    }
}
