//! Sets of paths: sorted trees, with the algebra server-side apply is made of.

use super::element::Element;
use crate::schema::Schema;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// A set of paths below one place. Both lists are sorted; no child is empty. A path may be a member and have
/// members below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'a> {
    pub(super) members: Vec<Element<'a>>,
    pub(super) children: Vec<(Element<'a>, Set<'a>)>,
}

/// A path from the root.
pub type Path<'a> = Vec<Element<'a>>;

/// Prints a path as conflicts name it: `.spec.containers[name="a"].image`.
pub fn print_path(path: &[Element<'_>]) -> String {
    path.iter().map(ToString::to_string).collect()
}

/// Walks two sorted lists in step.
fn zip<'x, A, B>(
    a: &'x [A],
    b: &'x [B],
    order: impl Fn(&A, &B) -> Ordering,
    mut each: impl FnMut(Option<&'x A>, Option<&'x B>),
) {
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let by = match (a.get(i), b.get(j)) {
            (Some(x), Some(y)) => order(x, y),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        match by {
            Ordering::Less => each(a.get(i), None),
            Ordering::Greater => each(None, b.get(j)),
            Ordering::Equal => each(a.get(i), b.get(j)),
        }
        i += usize::from(by != Ordering::Greater);
        j += usize::from(by != Ordering::Less);
    }
}

impl<'a> Set<'a> {
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.is_empty()
    }

    /// The number of paths.
    pub fn len(&self) -> usize {
        self.members.len() + self.children.iter().map(|(_, c)| c.len()).sum::<usize>()
    }

    /// A set of dotted field paths (`status`, `metadata.name`).
    pub fn of_fields(paths: &[&'a str]) -> Self {
        let mut out = Self::default();
        for path in paths {
            let steps: Vec<Element<'a>> = path.split('.').map(Element::Field).collect();
            out.insert(&steps);
        }
        out
    }

    pub fn insert(&mut self, path: &[Element<'a>]) {
        match path {
            [] => {}
            [last] => {
                if let Err(at) = self.members.binary_search(last) {
                    self.members.insert(at, last.clone());
                }
            }
            [first, rest @ ..] => {
                let at = match self.children.binary_search_by(|(e, _)| e.cmp(first)) {
                    Ok(at) => at,
                    Err(at) => {
                        self.children.insert(at, (first.clone(), Self::default()));
                        at
                    }
                };
                self.children[at].1.insert(rest);
            }
        }
    }

    pub fn has(&self, path: &[Element<'_>]) -> bool {
        match path {
            [] => false,
            [last] => self.has_member(last),
            [first, rest @ ..] => self.child(first).is_some_and(|c| c.has(rest)),
        }
    }

    pub(super) fn has_member(&self, e: &Element<'_>) -> bool {
        self.members.binary_search_by(|m| m.cmp(e)).is_ok()
    }

    pub(super) fn child(&self, e: &Element<'_>) -> Option<&Set<'a>> {
        self.children.binary_search_by(|(c, _)| c.cmp(e)).ok().map(|i| &self.children[i].1)
    }

    /// Puts together what was built out of order (items of keyed lists).
    pub(super) fn sort(&mut self) {
        if !self.members.is_sorted() {
            self.members.sort();
        }
        self.members.dedup();
        if !self.children.is_sorted_by(|a, b| a.0 <= b.0) {
            self.children.sort_by(|a, b| a.0.cmp(&b.0));
        }
    }

    /// Every path of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = Self {
            members: Vec::with_capacity(self.members.len() + other.members.len()),
            children: Vec::new(),
        };
        zip(&self.members, &other.members, Ord::cmp, |a, b| out.members.extend(a.or(b).cloned()));
        zip(
            &self.children,
            &other.children,
            |a, b| a.0.cmp(&b.0),
            |a, b| match (a, b) {
                (Some(a), Some(b)) => out.children.push((a.0.clone(), a.1.union(&b.1))),
                (a, b) => out.children.extend(a.or(b).cloned()),
            },
        );
        out
    }

    /// The paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Set<'_>) -> Self {
        let mut out = Self::default();
        zip(
            &self.members,
            &other.members,
            |a, b| a.cmp(b),
            |a, b| {
                if let (Some(a), Some(_)) = (a, b) {
                    out.members.push(a.clone());
                }
            },
        );
        zip(
            &self.children,
            &other.children,
            |a, b| a.0.cmp(&b.0),
            |a, b| {
                if let (Some(a), Some(b)) = (a, b) {
                    let both = a.1.intersection(&b.1);
                    if !both.is_empty() {
                        out.children.push((a.0.clone(), both));
                    }
                }
            },
        );
        out
    }

    /// Whether any path is in both.
    pub fn intersects(&self, other: &Set<'_>) -> bool {
        let mut any = false;
        zip(&self.members, &other.members, |a, b| a.cmp(b), |a, b| any |= a.is_some() && b.is_some());
        if any {
            return true;
        }
        zip(
            &self.children,
            &other.children,
            |a, b| a.0.cmp(&b.0),
            |a, b| {
                if let (Some(a), Some(b)) = (a, b) {
                    any = any || a.1.intersects(&b.1);
                }
            },
        );
        any
    }

    /// The paths here that are not in the other.
    #[must_use]
    pub fn difference(&self, other: &Set<'_>) -> Self {
        self.minus(other, false)
    }

    /// The paths here that are neither in the other nor below a path in the other.
    #[must_use]
    pub fn recursive_difference(&self, other: &Set<'_>) -> Self {
        self.minus(other, true)
    }

    fn minus(&self, other: &Set<'_>, recursive: bool) -> Self {
        let mut out = Self::default();
        zip(
            &self.members,
            &other.members,
            |a, b| a.cmp(b),
            |a, b| {
                if let (Some(a), None) = (a, b) {
                    out.members.push(a.clone());
                }
            },
        );
        zip(
            &self.children,
            &other.children,
            |a, b| a.0.cmp(&b.0),
            |a, b| {
                let Some((e, set)) = a else { return };
                if recursive && other.has_member(e) {
                    return;
                }
                match b {
                    None => out.children.push((e.clone(), set.clone())),
                    Some(b) => {
                        let rest = set.minus(&b.1, recursive);
                        if !rest.is_empty() {
                            out.children.push((e.clone(), rest));
                        }
                    }
                }
            },
        );
        out
    }

    /// Takes the paths of another, small set out of this one, and what is below them too where `recursive`.
    /// Costs by the size of the other.
    pub fn subtract(&mut self, other: &Set<'_>, recursive: bool) {
        for m in &other.members {
            if let Ok(at) = self.members.binary_search_by(|e| e.cmp(m)) {
                self.members.remove(at);
            }
            if recursive && let Ok(at) = self.children.binary_search_by(|(e, _)| e.cmp(m)) {
                self.children.remove(at);
            }
        }
        for (e, below) in &other.children {
            if let Ok(at) = self.children.binary_search_by(|(c, _)| c.cmp(e)) {
                self.children[at].1.subtract(below, recursive);
                if self.children[at].1.is_empty() {
                    self.children.remove(at);
                }
            }
        }
    }

    /// Calls with every path, members before what is below them.
    pub fn each(&self, mut f: impl FnMut(&[Element<'a>])) {
        fn walk<'a>(s: &Set<'a>, at: &mut Path<'a>, f: &mut dyn FnMut(&[Element<'a>])) {
            for m in &s.members {
                at.push(m.clone());
                f(at);
                at.pop();
            }
            for (e, c) in &s.children {
                at.push(e.clone());
                walk(c, at, f);
                at.pop();
            }
        }
        walk(self, &mut Vec::new(), &mut f);
    }

    /// Adds every struct field that has paths below it as a path of its own.
    #[must_use]
    pub(super) fn with_named_fields(&self, schema: Option<Schema<'_>>) -> Self {
        let mut out = self.clone();
        out.children.clear();
        for (e, child) in &self.children {
            let below = match e {
                Element::Field(name) => {
                    if schema.is_some_and(|s| s.field_decl(name).is_some())
                        && let Err(at) = out.members.binary_search(e)
                    {
                        out.members.insert(at, e.clone());
                    }
                    schema.and_then(|s| s.child(name))
                }
                Element::Key(_) => schema.and_then(Schema::items),
                _ => None,
            };
            out.children.push((e.clone(), child.with_named_fields(below)));
        }
        out
    }

    /// Turns paths below places that are atomic in the schema into those places; `None` where there are none.
    pub(super) fn reconciled(&self, schema: Schema<'_>) -> Option<Self> {
        let mut out: Option<Self> = None;
        for (e, child) in &self.children {
            let below = match e {
                Element::Field(name) => schema.child(name),
                _ => schema.items(),
            };
            let Some(below) = below else { continue };
            if super::walk::is_atomic(below) {
                let out = out.get_or_insert_with(|| self.clone());
                out.children.retain(|(c, _)| c != e);
                if let Err(at) = out.members.binary_search(e) {
                    out.members.insert(at, e.clone());
                }
            } else if let Some(changed) = child.reconciled(below) {
                let out = out.get_or_insert_with(|| self.clone());
                if let Some(slot) = out.children.iter_mut().find(|(c, _)| c == e) {
                    slot.1 = changed;
                }
            }
        }
        out
    }

    /// Reads `fieldsV1`.
    ///
    /// # Errors
    /// Says which key is malformed.
    pub fn parse(fields: &'a Value) -> Result<Self, String> {
        let Value::Object(map) = fields else { return Ok(Self::default()) };
        let mut out = Self::default();
        let mut sorted = true;
        for (key, below) in map {
            if key == "." {
                continue;
            }
            let Some(e) = Element::parse(key)? else { continue };
            let inner = Self::parse(below)?;
            let alone = inner.is_empty();
            if alone || below.get(".").is_some() {
                sorted &= out.members.last().is_none_or(|l| *l < e);
                out.members.push(e.clone());
            }
            if !alone {
                sorted &= out.children.last().is_none_or(|(l, _)| *l < e);
                out.children.push((e, inner));
            }
        }
        if !sorted {
            out.sort();
        }
        Ok(out)
    }

    /// The `fieldsV1` tree. Keys of one object stand in the order the map keeps, not necessarily upstream's;
    /// [`Set::to_json`] writes upstream's bytes.
    pub fn to_value(&self) -> Value {
        self.value(false)
    }

    fn value(&self, dot: bool) -> Value {
        let mut map = Map::new();
        if dot {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        let mut key = String::new();
        self.each_entry(|e, member, below| {
            key.clear();
            e.write(&mut key);
            let value = below.map_or_else(|| Value::Object(Map::new()), |b| b.value(member));
            map.insert(key.as_str().to_owned(), value);
        });
        Value::Object(map)
    }

    fn each_entry(&self, mut f: impl FnMut(&Element<'a>, bool, Option<&Set<'a>>)) {
        zip(
            &self.members,
            &self.children,
            |m, c| m.cmp(&c.0),
            |m, c| match (m, c) {
                (Some(m), None) => f(m, true, None),
                (m, Some(c)) => f(&c.0, m.is_some(), Some(&c.1)),
                (None, None) => {}
            },
        );
    }

    /// `fieldsV1` as upstream's bytes.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(64 + 24 * self.len());
        self.write_json(false, &mut out);
        out
    }

    fn write_json(&self, dot: bool, out: &mut String) {
        out.push('{');
        let mut first = !dot;
        if dot {
            out.push_str("\".\":{}");
        }
        let mut key = String::new();
        self.each_entry(|e, member, below| {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            key.clear();
            e.write(&mut key);
            super::element::write_string(&key, out);
            out.push(':');
            match below {
                None => out.push_str("{}"),
                Some(b) => b.write_json(member, out),
            }
        });
        out.push('}');
    }
}
