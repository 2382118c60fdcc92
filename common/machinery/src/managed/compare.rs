//! What changed between two objects, as sets of paths.

use super::element::{Element, same_value};
use super::set::Set;
use super::walk::{Atom, as_list, atom, below, step};
use crate::schema::{Field, Omit, Schema, Shape};
use serde_json::{Map, Value};

/// The paths that one object has and the other has not, or has differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    pub removed: Set<'a>,
    pub modified: Set<'a>,
    pub added: Set<'a>,
}

impl<'a> Comparison<'a> {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// The paths added or modified, and those removed.
    pub fn split(self) -> (Set<'a>, Set<'a>) {
        let changed = match (self.modified.is_empty(), self.added.is_empty()) {
            (true, _) => self.added,
            (_, true) => self.modified,
            _ => self.modified.union(&self.added),
        };
        (changed, self.removed)
    }

    /// Forgets paths at and below those given.
    pub fn exclude(&mut self, paths: &Set<'_>) {
        if !paths.is_empty() {
            for set in [&mut self.removed, &mut self.modified, &mut self.added] {
                set.subtract(paths, true);
            }
        }
    }
}

static NULL: Value = Value::Null;
static FALSE: Value = Value::Bool(false);
static EMPTY: Value = Value::String(String::new());

/// One side of a comparison. `Zero` is a struct upstream's typed form always has, though the document does
/// not show it.
#[derive(Clone, Copy)]
enum Side<'a> {
    Absent,
    Zero,
    /// The object itself.
    Root(&'a Map<String, Value>),
    Is(&'a Value),
}

impl<'a> Side<'a> {
    fn value(self) -> Option<&'a Value> {
        match self {
            Self::Is(v) => Some(v),
            _ => None,
        }
    }

    fn map(self) -> Option<&'a Map<String, Value>> {
        match self {
            Self::Root(m) | Self::Is(Value::Object(m)) => Some(m),
            _ => None,
        }
    }

    fn absent(self) -> bool {
        matches!(self, Self::Absent)
    }

    fn null(self) -> bool {
        matches!(self, Self::Is(Value::Null))
    }

    /// What stands under a key here; for typed sides also what Go's encoder would write though it is not set.
    fn child(self, key: &str, schema: Option<Schema<'_>>, typed: bool) -> Side<'a> {
        match self {
            Self::Absent => return Self::Absent,
            Self::Zero => {}
            Self::Root(_) | Self::Is(_) => {
                if let Some(child) = self.map().and_then(|m| m.get(key)) {
                    return Self::Is(child);
                }
                if self.null() || !typed {
                    return Self::Absent;
                }
            }
        }
        match schema.and_then(|s| Some((s.field_decl(key)?, s.field(key)?))) {
            Some((decl, at)) => implied(decl, at),
            None => Self::Absent,
        }
    }
}

/// What Go's encoder writes for a field that is not set.
fn implied<'a>(decl: &Field, at: Schema<'_>) -> Side<'a> {
    match (at.shape(), decl.pointer, decl.omit) {
        (Shape::Struct(_), false, Omit::Never | Omit::Empty) => Side::Zero,
        (_, _, Omit::Empty | Omit::Zero) => Side::Absent,
        (_, true, _) => Side::Is(&NULL),
        (Shape::Bool, ..) => Side::Is(&FALSE),
        (Shape::String, ..) => Side::Is(&EMPTY),
        (Shape::Int(_) | Shape::Number, ..) => Side::Absent,
        _ => Side::Is(&NULL),
    }
}

/// Compares a live object (absent: about to be created) with the object that takes its place. Both count as
/// typed: struct fields that upstream's types always carry are never "added".
pub fn compare<'a>(
    schema: Schema<'a>,
    old: Option<&'a Map<String, Value>>,
    new: &'a Map<String, Value>,
) -> Comparison<'a> {
    let builtin = std::ptr::eq(schema.arena(), crate::schema::builtin());
    let old = match old {
        Some(m) => Side::Root(m),
        None => Side::Zero,
    };
    let (_, [added, modified, removed]) = Walk { typed: builtin }.node(Some(schema), old, Side::Root(new));
    Comparison { removed, modified, added }
}

/// Compares two objects as written, with nothing implied.
pub fn compare_plain<'a>(
    schema: Schema<'a>,
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
) -> Comparison<'a> {
    let (_, [added, modified, removed]) =
        Walk { typed: false }.node(Some(schema), Side::Root(old), Side::Root(new));
    Comparison { removed, modified, added }
}

const ADDED: usize = 0;
const MODIFIED: usize = 1;
const REMOVED: usize = 2;

/// Which of the three sets a place itself belongs to, as bits, and what lies below it.
type Found<'a> = (u8, [Set<'a>; 3]);

struct Walk {
    typed: bool,
}

fn put<'a>(into: &mut [Set<'a>; 3], e: Element<'a>, (own, sets): Found<'a>) {
    for (which, set) in sets.into_iter().enumerate() {
        if own & (1 << which) != 0 {
            into[which].members.push(e.clone());
        }
        if !set.is_empty() {
            into[which].children.push((e.clone(), set));
        }
    }
}

impl Walk {
    fn node<'a>(&self, schema: Option<Schema<'a>>, old: Side<'a>, new: Side<'a>) -> Found<'a> {
        // Most of an object stays as it is, and seeing that costs less than taking it apart.
        if let (Side::Is(a), Side::Is(b)) = (old, new)
            && a == b
        {
            return Found::default();
        }
        let (a, b) = (atom(schema, old.value()), atom(schema, new.value()));
        let (mut own, mut sets, mut leaf);
        if new.absent() || (!old.absent() && !a.alike(&b)) {
            ((own, sets), leaf) = self.by(a, old, new);
            if !new.absent() {
                let ((own2, sets2), leaf2) = self.by(b, old, new);
                own |= own2;
                for (x, y) in sets.iter_mut().zip(&sets2) {
                    *x = x.union(y);
                }
                leaf = leaf2;
            }
        } else {
            ((own, sets), leaf) = self.by(b, old, new);
        }
        if !leaf {
            if old.absent() {
                own |= 1 << ADDED;
            } else if new.absent() {
                own |= 1 << REMOVED;
            }
        }
        (own, sets)
    }

    fn leaf<'a>(old: Side<'a>, new: Side<'a>) -> (Found<'a>, bool) {
        let own = match (old, new) {
            (Side::Absent, _) => 1 << ADDED,
            (_, Side::Absent) => 1 << REMOVED,
            (Side::Is(a), Side::Is(b)) if same_value(a, b) => 0,
            (Side::Zero, Side::Is(Value::Object(m))) | (Side::Is(Value::Object(m)), Side::Zero)
                if m.is_empty() =>
            {
                0
            }
            (Side::Zero, Side::Zero) => 0,
            _ => 1 << MODIFIED,
        };
        ((own, Default::default()), true)
    }

    /// Compares a place as one kind of place; whether it was taken as one value.
    fn by<'a>(&self, atom: Atom<'a>, old: Side<'a>, new: Side<'a>) -> (Found<'a>, bool) {
        match atom {
            Atom::Leaf => Self::leaf(old, new),
            Atom::List { keys, items } => {
                let empty = |s: Side<'_>| as_list(s.value()).is_none_or(Vec::is_empty);
                if empty(old) && empty(new) {
                    return Self::leaf(old, new);
                }
                let mut sets: [Set<'a>; 3] = Default::default();
                let own = self.list(keys, items, old, new, &mut sets);
                ((own, sets), false)
            }
            Atom::Map(schema) => {
                let empty = |s: Side<'_>| !matches!(s, Side::Zero) && s.map().is_none_or(Map::is_empty);
                let zero = |s: Side<'_>| matches!(s, Side::Zero);
                if (empty(old) || zero(old)) && (empty(new) || zero(new)) {
                    // Two structs with nothing set are the same; one that comes or goes is a leaf.
                    return Self::leaf(old, new);
                }
                let mut sets: [Set<'a>; 3] = Default::default();
                self.map(schema, old, new, &mut sets);
                ((0, sets), false)
            }
        }
    }

    fn map<'a>(&self, schema: Option<Schema<'a>>, old: Side<'a>, new: Side<'a>, sets: &mut [Set<'a>; 3]) {
        let visit = |key: &'a str, old: Side<'a>, new: Side<'a>, sets: &mut [Set<'a>; 3]| {
            let found = self.node(below(schema, key), old, new);
            put(sets, Element::Field(key), found);
        };
        // A null side has no entries, and nothing is implied below it.
        let (a, b) = (old.map(), new.map());
        let old = if old.null() { Side::Absent } else { old };
        let new = if new.null() { Side::Absent } else { new };
        let mut a = a.into_iter().flatten().peekable();
        let mut b = b.into_iter().flatten().peekable();
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some((x, _)), Some((y, _))) => x.cmp(y),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => break,
            };
            match order {
                std::cmp::Ordering::Equal => {
                    if let (Some((k, x)), Some((_, y))) = (a.next(), b.next()) {
                        visit(k, Side::Is(x), Side::Is(y), sets);
                    }
                }
                std::cmp::Ordering::Less => {
                    if let Some((k, x)) = a.next() {
                        visit(k, Side::Is(x), new.child(k, schema, self.typed), sets);
                    }
                }
                std::cmp::Ordering::Greater => {
                    if let Some((k, y)) = b.next() {
                        visit(k, old.child(k, schema, self.typed), Side::Is(y), sets);
                    }
                }
            }
        }
    }

    fn list<'a>(
        &self,
        keys: &'a [crate::schema::Name],
        items: Option<Schema<'a>>,
        old: Side<'a>,
        new: Side<'a>,
        sets: &mut [Set<'a>; 3],
    ) -> u8 {
        let index = |side: Side<'a>| -> Vec<(Element<'a>, &'a Value)> {
            as_list(side.value())
                .into_iter()
                .flatten()
                .filter_map(|item| Some((step(keys, items, item).ok()?, item)))
                .collect()
        };
        let (mut a, mut b) = (index(old), index(new));
        // Stable, so that repeated items keep their order.
        a.sort_by(|x, y| x.0.cmp(&y.0));
        b.sort_by(|x, y| x.0.cmp(&y.0));
        let (mut i, mut j) = (0, 0);
        while i < a.len() || j < b.len() {
            let e = match (a.get(i), b.get(j)) {
                (Some(x), Some(y)) if y.0 < x.0 => y.0.clone(),
                (Some(x), _) => x.0.clone(),
                (None, Some(y)) => y.0.clone(),
                (None, None) => break,
            };
            let run = |list: &[(Element<'a>, &'a Value)], from: usize| {
                list[from..].iter().take_while(|(x, _)| *x == e).count()
            };
            let (n, m) = (run(&a, i), run(&b, j));
            let (olds, news) = (&a[i..i + n], &b[j..j + m]);
            let side =
                |list: &[(Element<'a>, &'a Value)]| list.first().map_or(Side::Absent, |(_, v)| Side::Is(v));
            let empty = || (0u8, <[Set<'a>; 3]>::default());
            let mut found = match (n, m) {
                (0..=1, 0..=1) => self.node(items, side(olds), side(news)),
                (2.., 2..) => {
                    let same = n == m && olds.iter().zip(news).all(|(x, y)| same_value(x.1, y.1));
                    let mut found = empty();
                    found.0 |= u8::from(!same) << MODIFIED;
                    found
                }
                (2.., 0) | (0, 2..) => empty(),
                (2.., _) => self.node(items, Side::Absent, side(news)),
                _ => self.node(items, side(olds), Side::Absent),
            };
            if n >= 2 && m < 2 {
                found.0 |= 1 << REMOVED;
            } else if m >= 2 && n < 2 {
                found.0 |= 1 << ADDED;
            }
            put(sets, e, found);
            i += n;
            j += m;
        }
        0
    }
}

/// The paths an applied object states.
pub fn field_set<'a>(schema: Schema<'a>, object: &'a Map<String, Value>) -> Set<'a> {
    let mut out = Set::default();
    collect_map(Some(schema), object, &mut out);
    out
}

fn collect_map<'a>(schema: Option<Schema<'a>>, map: &'a Map<String, Value>, out: &mut Set<'a>) {
    for (key, v) in map {
        let mut child = Set::default();
        let own = collect(below(schema, key), v, &mut child);
        let declared = schema.is_some_and(|s| s.field_decl(key).is_some());
        let bare = v.is_null() || v.as_object().is_some_and(Map::is_empty);
        if own || bare || !declared {
            out.members.push(Element::Field(key));
        }
        if !child.is_empty() {
            out.children.push((Element::Field(key), child));
        }
    }
}

/// Fills in what lies below a place; whether the place itself is a path.
fn collect<'a>(schema: Option<Schema<'a>>, value: &'a Value, out: &mut Set<'a>) -> bool {
    match atom(schema, Some(value)) {
        Atom::Leaf => true,
        Atom::Map(schema) => {
            if let Value::Object(map) = value {
                collect_map(schema, map, out);
            }
            false
        }
        Atom::List { keys, items } => {
            let Value::Array(list) = value else { return false };
            let mut steps: Vec<(Element<'a>, &'a Value)> =
                list.iter().filter_map(|v| Some((step(keys, items, v).ok()?, v))).collect();
            steps.sort_by(|a, b| a.0.cmp(&b.0));
            for same in steps.chunk_by(|a, b| a.0 == b.0) {
                out.members.push(same[0].0.clone());
                // Items that repeat are owned whole, as one path.
                if let [(e, v)] = same {
                    let mut child = Set::default();
                    collect(items, v, &mut child);
                    if !child.is_empty() {
                        out.children.push((e.clone(), child));
                    }
                }
            }
            false
        }
    }
}

/// `fieldsV1` of a creation, built in one walk: what [`compare`] with nothing finds added or changed, without
/// the root fields in `skip` and without the paths nobody owns.
pub(super) fn created<'a>(
    schema: Schema<'a>,
    new: &'a Map<String, Value>,
    skip: &[&str],
    stripped: &Set<'_>,
) -> Map<String, Value> {
    let walk = Walk { typed: std::ptr::eq(schema.arena(), crate::schema::builtin()) };
    let mut out = Map::new();
    for (key, v) in new {
        let e = Element::Field(key);
        if skip.contains(&key.as_str()) {
            continue;
        }
        let old = Side::Zero.child(key, Some(schema), walk.typed);
        let Some(mut tree) = walk.tree(below(Some(schema), key), old, v) else { continue };
        if let Some(inner) = stripped.child(&e) {
            for m in &inner.members {
                tree.remove(&printed(m));
            }
        }
        if stripped.has_member(&e) {
            tree.remove(".");
            if tree.is_empty() {
                continue;
            }
        }
        out.insert(printed(&e), Value::Object(tree));
    }
    out
}

fn printed(e: &Element<'_>) -> String {
    let mut key = String::with_capacity(24);
    e.write(&mut key);
    key
}

impl Walk {
    /// The subtree of a place that is new or differs from `old`; `None` where nothing does. An empty tree is
    /// the place itself.
    fn tree<'a>(
        &self,
        schema: Option<Schema<'a>>,
        old: Side<'a>,
        new: &'a Value,
    ) -> Option<Map<String, Value>> {
        let leaf = || (Self::leaf(old, Side::Is(new)).0.0 != 0).then(Map::new);
        let mut out = Map::new();
        match (atom(schema, Some(new)), new) {
            (Atom::Map(schema), Value::Object(map)) if !map.is_empty() => {
                for (key, v) in map {
                    let was = old.child(key, schema, self.typed);
                    if let Some(tree) = self.tree(below(schema, key), was, v) {
                        out.insert(printed(&Element::Field(key)), Value::Object(tree));
                    }
                }
            }
            (Atom::List { keys, items }, Value::Array(list)) if !list.is_empty() => {
                for v in list {
                    let Ok(e) = step(keys, items, v) else { continue };
                    match out.entry(printed(&e)) {
                        // Items that repeat are owned whole.
                        serde_json::map::Entry::Occupied(mut slot) => {
                            slot.insert(Value::Object(Map::new()));
                        }
                        serde_json::map::Entry::Vacant(slot) => {
                            let tree = self.tree(items, Side::Absent, v).unwrap_or_default();
                            slot.insert(Value::Object(tree));
                        }
                    }
                }
            }
            _ => return leaf(),
        }
        if old.absent() {
            if !out.is_empty() {
                out.insert(".".to_owned(), Value::Object(Map::new()));
            }
            return Some(out);
        }
        (!out.is_empty()).then_some(out)
    }
}
