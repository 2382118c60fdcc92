//! Labels whose keys and values are shared among all who carry them.

use gantry_machinery::selector::Labels;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Sorted pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSet(Box<[(Arc<str>, Arc<str>)]>);

impl LabelSet {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*self.0[at].1)
    }

    /// The value itself, to be shared on.
    pub fn shared(&self, key: &str) -> Option<&Arc<str>> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of `wanted` are among these.
    pub fn contains(&self, wanted: &Self) -> bool {
        wanted.iter().all(|(k, v)| self.get(k) == Some(v))
    }
}

impl Labels for LabelSet {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

/// One copy of each text. What nobody uses any more goes when the pool has doubled.
#[derive(Default)]
pub struct Pool {
    texts: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Pool {
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        if self.texts.len() >= self.sweep_at.max(1024) {
            self.texts.retain(|t| Arc::strong_count(t) > 1);
            self.sweep_at = self.texts.len() * 2;
        }
        let fresh: Arc<str> = text.into();
        self.texts.insert(fresh.clone());
        fresh
    }

    pub fn labels(&mut self, map: Option<&BTreeMap<String, String>>) -> LabelSet {
        LabelSet(map.into_iter().flatten().map(|(k, v)| (self.text(k), self.text(v))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shared_and_swept() {
        let mut pool = Pool::default();
        let kept = pool.text("kept");
        assert!(Arc::ptr_eq(&kept, &pool.text("kept")));
        for i in 0..5000 {
            pool.text(&i.to_string());
        }
        assert!(pool.texts.len() < 3000 && pool.texts.contains("kept"), "{}", pool.texts.len());
        let map: BTreeMap<String, String> =
            [("b", "2"), ("a", "1")].map(|(k, v)| (k.into(), v.into())).into();
        let set = pool.labels(Some(&map));
        assert_eq!((set.get("a"), set.get("b"), set.get("c")), (Some("1"), Some("2"), None));
        assert!(set.contains(&LabelSet::default()) && !LabelSet::default().contains(&set));
    }
}
