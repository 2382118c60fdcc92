//! Ownership after a plain write.

use super::compare::created;
use super::entries::{Entry, Operation, Owner, cap, decode, encode};
use super::set::Set;
use super::{MAX_UPDATERS, Request, STRIPPED, compare};
use gantry_types::Document;
use gantry_types::time::rfc3339;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Paths nobody owns.
pub(super) static STRIP: LazyLock<Set<'static>> = LazyLock::new(|| Set::of_fields(&STRIPPED));

/// The manager of a request: its `fieldManager`, else the user agent up to the first slash, printable
/// characters only, at most 128 bytes.
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let mut out = String::new();
    for c in user_agent.split('/').next().unwrap_or_default().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > 128 {
            break;
        }
        out.push(c);
    }
    out
}

/// Takes `metadata.managedFields` out of an object; `None` where it has none.
pub(super) fn take(object: &mut Map<String, Value>) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

pub(super) fn peek(object: &Document) -> Option<&Value> {
    object.map().get("metadata")?.get("managedFields")
}

pub(super) fn put(object: &mut Map<String, Value>, fields: Value) {
    if fields.as_array().is_some_and(|l| !l.is_empty()) {
        let meta = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(meta) = meta {
            meta.insert("managedFields".to_owned(), fields);
        }
    }
}

/// Whether a client asked for all ownership to be forgotten: an empty list, or one empty entry.
fn is_reset(fields: &Value) -> bool {
    match fields {
        Value::Array(list) => match list.as_slice() {
            [] => true,
            [one] => one.as_object().is_some_and(|m| m.values().all(Value::is_null)),
            _ => false,
        },
        _ => false,
    }
}

/// Sets `metadata.managedFields` of `new`, an object about to take the place of `live` (absent: about to be
/// created). Never fails: entries that cannot be read count as none.
pub fn update(live: Option<&Document>, new: &mut Document, rq: &Request<'_>) {
    let sent = take(new.map_mut());
    let live_fields = live.and_then(peek);
    let entries = match &sent {
        Some(fields) if rq.subresource.is_empty() => match decode(fields) {
            _ if is_reset(fields) => Vec::new(),
            Ok(entries) if !entries.is_empty() => entries,
            _ => live_fields.and_then(|f| decode(f).ok()).unwrap_or_default(),
        },
        _ => live_fields.and_then(|f| decode(f).ok()).unwrap_or_default(),
    };
    // An object nobody's fields were ever tracked of stays so until the first apply.
    if entries.is_empty() && live.is_some_and(|l| !l.uid().is_empty()) {
        return;
    }
    // Plain creations are most writes: no sets are built for them.
    let plain = live.is_none() && entries.is_empty() && rq.reset_fields.iter().all(|f| !f.contains('.'));
    let fields = if plain {
        let tree = created(rq.schema, new.map(), rq.reset_fields, &STRIP);
        if tree.is_empty() {
            return;
        }
        let entry =
            Entry { owner: owner(rq), time: Some(rfc3339(rq.now).into()), set: Set::default(), raw: None };
        super::entries::encode_one(entry, Value::Object(tree))
    } else {
        encode(updated(live.map(Document::map), new.map(), entries, rq))
    };
    put(new.map_mut(), fields);
}

/// Who a plain write of this request belongs to.
fn owner<'a>(rq: &Request<'a>) -> Owner<'a> {
    Owner {
        manager: if rq.manager.is_empty() { "unknown" } else { rq.manager }.into(),
        operation: Operation::Update,
        api_version: rq.api_version.into(),
        subresource: rq.subresource.into(),
    }
}

/// The entries after a write of `new` over `old`.
pub(super) fn updated<'a>(
    old: Option<&'a Map<String, Value>>,
    new: &'a Map<String, Value>,
    entries: Vec<Entry<'a>>,
    rq: &Request<'a>,
) -> Vec<Entry<'a>> {
    let entries = reconcile(old, entries, rq);
    let mut comparison = compare(rq.schema, old, new);
    let reset = Set::of_fields(rq.reset_fields);
    comparison.exclude(&reset);
    let (mut own, removed) = comparison.split();
    let (mut entries, _) = displace(old, new, (&own, &removed), entries, None, rq);
    own.subtract(&STRIP, false);
    if !own.is_empty() {
        let owner = owner(rq);
        let time = Some(Cow::Owned(rfc3339(rq.now)));
        match entries.iter_mut().find(|e| e.owner.same(&owner)) {
            Some(entry) => {
                entry.replace_set(own.union(&entry.set));
                entry.time = time;
            }
            None => entries.push(Entry { owner, time, set: own, raw: None }),
        }
    }
    cap(&mut entries, MAX_UPDATERS);
    entries
}

/// Entries made before a place became atomic, brought to today's schema.
pub(super) fn reconcile<'a>(
    old: Option<&Map<String, Value>>,
    mut entries: Vec<Entry<'a>>,
    rq: &Request<'_>,
) -> Vec<Entry<'a>> {
    let nothing = Map::new();
    entries.retain_mut(|entry| {
        let changed = if entry.owner.api_version == rq.api_version {
            entry.set.reconciled(rq.schema)
        } else {
            match rq.versions.convert(old.unwrap_or(&nothing), &entry.owner.api_version) {
                Some((_, schema)) => entry.set.reconciled(schema),
                None => return false,
            }
        };
        if let Some(set) = changed {
            entry.replace_set(set);
        }
        true
    });
    entries
}

/// Takes from every entry (but `own`) the paths a write changed or removed. Also tells which paths of which
/// owners it changed: the conflicts, had it been an apply.
pub(super) fn displace<'a>(
    old: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    (changed, removed): (&Set<'_>, &Set<'_>),
    entries: Vec<Entry<'a>>,
    own: Option<usize>,
    rq: &Request<'_>,
) -> (Vec<Entry<'a>>, Vec<(Owner<'a>, Set<'a>)>) {
    let nothing = Map::new();
    let reset = Set::of_fields(rq.reset_fields);
    let mut conflicts = Vec::new();
    let mut out = Vec::with_capacity(entries.len() + 1);
    for (i, mut entry) in entries.into_iter().enumerate() {
        if own == Some(i) {
            out.push(entry);
            continue;
        }
        if entry.owner.api_version == rq.api_version {
            conflicts.extend(entry.displace(changed, removed));
        } else {
            let at = |m: &Map<String, Value>| rq.versions.convert(m, &entry.owner.api_version);
            let (Some((a, schema)), Some((b, _))) = (at(old.unwrap_or(&nothing)), at(new)) else {
                continue;
            };
            let mut theirs = compare(schema, Some(&a), &b);
            theirs.exclude(&reset);
            let (changed, removed) = theirs.split();
            conflicts.extend(entry.displace(&changed, &removed));
        }
        if !entry.set.is_empty() {
            out.push(entry);
        }
    }
    (out, conflicts)
}

/// Undoes a change of nothing but times in `metadata.managedFields`: where `new` equals `old` otherwise, its
/// entries take the old times, so that a write that changes nothing is no write.
pub fn keep_times(old: &Document, new: &mut Document) {
    let (Some(Value::Array(was)), Some(Value::Array(is))) = (peek(old), peek(new)) else { return };
    let same_beside = |skip: &[&str], a: Option<&Map<String, Value>>, b: Option<&Map<String, Value>>| {
        let (Some(a), Some(b)) = (a, b) else { return a.is_none() && b.is_none() };
        let keep = |m: &Map<String, Value>| m.keys().filter(|k| !skip.contains(&k.as_str())).count();
        keep(a) == keep(b)
            && a.iter().filter(|(k, _)| !skip.contains(&k.as_str())).all(|(k, v)| b.get(k) == Some(v))
    };
    let but_time = |(a, b): (&Value, &Value)| same_beside(&["time"], a.as_object(), b.as_object());
    if was.len() != is.len() || was == is || !was.iter().zip(is).all(but_time) {
        return;
    }
    fn meta(d: &Document) -> Option<&Map<String, Value>> {
        d.map().get("metadata").and_then(Value::as_object)
    }
    if same_beside(&["metadata"], Some(old.map()), Some(new.map()))
        && same_beside(&["managedFields"], meta(old), meta(new))
    {
        let was = was.clone();
        put(new.map_mut(), Value::Array(was));
    }
}
