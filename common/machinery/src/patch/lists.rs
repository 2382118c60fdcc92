//! What both the making and the applying of strategic patches do with lists.

use super::{PatchError, go_print, go_type};
use serde_json::{Map, Value};
use std::cmp::Ordering;

pub(super) fn no_merge_key(map: &Map<String, Value>, key: &str) -> PatchError {
    PatchError::NoMergeKey(go_print(&Value::Object(map.clone())), key.to_owned())
}

/// `expected` is the Go type wanted.
pub(super) fn bad_type(expected: &str, actual: &Value) -> PatchError {
    let actual = if actual.is_null() { "%!s(<nil>)" } else { go_type(actual) };
    PatchError::Other(format!("expected a {expected}, but received a {actual}"))
}

pub(super) const MAP: &str = "map[string]interface {}";
pub(super) const LIST: &str = "[]interface {}";

pub(super) fn as_map(v: &Value) -> Result<&Map<String, Value>, PatchError> {
    v.as_object().ok_or_else(|| bad_type(MAP, v))
}

/// The value of an item's merge key.
pub(super) fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, PatchError> {
    let map = as_map(item)?;
    map.get(key).ok_or_else(|| no_merge_key(map, key))
}

/// Whether the items are maps; all must be of one type, and not lists.
pub(super) fn are_maps(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut first: Option<&Value> = None;
    for item in lists.iter().copied().flatten() {
        match first {
            None if item.is_array() => return Err(PatchError::ListOfLists),
            None => first = Some(item),
            Some(f) if go_type(f) != go_type(item) => {
                let all: Vec<String> = lists.iter().map(|l| go_print(&Value::Array(l.to_vec()))).collect();
                let all = all.join(" ");
                return Err(PatchError::Other(format!("list element types are not identical: [{all}]")));
            }
            Some(_) => {}
        }
    }
    match first {
        Some(v) => Ok(v.is_object()),
        None => Err(PatchError::Other("no elements in any of the given slices".to_owned())),
    }
}

/// Where an item stands in a list: by its merge key, or as a whole where there is none.
fn index(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    let of = |v: &Value| match key {
        Some(k) => v.get(k).cloned().unwrap_or(Value::Null),
        None => v.clone(),
    };
    let wanted = of(item);
    list.iter().position(|v| match key {
        Some(k) => v.get(k).unwrap_or(&Value::Null) == &wanted,
        None => *v == wanted,
    })
}

pub(super) fn is_deletion(item: &Value) -> bool {
    item.get("$patch").and_then(Value::as_str) == Some("delete")
}

/// Sorts items by their place in `order`; deletions go last. Items of unknown place keep upstream's order,
/// which is that of an insertion sort taking them as smaller.
pub(super) fn sort_by_order(
    list: Vec<Value>,
    order: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let mut deletions = Vec::new();
    let mut out: Vec<(Option<usize>, Value)> = Vec::with_capacity(list.len());
    if let Some(k) = key {
        for item in list.iter().chain(order) {
            key_of(item, k)?;
        }
    }
    for item in list {
        if key.is_some() && is_deletion(&item) {
            deletions.push(item);
        } else {
            out.push((index(order, &item, key), item));
        }
    }
    let less = |a: &(Option<usize>, Value), b: &(Option<usize>, Value)| match (a.0, b.0) {
        (Some(a), Some(b)) => a < b,
        _ => true,
    };
    if out.iter().all(|(at, _)| at.is_some()) {
        out.sort_by_key(|(at, _)| *at);
    } else {
        for i in 1..out.len() {
            let mut j = i;
            while j > 0 && less(&out[j], &out[j - 1]) {
                out.swap(j, j - 1);
                j -= 1;
            }
        }
    }
    Ok(out.into_iter().map(|(_, v)| v).chain(deletions).collect())
}

/// Weaves the patch's items and those only the server has into one list: the patch in `patch_order`, the
/// others in `server_order`, each server item before the patch items it stood before.
pub(super) fn weave(
    patch: Vec<Value>,
    server_only: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let patch = sort_by_order(patch, patch_order, key)?;
    let server_only = sort_by_order(server_only, server_order, key)?;
    let place = |v: &Value| index(server_order, v, key);
    let mut out = Vec::with_capacity(patch.len() + server_only.len());
    let mut left = server_only.into_iter().peekable();
    let mut right = patch.into_iter().peekable();
    loop {
        let from_left = match (left.peek(), right.peek()) {
            (None, None) => return Ok(out),
            (None, _) => false,
            (_, None) => true,
            (Some(l), Some(r)) => matches!((place(l), place(r)), (Some(l), Some(r)) if l < r),
        };
        out.extend(if from_left { left.next() } else { right.next() });
    }
}

/// Drops repeats as upstream does: the last item takes the place of a repeat.
pub(super) fn dedup(list: &mut Vec<Value>) {
    let mut i = 0;
    while i + 1 < list.len() {
        let mut j = i + 1;
        while j < list.len() {
            if list[i] == list[j] {
                list.swap_remove(j);
            } else {
                j += 1;
            }
        }
        i += 1;
    }
}

/// Orders values by how Go prints them.
pub(super) fn by_print(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => go_print(a).cmp(&go_print(b)),
    }
}
