//! Takes out of an answer what differs from one run to the next.

use serde_json::Value;

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` at the start of `text`: its length.
fn uid(text: &[u8]) -> Option<usize> {
    let fits = |(i, b): (usize, &u8)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_digit() || (b'a'..=b'f').contains(b),
    };
    (text.len() >= 36 && text[..36].iter().enumerate().all(fits)).then_some(36)
}

/// A time of RFC 3339 in UTC.
fn time(text: &[u8]) -> Option<usize> {
    let fits = |(b, p): (&u8, &u8)| if *p == b'0' { b.is_ascii_digit() } else { b == p };
    let pattern = b"0000-00-00T00:00:00";
    if text.len() < 20 || !text.iter().zip(pattern).all(fits) {
        return None;
    }
    let mut end = pattern.len();
    if text[end] == b'.' {
        end += 1 + text[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    (text.get(end) == Some(&b'Z')).then_some(end + 1)
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// An address of the service range, 10.96.0.0/16.
fn address(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"10.96.")?;
    let third = digits(rest);
    let fourth = digits(rest.get(third..)?.strip_prefix(b".")?);
    (third > 0 && fourth > 0).then_some(7 + third + fourth)
}

fn current(text: &[u8]) -> Option<usize> {
    let count = digits(text.strip_prefix(b"current: ")?);
    (count > 0).then_some(9 + count)
}

/// The volume a pod's token is mounted from, named at random.
fn token_volume(text: &[u8]) -> Option<usize> {
    let rest = text.strip_prefix(b"kube-api-access-")?;
    (rest.len() >= 5 && rest[..5].iter().all(u8::is_ascii_alphanumeric)).then_some(21)
}

/// A whole object in an error's value: upstream prints it in its own order.
fn object(text: &[u8]) -> Option<usize> {
    let start = b"Invalid value: \"{";
    let end = b"}\": ";
    text.starts_with(start).then_some(())?;
    (start.len()..text.len() - end.len()).rev().find(|i| text[*i..].starts_with(end)).map(|i| i + 2)
}

/// A text with identities, times, allocated addresses and revisions masked.
pub fn text(text: &str) -> String {
    let rules: [(fn(&[u8]) -> Option<usize>, &str); 6] = [
        (object, "Invalid value: \"<object>\""),
        (uid, "<uid>"),
        (time, "<time>"),
        (address, "<ip>"),
        (current, "current: <rv>"),
        (token_volume, "kube-api-access-<x>"),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    'next: while let Some(c) = rest.chars().next() {
        for (rule, mask) in rules {
            if let Some(length) = rule(rest.as_bytes()) {
                out.push_str(mask);
                rest = &rest[length..];
                continue 'next;
            }
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// A value with everything volatile masked; `key` is the field it is in.
pub fn value(value: &Value, key: &str) -> Value {
    let masked = |to: &str| Value::String(to.to_owned());
    match (value, key) {
        // Prose, which is not ours to keep.
        (Value::Object(map), "columnDefinitions") => map
            .iter()
            .filter(|(k, _)| *k != "description")
            .map(|(k, v)| (k.clone(), self::value(v, k)))
            .collect(),
        (Value::Object(map), _) => map.iter().map(|(k, v)| (k.clone(), self::value(v, k))).collect(),
        (Value::Array(items), "causes") => {
            // Kubernetes walks maps in any order.
            let mut items: Vec<Value> = items.iter().map(|v| self::value(v, key)).collect();
            items.sort_by_key(ToString::to_string);
            Value::Array(items)
        }
        (Value::Array(items), _) => items.iter().map(|v| self::value(v, key)).collect(),
        (Value::String(s), "resourceVersion") if !s.is_empty() && s != "0" => masked("<rv>"),
        (Value::String(s), "continue") if !s.is_empty() => masked("<continue>"),
        (Value::String(_), "token") => masked("<token>"),
        (Value::String(s), "cells") if s.strip_suffix('s').is_some_and(|n| n.parse::<u8>().is_ok()) => {
            masked("<age>")
        }
        (Value::Number(_), "nodePort" | "healthCheckNodePort") => masked("<port>"),
        (Value::String(s), _) => Value::String(text(s)),
        (other, _) => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn volatile_parts_are_masked() {
        let check = |input: &str, expected: &str| assert_eq!(super::text(input), expected);
        check("UID: 11111111-2222-3333-4444-55555555555f, x", "UID: <uid>, x");
        check("at 2020-01-02T03:04:05Z and 2020-01-02T03:04:05.678Z.", "at <time> and <time>.");
        check("10.96.1.255 is not 10.9.6.1", "<ip> is not 10.9.6.1");
        check("Too large resource version: 5, current: 17", "Too large resource version: 5, current: <rv>");
    }
}
