//! Making strategic merge patches, as `kubectl apply`, `edit` and `set` do.

use super::super::lists::{are_maps, by_print, dedup, key_of, sort_by_order};
use super::super::{PatchError, go_print, go_type};
use super::{DELETE_FROM, Mode, Object, PATCH, RETAIN_KEYS, SET_ORDER, list_meta, map_meta, merge_map};
use crate::schema::Schema;
use serde_json::{Map, Value};

#[derive(Clone, Copy, Default)]
struct Options {
    set_order: bool,
    only_deletions: bool,
    no_deletions: bool,
    retain_keys: bool,
}

/// The patch that makes `modified` of `original`.
///
/// # Errors
/// Where the objects do not fit the schema.
pub fn two_way(original: &Object, modified: &Object, schema: Schema<'_>) -> Result<Object, PatchError> {
    maps(original, modified, schema, Options { set_order: true, ..Options::default() })
}

/// The patch that brings `current` to `modified`: additions and changes against `current`, deletions only of
/// what `original` (the last applied) had.
///
/// # Errors
/// Where the objects do not fit the schema; [`PatchError::Conflict`] where, unless `overwrite`, something to
/// be changed was changed since `original`.
pub fn three_way(
    original: &Object,
    modified: &Object,
    current: &Object,
    schema: Schema<'_>,
    overwrite: bool,
) -> Result<Object, PatchError> {
    let base = Options { set_order: true, ..Options::default() };
    let delta = maps(current, modified, schema, Options { no_deletions: true, ..base })?;
    let deletions = maps(original, modified, schema, Options { only_deletions: true, ..base })?;
    let patch = merge_map(deletions, delta, schema, Mode { apply: false })?;
    if !overwrite {
        let changed = maps(original, current, schema, Options::default())?;
        if conflict_maps(&patch, &changed, schema)? {
            let print = |m: &Object| go_print(&Value::Object(m.clone()));
            return Err(PatchError::Conflict(print(&patch), print(&changed)));
        }
    }
    Ok(patch)
}

fn maps(original: &Object, modified: &Object, schema: Schema<'_>, o: Options) -> Result<Object, PatchError> {
    let mut patch = Map::new();
    for (key, new) in modified {
        let Some(old) = original.get(key) else {
            if !o.only_deletions {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        if key == PATCH {
            if !old.is_string() || !new.is_string() {
                return Err(PatchError::Other(format!("invalid value for special key: {PATCH}")));
            }
            if old != new {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => map(key, old, new, &mut patch, schema, o)?,
            (Value::Array(old), Value::Array(new)) => list(key, old, new, &mut patch, schema, o)?,
            (old, new) if old != new && !o.only_deletions => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    if !o.no_deletions {
        for key in original.keys().filter(|k| !modified.contains_key(*k)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    if o.retain_keys {
        let kept: Vec<Value> =
            modified.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| Value::from(k.as_str())).collect();
        let gone = original.iter().any(|(k, v)| !v.is_null() && !modified.contains_key(k));
        if !kept.is_empty() && (!patch.is_empty() || gone) {
            patch.insert(RETAIN_KEYS.to_owned(), Value::Array(kept));
        }
    }
    Ok(patch)
}

fn map(
    key: &str,
    old: &Object,
    new: &Object,
    patch: &mut Object,
    schema: Schema<'_>,
    mut o: Options,
) -> Result<(), PatchError> {
    let (below, strategy) = match map_meta(schema, key) {
        Ok(meta) => meta,
        Err(_) if old == new => return Ok(()),
        Err(e) => return Err(e),
    };
    o.retain_keys = strategy.retain_keys;
    if strategy.replace {
        if !o.only_deletions {
            patch.insert(key.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    // Entries of a plain map are scalars or replaced whole; below a map there are no fields to look up.
    let inner = maps(old, new, below, o)?;
    if !inner.is_empty() {
        patch.insert(key.to_owned(), Value::Object(inner));
    }
    Ok(())
}

fn list(
    key: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Object,
    schema: Schema<'_>,
    mut o: Options,
) -> Result<(), PatchError> {
    let (items, strategy, merge_key) = match list_meta(schema, key) {
        Ok(meta) => meta,
        Err(_) if old == new => return Ok(()),
        Err(e) => return Err(e),
    };
    if !strategy.merge {
        if old != new && !o.only_deletions {
            patch.insert(key.to_owned(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    o.retain_keys = strategy.retain_keys;
    let mut put = |key: String, list: Vec<Value>| {
        if !list.is_empty() {
            patch.insert(key, Value::Array(list));
        }
    };
    if old.is_empty() {
        if !o.only_deletions {
            put(key.to_owned(), new.to_vec());
        }
        return Ok(());
    }
    let mut order = Vec::new();
    if are_maps(&[old, new])? {
        let merge_key = merge_key.unwrap_or_default();
        let (changes, deletions) = items_of_maps(old, new, items, merge_key, o)?;
        let mut changes = sort_by_order(changes, new, Some(merge_key))?;
        let same_order =
            old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.get(merge_key) == b.get(merge_key));
        changes.extend(deletions);
        let any = !changes.is_empty();
        if o.set_order && ((!o.only_deletions && (any || !same_order)) || (!o.no_deletions && any)) {
            for item in new {
                let one = Map::from_iter([(merge_key.to_owned(), key_of(item, merge_key)?.clone())]);
                order.push(Value::Object(one));
            }
        }
        put(key.to_owned(), changes);
    } else {
        let mut additions: Vec<Value> = Vec::new();
        let mut deletions: Vec<Value> = Vec::new();
        if !o.only_deletions {
            // Each occurrence counts: two of a scalar against one is an addition.
            additions = surplus(new, old);
        }
        if !o.no_deletions {
            deletions = surplus(old, new);
            dedup(&mut deletions);
        }
        additions = sort_by_order(additions, new, None)?;
        if o.set_order && ((!o.no_deletions && !deletions.is_empty()) || (!o.only_deletions && old != new)) {
            order = new.to_vec();
        }
        put(key.to_owned(), additions);
        put(format!("{DELETE_FROM}/{key}"), deletions);
    }
    put(format!("{SET_ORDER}/{key}"), order);
    Ok(())
}

/// The scalars of `a` that `b` has fewer of, sorted.
fn surplus(a: &[Value], b: &[Value]) -> Vec<Value> {
    let sorted = |l: &[Value]| {
        let mut l = l.to_vec();
        l.sort_by(by_print);
        l
    };
    let (a, b) = (sorted(a), sorted(b));
    let mut other = b.iter().peekable();
    let mut out = Vec::new();
    for item in a {
        while other.peek().is_some_and(|o| by_print(o, &item).is_lt()) {
            other.next();
        }
        if other.peek().is_some_and(|o| by_print(o, &item).is_eq()) {
            other.next();
        } else {
            out.push(item);
        }
    }
    out
}

fn items_of_maps(
    old: &[Value],
    new: &[Value],
    items: Schema<'_>,
    merge_key: &str,
    o: Options,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let sorted = |list: &[Value]| -> Result<Vec<(Value, Object)>, PatchError> {
        let mut out = Vec::with_capacity(list.len());
        for item in list {
            out.push((key_of(item, merge_key)?.clone(), super::as_map(item)?.clone()));
        }
        out.sort_by(|a, b| by_print(&a.0, &b.0));
        Ok(out)
    };
    let (old, new) = (sorted(old)?, sorted(new)?);
    let (mut changes, mut deletions) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let by = match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) => by_print(&a.0, &b.0),
            (Some(_), None) => std::cmp::Ordering::Less,
            _ => std::cmp::Ordering::Greater,
        };
        if by.is_eq() {
            let mut inner = maps(&old[i].1, &new[j].1, items, o)?;
            if !inner.is_empty() {
                inner.insert(merge_key.to_owned(), new[j].0.clone());
                changes.push(Value::Object(inner));
            }
        } else if by.is_gt() && !o.only_deletions {
            changes.push(Value::Object(new[j].1.clone()));
        } else if by.is_lt() && !o.no_deletions {
            let directive =
                [(merge_key.to_owned(), old[i].0.clone()), (PATCH.to_owned(), Value::from("delete"))];
            deletions.push(Value::Object(Map::from_iter(directive)));
        }
        i += usize::from(by.is_le());
        j += usize::from(by.is_ge());
    }
    Ok((changes, deletions))
}

fn conflict_maps(left: &Object, right: &Object, schema: Schema<'_>) -> Result<bool, PatchError> {
    for (key, l) in left.iter().filter(|(k, _)| *k != PATCH && *k != RETAIN_KEYS) {
        let Some(r) = right.get(key) else { continue };
        let conflict = match (l, r) {
            (Value::Object(l), Value::Object(r)) => {
                let (below, strategy) = map_meta(schema, key)?;
                l.get(PATCH) != r.get(PATCH) || (!strategy.replace && conflict_maps(l, r, below)?)
            }
            (Value::Array(l), Value::Array(r)) => conflict_lists(key, l, r, schema)?,
            (l, r) => go_type(l) != go_type(r) || l != r,
        };
        if conflict {
            return Ok(true);
        }
    }
    Ok(false)
}

fn conflict_lists(key: &str, l: &[Value], r: &[Value], schema: Schema<'_>) -> Result<bool, PatchError> {
    if key.starts_with('$') {
        return Ok(l != r);
    }
    let (items, strategy, merge_key) = list_meta(schema, key)?;
    let of_maps = are_maps(&[l, r])?;
    if !strategy.merge {
        return Ok(l != r);
    }
    let Some(merge_key) = merge_key.filter(|_| of_maps) else { return Ok(false) };
    for item in l {
        let other = r.iter().find(|x| x.get(merge_key) == item.get(merge_key));
        if let (Value::Object(a), Some(Value::Object(b))) = (item, other)
            && (a.get(PATCH) != b.get(PATCH) || conflict_maps(a, b, items)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
