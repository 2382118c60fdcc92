//! Sets of completion indexes, in the text the status keeps them in: `0-3,5,7,8`.

use std::fmt;

/// A completion index of an indexed job.
pub(super) type Index = u32;

/// A set of indexes as intervals, both ends included: ordered and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(Index, Index)>);

impl Indexes {
    /// Reads the text form. Indexes from `completions` on are left out, as is what cannot be read.
    pub(super) fn parse(text: &str, completions: Index) -> Self {
        let mut found = Self::default();
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let mut ends = part.split('-');
            let Some(Ok(first)) = ends.next().map(str::parse::<Index>) else { continue };
            if first >= completions {
                break;
            }
            let last = match ends.next().map(str::parse::<Index>) {
                None => first,
                Some(Ok(last)) => last.min(completions - 1),
                Some(Err(_)) => continue,
            };
            match found.0.last_mut() {
                Some(before) if before.1.checked_add(1) == Some(first) => before.1 = last,
                _ => found.0.push((first, last)),
            }
        }
        found
    }

    /// The set with more indexes in it; `more` may come in any order.
    pub(super) fn with(&self, more: impl IntoIterator<Item = Index>) -> Self {
        let mut more: Vec<_> = more.into_iter().map(|i| (i, i)).collect();
        more.sort_unstable();
        self.union(&Self(more))
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_by_key(|(first, _)| *first);
        let mut merged: Vec<(Index, Index)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    pub(super) fn has(&self, index: Index) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= index);
        after > 0 && self.0[after - 1].1 >= index
    }

    /// How many indexes there are.
    pub(super) fn total(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indexes are in both.
    pub(super) fn common(&self, other: &Self) -> u32 {
        let (mut a, mut b, mut count) = (0, 0, 0);
        while let (Some(x), Some(y)) = (self.0.get(a), other.0.get(b)) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                count += last - first + 1;
            }
            if x.1 <= y.1 {
                a += 1;
            }
            if y.1 <= x.1 {
                b += 1;
            }
        }
        count
    }

    /// The lowest `count` indexes below `completions` that are not in the set.
    pub(super) fn missing(&self, count: usize, completions: Index) -> Vec<Index> {
        let ends = self.0.iter().map(|(first, last)| (*first, last.saturating_add(1)));
        let mut from = 0;
        let mut gaps = Vec::new();
        for (first, after) in ends.chain([(completions, completions)]) {
            gaps.push(from..first.min(completions));
            from = from.max(after);
        }
        gaps.into_iter().flatten().take(count).collect()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (first, last)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_in_shortest_form() {
        let check = |text: &str, completions: u32, expected: &str, total: u32| {
            let found = Indexes::parse(text, completions);
            assert_eq!((found.to_string().as_str(), found.total()), (expected, total), "{text:?}");
        };
        check("", 5, "", 0);
        check("0-2,3,5", 10, "0-3,5", 5);
        check("0,1", 10, "0,1", 2);
        check("1-8", 4, "1-3", 3);
        check("0,7-9", 7, "0", 1);
        check("x,2,4-y,6", 10, "2,6", 2);
    }

    #[test]
    fn sets_are_added_intersected_and_searched() {
        let set = Indexes::parse("1-3,7", 10);
        assert_eq!(set.with([4, 9, 0]).to_string(), "0-4,7,9");
        assert_eq!(set.with([]).to_string(), "1-3,7");
        assert_eq!(set.union(&Indexes::parse("2-8", 10)).to_string(), "1-8");
        for (index, expected) in [(0, false), (1, true), (3, true), (4, false), (7, true), (8, false)] {
            assert_eq!(set.has(index), expected, "{index}");
        }
        assert_eq!(set.common(&Indexes::parse("0-1,3,6-9", 10)), 3);
        assert_eq!(set.common(&Indexes::default()), 0);
    }

    #[test]
    fn missing_indexes_are_the_lowest() {
        let set = Indexes::parse("1-3,7", 10);
        assert_eq!(set.missing(4, 10), [0, 4, 5, 6]);
        assert_eq!(set.missing(99, 9), [0, 4, 5, 6, 8]);
        assert_eq!(set.missing(99, 3), [0]);
        assert_eq!(Indexes::default().missing(2, 10), [0, 1]);
        assert_eq!(set.missing(0, 10), Vec::<Index>::new());
    }
}
