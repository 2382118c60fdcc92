//! `--sort-by`: numbers by value, texts with their numbers by value.

use super::template;
use crate::error::Result;
use gantry_machinery::path::{JsonPath, Node};
use gantry_types::quantity::Quantity;
use std::cmp::Ordering;

/// A parsed `--sort-by`.
pub struct SortBy(JsonPath);

impl SortBy {
    /// # Errors
    /// Where it is no path.
    pub fn parse(text: &str) -> Result<Self> {
        template::relaxed(text).map(Self)
    }

    /// Sorts, keeping the order of equals; what has no such field goes first.
    pub fn sort<T>(&self, items: &mut [T], node: impl Fn(&T) -> &Node) {
        items.sort_by(|a, b| compare(self.0.first(node(a)), self.0.first(node(b))));
    }
}

fn compare(a: Option<&Node>, b: Option<&Node>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(Node::Number(a)), Some(Node::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Node::String(a)), Some(Node::String(b))) => {
            match (a.parse::<Quantity>(), b.parse::<Quantity>()) {
                (Ok(x), Ok(y)) => x.as_f64().partial_cmp(&y.as_f64()).unwrap_or(Ordering::Equal),
                _ => natural(a, b),
            }
        }
        (Some(a), Some(b)) => template::show(a).cmp(&template::show(b)),
    }
}

/// `a2` before `a10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
        let (p, q) = (digits(x), digits(y));
        if p > 0 && q > 0 {
            let (m, n) = (x[..p].trim_start_matches('0'), y[..q].trim_start_matches('0'));
            let order = m.len().cmp(&n.len()).then_with(|| m.cmp(n));
            if order != Ordering::Equal {
                return order;
            }
            (x, y) = (&x[p..], &y[q..]);
            continue;
        }
        match (x.chars().next(), y.chars().next()) {
            (Some(c), Some(d)) if c == d => (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]),
            (c, d) => return c.cmp(&d),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_with_their_numbers() {
        let mut names = vec!["pod-10", "pod-9", "a", "pod-010x"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a", "pod-9", "pod-10", "pod-010x"]);
    }
}
