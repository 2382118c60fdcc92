//! Server-side apply.

use super::check::{check, print_errors};
use super::compare::{compare_plain, field_set};
use super::entries::{Entry, Operation, Owner, decode, encode};
use super::merge::{merge, remove};
use super::set::{Path, Set, print_path};
use super::update::{STRIP, displace, peek, put, reconcile, updated};
use super::{LAST_APPLIED, Request, compare};
use gantry_types::status::StatusCause;
use gantry_types::time::rfc3339;
use gantry_types::{Document, GroupVersion, Status, StatusResult};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The most bytes the annotations of one object may have together.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// A path of another owner that an apply would change.
struct Conflict<'a> {
    owner: Owner<'a>,
    path: Path<'a>,
}

enum Failure<'a> {
    Conflicts(Vec<Conflict<'a>>),
    Status(Status),
}

impl From<Status> for Failure<'_> {
    fn from(s: Status) -> Self {
        Self::Status(s)
    }
}

fn wrong(message: String) -> Status {
    Status::failure(500, "", message)
}

/// Applies `applied` to `live` (absent: to be created). The answer carries the new ownership and has yet to
/// be defaulted and validated. `force` takes fields over from their owners.
///
/// # Errors
/// 409 with a cause a field where others own what is applied; 400 for a wrong version or for
/// `metadata.managedFields` in the applied object; 500, as upstream, where it does not fit the schema.
pub fn apply(
    live: Option<&Document>,
    applied: &Document,
    rq: &Request<'_>,
    force: bool,
) -> StatusResult<Document> {
    if applied.api_version() != rq.api_version {
        let parse = |v: &str| GroupVersion::parse(v).map_or_else(|| v.to_owned(), |gv| gv.to_string());
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            parse(applied.api_version()),
            parse(rq.api_version)
        )));
    }
    if peek(applied).is_some_and(|f| !f.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let fields = live.and_then(peek).unwrap_or(&Value::Null);
    let entries = decode(fields).map_err(|e| wrong(format!("failed to decode managed fields: {e}")))?;
    let old = live.map(Document::map);

    let entries = match old {
        // The first apply to an object nobody tracked: what is there belongs to a manager of that name.
        Some(old) if entries.is_empty() => {
            let before = Request { manager: "before-first-apply", ..*rq };
            updated(None, old, entries, &before)
        }
        _ => entries,
    };
    // Only the tool that applied client-side before gets a second attempt.
    let spare = (rq.manager == "kubectl" && !force).then(|| entries.clone());
    let mut result = once(old, applied.map(), entries, rq, force);
    if let Err(Failure::Conflicts(conflicts)) = &mut result
        && rq.manager == "kubectl"
        && let Some(old) = old
        && let Some(last) = last_applied(old, rq)
    {
        let allowed = allowed_by_last_applied(last.map(), old, rq);
        conflicts.retain(|c| !allowed.has(&c.path));
        if conflicts.is_empty() {
            result = once(Some(old), applied.map(), spare.unwrap_or_default(), rq, true);
        }
    }
    let (mut object, entries) = match result {
        Ok(done) => done,
        Err(Failure::Status(status)) => return Err(status),
        Err(Failure::Conflicts(conflicts)) => return Err(conflict_status(&conflicts)),
    };
    if rq.manager == "kubectl" {
        renew_last_applied(&mut object, applied);
    }
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    put(&mut object, encode(entries));
    Ok(Document::new(object))
}

/// One attempt; a successful one answers the object without ownership, and the entries.
fn once<'a>(
    old: Option<&'a Map<String, Value>>,
    applied: &'a Map<String, Value>,
    entries: Vec<Entry<'a>>,
    rq: &Request<'a>,
    force: bool,
) -> Result<(Map<String, Value>, Vec<Entry<'a>>), Failure<'a>> {
    let errors = check(rq.schema, applied, false);
    if !errors.is_empty() {
        let text = |path: &[&str]| {
            let (first, rest) = path.split_first()?;
            rest.iter().try_fold(applied.get(*first)?, |v, k| v.get(k))?.as_str()
        };
        let text = |path: &[&str]| text(path).unwrap_or_default();
        // The group is named even where it has no name.
        let grouped = |v: &str| if v.contains('/') { v.to_owned() } else { format!("/{v}") };
        return Err(Failure::Status(wrong(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {}",
            text(&["metadata", "namespace"]),
            text(&["metadata", "name"]),
            grouped(text(&["apiVersion"])),
            text(&["kind"]),
            print_errors(&errors)
        ))));
    }
    let mut entries = reconcile(old, entries, rq);
    let merged = merge(rq.schema, old, applied).map_err(|e| wrong(format!("failed to merge config: {e}")))?;

    let reset = Set::of_fields(rq.reset_fields);
    let mut set = field_set(rq.schema, applied);
    set.subtract(&reset, true);
    let owner = Owner {
        manager: if rq.manager.is_empty() { "unknown" } else { rq.manager }.into(),
        operation: Operation::Apply,
        api_version: rq.api_version.into(),
        subresource: rq.subresource.into(),
    };
    let at = entries.iter().position(|e| e.owner.same(&owner));
    let last = at.map(|i| {
        let entry = &mut entries[i];
        (entry.owner.api_version.clone(), std::mem::take(&mut entry.set), entry.raw)
    });
    let at = match at {
        Some(i) => {
            entries[i].owner = owner;
            entries[i].replace_set(set);
            i
        }
        None => {
            entries.push(Entry { owner, time: None, set, raw: None });
            entries.len() - 1
        }
    };
    let merged = match &last {
        Some((version, last, _)) if !last.is_empty() => prune(merged, version, last, &entries, at, rq),
        _ => merged,
    };

    let unchanged = old.is_some_and(|o| same_map(o, &merged));
    // Where nothing changes or nobody else owns anything there is nobody to be in conflict with.
    if !unchanged && entries.len() > 1 {
        let mut comparison = compare(rq.schema, old, &merged);
        comparison.exclude(&reset);
        let (changed, removed) = comparison.split();
        let (left, conflicts) = displace(old, &merged, (&changed, &removed), entries, Some(at), rq);
        if !force && !conflicts.is_empty() {
            let mut out = Vec::new();
            for (owner, set) in conflicts {
                set.each(|path| out.push(Conflict { owner: owner.clone(), path: path.to_vec() }));
            }
            return Err(Failure::Conflicts(out));
        }
        entries = left;
    }
    let own = entries.iter().position(|e| e.owner.operation == Operation::Apply && own_entry(e, rq));
    if let Some(i) = own {
        entries[i].set.subtract(&STRIP, false);
        if entries[i].set.is_empty() {
            entries.remove(i);
        } else {
            if let Some((_, last, raw)) = last
                && last == entries[i].set
            {
                entries[i].raw = raw;
            }
            // An apply that changes nothing leaves the time of the one before.
            if !unchanged || entries[i].time.is_none() {
                entries[i].time = Some(Cow::Owned(rfc3339(rq.now)));
            }
        }
    }
    Ok((merged, entries))
}

/// Whether two objects are the same but for `metadata.managedFields`.
fn same_map(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let same = |(ak, av): (&String, &Value), (bk, bv): (&String, &Value)| match (av, bv) {
        (Value::Object(x), Value::Object(y)) if ak == "metadata" && bk == "metadata" => {
            let but = |m| Map::iter(m).filter(|(k, _)| *k != "managedFields");
            but(x).count() == but(y).count()
                && but(x).zip(but(y)).all(|(x, y)| x.0 == y.0 && super::same_value(x.1, y.1))
        }
        _ => ak == bk && super::same_value(av, bv),
    };
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y))
}

fn own_entry(e: &Entry<'_>, rq: &Request<'_>) -> bool {
    let manager = if rq.manager.is_empty() { "unknown" } else { rq.manager };
    e.owner.manager == manager && e.owner.subresource == rq.subresource
}

/// Drops from the merged object what the applier stated last time, states no more, and nobody else owns.
fn prune(
    merged: Map<String, Value>,
    version: &str,
    last: &Set<'_>,
    entries: &[Entry<'_>],
    own: usize,
    rq: &Request<'_>,
) -> Map<String, Value> {
    let here = version == rq.api_version;
    // Nothing given up, nothing to drop: the common case.
    if here && last.difference(&entries[own].set).is_empty() {
        return merged;
    }
    let (at_last, schema) = if here {
        (Cow::Borrowed(&merged), rq.schema)
    } else {
        match rq.versions.convert(&merged, version) {
            Some((v, s)) => (Cow::Owned(v), s),
            None => return merged,
        }
    };
    let mut pruned = remove(schema, &at_last, &last.with_named_fields(Some(schema)));

    // What anyone (the new statement included) owns comes back, version by version.
    let mut versions: Vec<&str> = vec![version];
    for e in entries {
        if !versions.contains(&e.owner.api_version.as_ref()) {
            versions.push(&e.owner.api_version);
        }
    }
    let mut full = at_last.into_owned();
    let full_at_last = full.clone();
    let mut current = version.to_owned();
    for v in versions {
        let mut owned = Set::default();
        for e in entries.iter().filter(|e| e.owner.api_version == v) {
            owned = owned.union(&e.set);
        }
        if owned.is_empty() && v != version {
            continue;
        }
        let schema_v = if v == current {
            if v == rq.api_version { Some(rq.schema) } else { rq.versions.convert(&full, v).map(|c| c.1) }
        } else {
            match (rq.versions.convert(&full, v), rq.versions.convert(&pruned, v)) {
                (Some((f, s)), Some((p, _))) => {
                    (full, pruned) = (f, p);
                    current = v.to_owned();
                    Some(s)
                }
                _ => None,
            }
        };
        let Some(s) = schema_v else { continue };
        let drop = {
            let all = field_set(s, &full).with_named_fields(Some(s));
            let kept = field_set(s, &pruned).with_named_fields(Some(s));
            let owned = owned.with_named_fields(Some(s));
            all.difference(&kept.union(&owned))
        };
        pruned = remove(s, &full, &drop);
    }

    // What nobody ever stated stays, even below what was dropped.
    let back = |value: Map<String, Value>, from: &str, to: &str| {
        if from == to { Some(value) } else { rq.versions.convert(&value, to).map(|c| c.0) }
    };
    let Some(pruned) = back(pruned, &current, version) else { return merged };
    let drop = {
        let kept = field_set(schema, &pruned).with_named_fields(Some(schema));
        let all = field_set(schema, &full_at_last).with_named_fields(Some(schema));
        all.difference(&kept).intersection(&last.with_named_fields(Some(schema)))
    };
    let result = remove(schema, &full_at_last, &drop);
    back(result, version, rq.api_version).unwrap_or(merged)
}

/// What `kubectl apply` said last, where the object says so in this version.
fn last_applied(live: &Map<String, Value>, rq: &Request<'_>) -> Option<Document> {
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let last = Document::from_json(text.as_bytes()).ok()?;
    (last.api_version() == rq.api_version).then_some(last)
}

/// The paths client-side apply stated that still have the values it gave them: server-side apply by the same
/// tool may take those over unasked.
fn allowed_by_last_applied<'a>(
    last: &'a Map<String, Value>,
    live: &'a Map<String, Value>,
    rq: &Request<'a>,
) -> Set<'a> {
    if !check(rq.schema, last, false).is_empty() {
        return Set::default();
    }
    let c = compare_plain(rq.schema, last, live);
    field_set(rq.schema, last).difference(&c.modified).difference(&c.added).difference(&c.removed)
}

/// Keeps the annotation of client-side apply up to date, where there is one, so that one can go back to it.
fn renew_last_applied(object: &mut Map<String, Value>, applied: &Document) {
    let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(Value::as_object_mut)
        .filter(|a| a.get(LAST_APPLIED).and_then(Value::as_str).is_some_and(|s| !s.is_empty()))
    else {
        return;
    };
    let mut said = applied.clone();
    said.remove_at(&["metadata", "annotations", LAST_APPLIED]);
    let mut text = String::from_utf8_lossy(&said.to_json()).into_owned();
    text.push('\n');
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

fn conflict_status(conflicts: &[Conflict<'_>]) -> Status {
    let causes = conflicts
        .iter()
        .map(|c| StatusCause {
            reason: "FieldManagerConflict".to_owned(),
            message: format!("conflict with {}", c.owner.print()),
            field: print_path(&c.path),
        })
        .collect();
    let message = match conflicts {
        [one] => format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.owner.print(),
            print_path(&one.path)
        ),
        many => {
            let mut owners: Vec<&Owner<'_>> = Vec::new();
            for c in many {
                if !owners.contains(&&c.owner) {
                    owners.push(&c.owner);
                }
            }
            owners.sort_by(|a, b| a.manager.cmp(&b.manager));
            let mut lines = Vec::new();
            for owner in owners {
                lines.push(format!("conflicts with {}:", owner.print()));
                for c in many.iter().filter(|c| c.owner == *owner) {
                    lines.push(format!("- {}", print_path(&c.path)));
                }
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    Status::apply_conflict(causes, message)
}
