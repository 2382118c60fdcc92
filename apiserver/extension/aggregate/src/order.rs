//! The order of groups and of versions inside them.

use std::cmp::Ordering;

/// How mature a version is: `v1` before `v1beta1` before `v1alpha1`, other names last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha,
    Beta,
    Stable,
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits && !text.starts_with('0') { text.parse().ok() } else { None }
}

fn parse(version: &str) -> Option<(Stage, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = (number(&rest[..end])?, &rest[end..]);
    if rest.is_empty() {
        return Some((Stage::Stable, major, 0));
    }
    if let Some(minor) = rest.strip_prefix("beta") {
        return Some((Stage::Beta, major, number(minor)?));
    }
    Some((Stage::Alpha, major, number(rest.strip_prefix("alpha")?)?))
}

/// Compares version names; the greater one comes first in lists. Names of another form are less than all
/// others, and greater the earlier they are in the alphabet.
pub fn versions(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Some(x), Some(y)) => x.cmp(&y),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => b.cmp(a),
    }
}

/// One group version in discovery, with its priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub group_priority: i32,
    pub version_priority: i32,
}

/// Groups with their versions, first to last. The highest priority any of its versions gives is the group's;
/// equals stand in the order of APIService names. The preferred version is the first.
pub fn groups<'a>(entries: &[Entry<'a>]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut sorted = entries.to_vec();
    // An APIService's name is its version, a dot and its group.
    let name = |e: &Entry<'_>| format!("{}.{}", e.version, e.group);
    sorted.sort_by(|a, b| b.group_priority.cmp(&a.group_priority).then_with(|| name(a).cmp(&name(b))));
    let mut out: Vec<(&str, Vec<Entry<'_>>)> = Vec::new();
    for entry in sorted {
        match out.iter_mut().find(|(group, _)| *group == entry.group) {
            Some((_, versions)) => versions.push(entry),
            None => out.push((entry.group, vec![entry])),
        }
    }
    out.into_iter()
        .map(|(group, mut all)| {
            all.sort_by(|a, b| {
                let by_name = || versions(b.version, a.version);
                b.version_priority.cmp(&a.version_priority).then_with(by_name)
            });
            (group, all.into_iter().map(|e| e.version).collect())
        })
        .collect()
}
