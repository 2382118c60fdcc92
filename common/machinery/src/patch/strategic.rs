//! Strategic merge patch: lists merged by keys and sets of scalars as the schema says, with the directives
//! `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`.

mod diff;
#[cfg(test)]
mod tests;

pub use diff::{three_way, two_way};

use super::lists::{LIST, are_maps, as_map, bad_type, dedup, is_deletion, key_of, no_merge_key, weave};
use super::{PatchError, go_print};
use crate::schema::{PatchStrategy, Schema, Shape};
use gantry_types::{Document, Status, StatusResult};
use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
const SET_ORDER: &str = "$setElementOrder";

/// A JSON object.
pub type Object = Map<String, Value>;

/// How patches are merged: into an object, or (client side) into another patch.
#[derive(Clone, Copy)]
struct Mode {
    /// Directives take effect; otherwise they are kept for whoever applies the patch.
    apply: bool,
}

/// Reads a patch; `null` is an empty one.
///
/// # Errors
/// 400 where the bytes are no JSON object.
pub fn parse(bytes: &[u8]) -> StatusResult<Object> {
    match super::read(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Object::new()),
        Ok(other) => Err(Status::bad_request(super::cannot_unmarshal(&other, "map[string]interface {}"))),
        Err(why) => Err(Status::bad_request(why)),
    }
}

/// Applies a patch to an object of the schema's kind.
///
/// # Errors
/// [`PatchError`], whose `Into<Status>` is upstream's answer.
pub fn apply(object: Document, patch: Object, schema: Schema<'_>) -> Result<Document, PatchError> {
    merge_map(object.into_map(), patch, schema, Mode { apply: true }).map(Document::new)
}

/// The Go name of the struct here, as messages name it.
fn go_name(schema: Schema<'_>) -> &str {
    schema.structure().map_or("", |s| s.name.rsplit('.').next().unwrap_or_default())
}

/// What the schema says about a map or struct under a key.
fn map_meta<'s>(schema: Schema<'s>, key: &str) -> Result<(Schema<'s>, PatchStrategy), PatchError> {
    if schema.structure().is_none() {
        let kind = match schema.shape() {
            Shape::Map(_) | Shape::AnyObject => "map",
            Shape::Any => "interface",
            _ => "slice",
        };
        return Err(PatchError::Other(format!(
            "merging an object in json but data type is not struct, instead is: {kind}"
        )));
    }
    let at = schema.field(key).ok_or_else(|| {
        let key = gantry_types::field::go_quote(key);
        PatchError::Other(format!(
            "unable to find api field in struct {} for the json field {key}",
            go_name(schema)
        ))
    })?;
    Ok((at, at.patch_strategy()))
}

/// What the schema says about a list under a key: its items, strategy and merge key.
fn list_meta<'s>(
    schema: Schema<'s>,
    key: &str,
) -> Result<(Schema<'s>, PatchStrategy, Option<&'s str>), PatchError> {
    let (at, strategy) = map_meta(schema, key)?;
    let items = at
        .items()
        .ok_or_else(|| PatchError::Other("expected slice or array type, but got: struct".to_owned()))?;
    if matches!(items.shape(), Shape::List(_)) {
        return Err(PatchError::Other("unexpected slice of slice".to_owned()));
    }
    Ok((items, strategy, at.patch_merge_key().filter(|k| !k.is_empty())))
}

fn bad_patch_type(directive: &Value, map: &Object) -> PatchError {
    let map = go_print(&Value::Object(map.clone()));
    PatchError::Other(format!("unknown patch type: {} in map: {map}", go_print(directive)))
}

fn merge_map(
    mut original: Object,
    mut patch: Object,
    schema: Schema<'_>,
    mode: Mode,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => Err(bad_patch_type(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch, mode)?;
    element_orders(&mut original, &mut patch, schema, mode)?;

    for (mut key, mut value) in patch {
        let mut deletion = false;
        if key.starts_with(DELETE_FROM) {
            if !mode.apply {
                original.insert(key, value);
                continue;
            }
            key = strip_prefix(&key, DELETE_FROM).ok_or(PatchError::BadPrimitiveList)?.to_owned();
            deletion = true;
        }
        if value.is_null() {
            original.remove(&key);
            if mode.apply {
                continue;
            }
        }
        let same_type = original.get(&key).map(|o| super::go_type(o) == super::go_type(&value));
        if same_type != Some(true) {
            if !deletion {
                if mode.apply {
                    discard_nulls(&mut value);
                }
                set(&mut original, key, value);
            }
            continue;
        }
        // The same type means it is there.
        let old = original.remove(&key).unwrap_or(Value::Null);
        let merged = match (old, value) {
            (Value::Object(old), Value::Object(new)) => {
                let (below, strategy) = map_meta(schema, &key)?;
                let merged = if strategy.replace { new } else { merge_map(old, new, below, mode)? };
                Value::Object(merged)
            }
            (Value::Array(old), Value::Array(new)) => {
                let (items, strategy, merge_key) = list_meta(schema, &key)?;
                let merged = if strategy.merge || deletion {
                    merge_list(old, new, items, merge_key, mode, deletion)?
                } else {
                    new
                };
                Value::Array(merged)
            }
            (_, new) => new,
        };
        original.insert(key, merged);
    }
    Ok(original)
}

fn strip_prefix<'k>(key: &'k str, prefix: &str) -> Option<&'k str> {
    key.split_once('/').filter(|(p, _)| *p == prefix).map(|(_, rest)| rest)
}

/// Puts a value in place of what was there, directives in it taken out.
fn set(original: &mut Object, key: String, value: Value) {
    match remove_directives(value) {
        Some(v) => {
            original.insert(key, v);
        }
        None => {
            original.remove(&key);
        }
    }
}

/// The value without maps that carry a `$patch`.
fn remove_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(k, v)| Some((k, remove_directives(v)?))).collect(),
        )),
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(remove_directives).collect())),
        other => Some(other),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

fn retain_keys(original: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), PatchError> {
    let Some(retain) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if !mode.apply {
        return match original.get(RETAIN_KEYS) {
            Some(old) if *old != retain => Err(PatchError::Other(format!(
                "{} and {} are not deep equal: this may happen when calculating the 3-way diff patch",
                go_print(old),
                go_print(&retain)
            ))),
            _ => {
                original.insert(RETAIN_KEYS.to_owned(), retain);
                Ok(())
            }
        };
    }
    let Value::Array(list) = &retain else { return Err(PatchError::BadRetainKeys) };
    let listed = |key: &str| list.iter().any(|v| v.as_str() == Some(key));
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
        if !value.is_null() && !directive && !listed(key) {
            return Err(PatchError::BadRetainKeys);
        }
    }
    original.retain(|k, _| listed(k));
    Ok(())
}

/// Merges the lists a patch states the order of.
fn element_orders(
    original: &mut Object,
    patch: &mut Object,
    schema: Schema<'_>,
    mode: Mode,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        if !mode.apply {
            match original.get(&directive) {
                Some(old) if *old != order => return Err(PatchError::BadElementOrder),
                _ => {
                    original.insert(directive.clone(), order.clone());
                }
            }
        }
        let Value::Array(order) = order else { return Err(bad_type(LIST, &order)) };
        let key = strip_prefix(&directive, SET_ORDER).ok_or(PatchError::BadElementOrder)?;
        let list = |v: Option<&Value>| match v {
            None => Ok(None),
            Some(Value::Array(l)) => Ok(Some(l.clone())),
            Some(other) => Err(bad_type(LIST, other)),
        };
        let old = list(original.get(key))?;
        let new = list(patch.get(key))?;
        let (items, strategy, merge_key) = list_meta(schema, key)?;
        check_order(new.as_deref().unwrap_or_default(), &order, merge_key)?;

        let merged = match (&old, &new) {
            (None, None) => continue,
            (Some(old), None) => old.clone(),
            (None, Some(new)) => new.iter().cloned().filter_map(remove_directives).collect(),
            (Some(old), Some(new)) if strategy.merge => {
                merge_list(old.clone(), new.clone(), items, merge_key, mode, false)?
            }
            (Some(_), Some(new)) => new.clone(),
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let (ours, server_only) = partition(merged, &order, merge_key)?;
        let maps = are_maps(&[&old, &new])?;
        let merge_key = merge_key.filter(|_| maps);
        let both = weave(ours, server_only, &order, &old, merge_key)?;
        original.insert(key.to_owned(), Value::Array(both));
        patch.remove(key);
    }
    Ok(())
}

/// The items of the patch must come in the order the directive gives.
fn check_order(patch: &[Value], order: &[Value], merge_key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut items = Vec::with_capacity(patch.len());
    for item in patch {
        if merge_key.is_some() {
            as_map(item)?;
        }
        if !(merge_key.is_some() && is_deletion(item)) && item.get(PATCH).is_none() {
            items.push(item);
        }
    }
    let mut at = 0;
    for place in order {
        let Some(item) = items.get(at) else { break };
        let same = match merge_key {
            None => *item == place,
            Some(k) => key_of(item, k)? == key_of(place, k)?,
        };
        at += usize::from(same);
    }
    if at < items.len() {
        return Err(PatchError::Other(format!(
            "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
            go_print(&Value::Array(patch.to_vec())),
            go_print(&Value::Array(order.to_vec()))
        )));
    }
    Ok(())
}

/// Splits items into those in `by` and the others.
fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: Option<&str>,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for item in items {
        let found = match merge_key {
            None => by.contains(&item),
            Some(k) => find(by, k, key_of(&item, k)?)?.is_some(),
        };
        if found { with.push(item) } else { without.push(item) }
    }
    Ok((with, without))
}

/// The first item whose merge key has the value.
fn find(list: &[Value], key: &str, value: &Value) -> Result<Option<usize>, PatchError> {
    for (i, item) in list.iter().enumerate() {
        let Value::Object(map) = item else {
            return Err(PatchError::Other(format!("value for key {i} is not a map")));
        };
        if map.get(key) == Some(value) {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    items: Schema<'_>,
    merge_key: Option<&str>,
    mode: Mode,
    deletion: bool,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !are_maps(&[&original, &patch])? {
        if mode.apply && deletion {
            return Ok(original.into_iter().filter(|v| !patch.contains(v)).collect());
        }
        let mut both = original.clone();
        both.extend(patch.iter().cloned());
        dedup(&mut both);
        let (ours, server_only) = partition(both, &patch, None)?;
        return weave(ours, server_only, &patch, &original, None);
    }
    let Some(key) = merge_key else {
        let kind = if items.structure().is_some() { "struct" } else { "map" };
        return Err(PatchError::Other(format!("cannot merge lists without merge key for {kind}")));
    };
    let (mut merged, patch, order) = special_items(original, patch, key)?;
    for item in &patch {
        let map = as_map(item)?;
        let value = map.get(key).ok_or_else(|| no_merge_key(map, key))?;
        match find(&merged, key, value)? {
            Some(at) => {
                let old = std::mem::take(&mut merged[at]);
                let Value::Object(old) = old else { return Err(bad_type(super::lists::MAP, &old)) };
                merged[at] = Value::Object(merge_map(old, map.clone(), items, mode)?);
            }
            None => merged.push(item.clone()),
        }
    }
    let (ours, server_only) = partition(merged, &patch, Some(key))?;
    weave(ours, server_only, &patch, &order, Some(key))
}

/// Carries out the items that are directives: what is left of the original, the patch's plain items, and the
/// original's order.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let map = as_map(&item)?;
        match map.get(PATCH) {
            None => plain.push(item),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    let value = map.get(key).ok_or_else(|| no_merge_key(map, key))?;
                    while let Some(at) = find(&original, key, value)? {
                        original.remove(at);
                    }
                }
                Some("replace") => replace = true,
                Some("merge") => {
                    let why = "merging lists cannot yet be specified in the patch";
                    return Err(PatchError::Other(why.to_owned()));
                }
                _ => return Err(bad_patch_type(directive, map)),
            },
        }
    }
    if replace {
        let order = plain.clone();
        return Ok((plain, Vec::new(), order));
    }
    let order = original.clone();
    Ok((original, plain, order))
}
