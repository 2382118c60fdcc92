//! The entries of `metadata.managedFields`: who owns which paths, since when.

use super::set::Set;
use gantry_types::time::parse_rfc3339;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// `operation` of an entry. `Apply` sorts before `Update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// Who an entry belongs to. Appliers are the same whatever version they speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    pub manager: Cow<'a, str>,
    pub operation: Operation,
    pub api_version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
}

impl Owner<'_> {
    /// Whether entries of both are one entry.
    pub fn same(&self, other: &Owner<'_>) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// Upstream's identifier, whose order decides between entries of one second.
    fn identifier(&self) -> String {
        let mut out = format!("{{\"manager\":{:?},\"operation\":\"{}\"", self.manager, self.operation.name());
        if self.operation == Operation::Update {
            out.push_str(&format!(",\"apiVersion\":{:?}", self.api_version));
        }
        if !self.subresource.is_empty() {
            out.push_str(&format!(",\"subresource\":{:?}", self.subresource));
        }
        out.push('}');
        out
    }

    /// The owner as conflicts name it.
    pub fn print(&self) -> String {
        let mut out = gantry_types::field::go_quote(&self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", gantry_types::field::go_quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One entry. `raw` is the tree it was read from, kept while the set is unchanged, so that it need not be
/// printed again.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub owner: Owner<'a>,
    pub time: Option<Cow<'a, str>>,
    pub set: Set<'a>,
    pub(super) raw: Option<&'a Value>,
}

impl<'a> Entry<'a> {
    pub(super) fn replace_set(&mut self, set: Set<'a>) {
        self.set = set;
        self.raw = None;
    }

    /// Takes away what a write changed or removed; the part that was changed, with its owner.
    pub(super) fn displace(&mut self, changed: &Set<'_>, removed: &Set<'_>) -> Option<(Owner<'a>, Set<'a>)> {
        let conflict = self.set.intersection(changed);
        if !conflict.is_empty() {
            self.replace_set(self.set.difference(&conflict));
        }
        if self.set.intersects(removed) {
            self.replace_set(self.set.difference(removed));
        }
        (!conflict.is_empty()).then(|| (self.owner.clone(), conflict))
    }

    fn seconds(&self) -> i64 {
        self.time.as_deref().and_then(|t| parse_rfc3339(t).ok()).map_or(0, |t| t.as_second())
    }
}

/// Reads `metadata.managedFields`.
///
/// # Errors
/// In upstream's words, where an entry is not one this version understands.
pub fn decode(fields: &Value) -> Result<Vec<Entry<'_>>, String> {
    let Value::Array(list) = fields else { return Ok(Vec::new()) };
    let mut out: Vec<Entry<'_>> = Vec::with_capacity(list.len() + 1);
    for (i, entry) in list.iter().enumerate() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {i}")),
            other => {
                let other = gantry_types::field::go_quote(other);
                return Err(format!("invalid fieldsType {other} in managed fields entry {i}"));
            }
        }
        let raw = entry.get("fieldsV1");
        let set =
            raw.map_or(Ok(Set::default()), Set::parse).map_err(|e| format!("error decoding set: {e}"))?;
        let entry = Entry {
            owner: Owner {
                manager: text("manager").into(),
                operation,
                api_version: text("apiVersion").into(),
                subresource: text("subresource").into(),
            },
            time: entry.get("time").and_then(Value::as_str).map(Cow::from),
            set,
            raw,
        };
        match out.iter_mut().find(|e| e.owner.same(&entry.owner)) {
            Some(slot) => *slot = entry,
            None => out.push(entry),
        }
    }
    Ok(out)
}

/// Writes `metadata.managedFields` in upstream's order: appliers first, then by time and name.
pub fn encode(mut entries: Vec<Entry<'_>>) -> Value {
    if entries.len() > 1 {
        entries.sort_by(|a, b| {
            (a.owner.operation.cmp(&b.owner.operation))
                .then_with(|| a.seconds().cmp(&b.seconds()))
                .then_with(|| a.owner.manager.cmp(&b.owner.manager))
                .then_with(|| a.owner.api_version.cmp(&b.owner.api_version))
                .then_with(|| a.owner.subresource.cmp(&b.owner.subresource))
        });
    }
    let one = |e: Entry<'_>| {
        let fields = e.raw.cloned().unwrap_or_else(|| e.set.to_value());
        print(e, fields)
    };
    Value::Array(entries.into_iter().map(one).collect())
}

/// One entry alone, with its `fieldsV1` already made.
pub(super) fn encode_one(e: Entry<'_>, fields: Value) -> Value {
    Value::Array(vec![print(e, fields)])
}

fn print(e: Entry<'_>, fields: Value) -> Value {
    let mut map = Map::new();
    let mut text = |key: &str, value: Cow<'_, str>| {
        if !value.is_empty() {
            map.insert(key.to_owned(), Value::String(value.into_owned()));
        }
    };
    text("manager", e.owner.manager);
    text("operation", e.owner.operation.name().into());
    text("apiVersion", e.owner.api_version);
    text("subresource", e.owner.subresource);
    text("time", e.time.unwrap_or_default());
    text("fieldsType", "FieldsV1".into());
    map.insert("fieldsV1".to_owned(), fields);
    Value::Object(map)
}

/// Keeps at most so many `Update` entries: the oldest of each version become one, `ancient-changes`.
pub(super) fn cap(entries: &mut Vec<Entry<'_>>, max: usize) {
    let mut updaters: Vec<usize> =
        (0..entries.len()).filter(|i| entries[*i].owner.operation == Operation::Update).collect();
    if updaters.len() <= max {
        return;
    }
    updaters.sort_by_cached_key(|i| (entries[*i].seconds(), entries[*i].owner.identifier()));
    let mut gone = vec![false; entries.len()];
    // Per version: where its old changes gather. The first of a version keeps its name until a second comes.
    let mut buckets: Vec<(String, usize)> = Vec::new();
    let mut left = updaters.len();
    for at in updaters {
        if left <= max {
            break;
        }
        let version = entries[at].owner.api_version.clone().into_owned();
        match buckets.iter().find(|(v, _)| *v == version) {
            None => buckets.push((version, at)),
            Some((_, bucket)) => {
                let bucket = *bucket;
                let set = entries[at].set.union(&entries[bucket].set);
                let time = entries[at].time.clone();
                let target = &mut entries[bucket];
                target.owner.manager = "ancient-changes".into();
                target.owner.subresource = "".into();
                target.time = time;
                target.replace_set(set);
                gone[at] = true;
                left -= 1;
            }
        }
    }
    let mut keep = gone.iter().map(|g| !g);
    entries.retain(|_| keep.next().unwrap_or(true));
}
