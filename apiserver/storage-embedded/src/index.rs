//! Which key had which version when, in memory. Values are on disk.

use gantry_storage::Revision;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// One version of a key. A deletion has `created` 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub modified: Revision,
    pub created: Revision,
}

#[derive(Debug)]
struct Versions {
    newest: Version,
    /// Oldest first.
    older: Vec<Version>,
}

/// Some 100 bytes a key, whatever the size of its value.
#[derive(Debug, Default)]
pub struct Index {
    keys: BTreeMap<Arc<str>, Versions>,
    /// The newest revision taken in.
    pub revision: Revision,
    /// History up to here is forgotten.
    pub compacted: Revision,
}

impl Index {
    /// The key's version now; `None` when it does not exist.
    pub fn newest(&self, key: &str) -> Option<(&Arc<str>, Version)> {
        let (key, versions) = self.keys.get_key_value(key)?;
        (versions.newest.created != 0).then_some((key, versions.newest))
    }

    /// Takes a change in. Revisions only grow.
    pub fn apply(&mut self, key: &str, version: Version) -> Arc<str> {
        self.revision = self.revision.max(version.modified);
        if let Some((shared, _)) = self.keys.get_key_value(key) {
            let shared = shared.clone();
            if let Some(versions) = self.keys.get_mut(key) {
                versions.older.push(std::mem::replace(&mut versions.newest, version));
            }
            return shared;
        }
        let shared: Arc<str> = key.into();
        self.keys.insert(shared.clone(), Versions { newest: version, older: Vec::new() });
        shared
    }

    /// The keys of `[start, end)` that exist at `revision`, in order.
    pub fn range<'a>(
        &'a self,
        start: &'a str,
        end: &'a str,
        revision: Revision,
    ) -> impl Iterator<Item = (&'a Arc<str>, Version)> {
        // An empty range would panic in the map.
        let end = if end > start { end } else { start };
        self.keys.range::<str, _>((Bound::Included(start), Bound::Excluded(end))).filter_map(
            move |(key, v)| {
                let version = if v.newest.modified <= revision {
                    v.newest
                } else {
                    *v.older.iter().rev().find(|o| o.modified <= revision)?
                };
                (version.created != 0).then_some((key, version))
            },
        )
    }

    /// The version of a key just before `revision`, and the key itself.
    pub fn before(&self, key: &str, revision: Revision) -> Option<(&Arc<str>, Option<Version>)> {
        let (key, v) = self.keys.get_key_value(key)?;
        let version = v.older.iter().rev().chain([&v.newest]).find(|o| o.modified < revision);
        Some((key, version.copied()))
    }

    /// Forgets what no read at or after `revision` can ask for. Answers the revisions to remove from disk.
    pub fn compact(&mut self, revision: Revision) -> Vec<Revision> {
        let mut gone = Vec::new();
        self.compacted = self.compacted.max(revision);
        self.keys.retain(|_, v| {
            if !v.older.is_empty() {
                // Of the versions up to `revision` only the last can be asked for, unless it is a deletion.
                let next = |i: usize, older: &[Version]| older.get(i + 1).unwrap_or(&v.newest).modified;
                let kept = (0..v.older.len()).find(|i| {
                    next(*i, &v.older) > revision
                        && !(v.older[*i].created == 0 && v.older[*i].modified <= revision)
                });
                gone.extend(v.older.drain(..kept.unwrap_or(v.older.len())).map(|o| o.modified));
                v.older.shrink_to_fit();
            }
            let dead = v.newest.created == 0 && v.newest.modified <= revision;
            if dead {
                gone.push(v.newest.modified);
            }
            !dead
        });
        gone.sort_unstable();
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_compaction() {
        let mut index = Index::default();
        for (key, modified, created) in
            [("a", 1, 1), ("b", 2, 2), ("a", 3, 1), ("b", 4, 0), ("b", 5, 5), ("c", 6, 6), ("c", 7, 0)]
        {
            index.apply(key, Version { modified, created });
        }
        let at = |index: &Index, revision| {
            index
                .range("a", "z", revision)
                .map(|(k, v)| format!("{k}{}", v.modified))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let all = ["a1", "a1 b2", "a3 b2", "a3", "a3 b5", "a3 b5 c6", "a3 b5"];
        for (revision, expected) in (1..).zip(all) {
            assert_eq!(at(&index, revision), expected, "{revision}");
        }
        assert_eq!(index.compact(4), [1, 2, 4]);
        for (revision, expected) in (4..).zip(&all[3..]) {
            assert_eq!(at(&index, revision), *expected, "{revision}");
        }
        assert_eq!(index.compact(7), [6, 7]);
        assert_eq!((at(&index, 7).as_str(), index.compacted, index.revision), ("a3 b5", 7, 7));
        assert_eq!(index.newest("b").map(|(_, v)| v), Some(Version { modified: 5, created: 5 }));
        assert_eq!(index.newest("c"), None);
        assert_eq!(index.range("z", "a", 7).count(), 0);
    }
}
