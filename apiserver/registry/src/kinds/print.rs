//! Pieces of Table cells, printed as upstream prints them.

use super::prelude::*;
use std::collections::BTreeMap;

/// How long ago, in kubectl's words; `<unknown>` without a time.
pub fn age(since: Option<&Time>, now: Timestamp) -> String {
    since.map_or_else(|| "<unknown>".to_owned(), |t| ago(t.0, now))
}

pub fn micro_age(since: Option<&MicroTime>, now: Timestamp) -> String {
    since.map_or_else(|| "<unknown>".to_owned(), |t| ago(t.0, now))
}

pub fn ago(then: Timestamp, now: Timestamp) -> String {
    human_duration(now.as_millisecond() - then.as_millisecond())
}

/// A duration in milliseconds with two units of precision at most, fewer the longer it is.
pub fn human_duration(millis: i64) -> String {
    let seconds = millis / 1000;
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |a: i64, ua: char, b: i64, ub: char| {
        if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") }
    };
    match (minutes, hours) {
        (m, _) if m < 2 => format!("{seconds}s"),
        (m, _) if m < 10 => two(m, 'm', seconds % 60, 's'),
        (m, _) if m < 180 => format!("{m}m"),
        (m, h) if h < 8 => two(h, 'h', m % 60, 'm'),
        (_, h) if h < 48 => format!("{h}h"),
        (_, h) if h < 192 => two(h / 24, 'd', h % 24, 'h'),
        (_, h) if h < 24 * 365 * 2 => format!("{}d", h / 24),
        (_, h) if h < 24 * 365 * 8 => two(h / 24 / 365, 'y', (h / 24) % 365, 'd'),
        (_, h) => format!("{}y", h / 24 / 365),
    }
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    match labels {
        Some(map) if !map.is_empty() => {
            map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
        }
        _ => "<none>".to_owned(),
    }
}

/// A label selector as its one-line form; `None` where it cannot be read as one.
pub fn selector_terms(selector: &LabelSelector) -> Option<String> {
    let mut terms: Vec<(String, String)> = Vec::new();
    for (k, v) in selector.match_labels.iter().flatten() {
        terms.push((k.clone(), format!("{k}={v}")));
    }
    for e in list(&selector.match_expressions) {
        let mut values = list(&e.values).to_vec();
        values.sort();
        let joined = values.join(",");
        let k = &e.key;
        let term = match e.operator.as_str() {
            "In" => format!("{k} in ({joined})"),
            "NotIn" => format!("{k} notin ({joined})"),
            "Exists" => k.clone(),
            "DoesNotExist" => format!("!{k}"),
            _ => return None,
        };
        terms.push((k.clone(), term));
    }
    terms.sort_by(|a, b| a.0.cmp(&b.0));
    Some(terms.into_iter().map(|(_, t)| t).collect::<Vec<_>>().join(","))
}

/// As [`selector_terms`], `<none>` when empty and `<error>` when unreadable.
pub fn selector(selector: Option<&LabelSelector>) -> String {
    match selector.map(selector_terms) {
        None => "<none>".to_owned(),
        Some(None) => "<error>".to_owned(),
        Some(Some(s)) if s.is_empty() => "<none>".to_owned(),
        Some(Some(s)) => s,
    }
}

/// The first three of a list and how many more there are; `<unset>` when empty.
pub fn first_three(items: &[String]) -> String {
    if items.is_empty() {
        return "<unset>".to_owned();
    }
    let shown = items[..items.len().min(3)].join(",");
    if items.len() > 3 { format!("{shown} + {} more...", items.len() - 3) } else { shown }
}

pub fn name(meta: &ObjectMeta) -> Cell {
    text(&meta.name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        let check = |seconds: i64, want: &str| assert_eq!(human_duration(seconds * 1000), want);
        check(-2, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(600, "10m");
        check(179 * 60, "179m");
        check(180 * 60, "3h");
        check(190 * 60, "3h10m");
        check(8 * 3600, "8h");
        check(47 * 3600, "47h");
        check(48 * 3600, "2d");
        check(50 * 3600, "2d2h");
        check(8 * 86400, "8d");
        check(729 * 86400, "729d");
        check(730 * 86400, "2y");
        check(740 * 86400, "2y10d");
        check(3650 * 86400, "10y");
    }
}
