//! Texts with a form of their own: base64, times, quantities, numbers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gantry_types::quantity::Quantity;
use gantry_types::time;
use serde_json::{Number, Value};

/// Go's time of nothing, which prints as null.
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A `Time` in canonical form; `Value::Null` for Go's zero time.
///
/// # Errors
/// In the words of Go's `time` package.
pub fn time(text: &str) -> Result<Value, String> {
    if text == ZERO_TIME {
        return Ok(Value::Null);
    }
    let t = time::parse_rfc3339(text).map_err(|e| e.to_string())?;
    Ok(time::rfc3339(t).into())
}

/// A `MicroTime` in canonical form: exactly six digits of a second.
///
/// # Errors
/// In the words of Go's `time` package.
pub fn micro_time(text: &str) -> Result<Value, String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let fail = |rest: &str, expected: &str| {
        Err(format!("parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {expected:?}"))
    };
    // Everything but the fraction is as in RFC 3339; the fraction must have six digits.
    let whole = text.len() >= 19
        && text.is_char_boundary(19)
        && time::parse_rfc3339(&format!("{}Z", &text[..19])).is_ok();
    if whole {
        let rest = &text[19..];
        let fraction = rest.as_bytes().get(..7);
        let sound = |f: &[u8]| matches!(f[0], b'.' | b',') && f[1..].iter().all(u8::is_ascii_digit);
        if !fraction.is_some_and(sound) {
            return fail(rest, ".000000");
        }
        let zone = &rest[7..];
        if zone.starts_with(|c: char| c.is_ascii_digit()) {
            return fail(zone, "Z07:00");
        }
    }
    match time::parse_rfc3339(text) {
        Ok(t) => Ok(time::rfc3339_micro(t).into()),
        Err(e) => Err(e.to_string().replacen("2006-01-02T15:04:05Z07:00", LAYOUT, 1)),
    }
}

/// A duration as Go prints it.
///
/// # Errors
/// In the words of Go's `time` package.
pub fn duration(text: &str) -> Result<Value, String> {
    text.parse::<time::Duration>().map(|d| d.to_string().into()).map_err(|e| e.to_string())
}

/// A quantity in canonical form.
///
/// # Errors
/// In upstream's words.
pub fn quantity(text: &str) -> Result<Value, String> {
    text.parse::<Quantity>().map(|q| q.to_string().into()).map_err(|e| e.to_string())
}

/// Base64 text in canonical form. Line breaks are skipped, as in Go.
///
/// # Errors
/// In the words of Go's `encoding/base64`.
pub fn base64(text: &str) -> Result<Value, String> {
    let fail = |at: usize| Err(format!("illegal base64 data at input byte {at}"));
    let clean: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, c)| !matches!(c, b'\r' | b'\n')).collect();
    let bytes: Vec<u8> = clean.iter().map(|(_, c)| *c).collect();
    if let Ok(raw) = STANDARD.decode(&bytes) {
        return Ok(STANDARD.encode(raw).into());
    }
    // Go names the first bad character, or the end of the input where characters are missing.
    let is_char = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'/';
    match clean.iter().enumerate().find(|(_, (_, c))| !is_char(*c)) {
        Some((i, (at, b'='))) if i % 4 >= 2 => {
            // Padding: what follows must be the rest of the group and nothing more.
            let want = 4 - i % 4;
            let tail = &clean[i..];
            match tail.iter().position(|(_, c)| *c != b'=') {
                None if tail.len() < want => fail(text.len()),
                None if tail.len() > want => fail(tail[want].0),
                Some(p) if p >= want => fail(tail[want].0),
                _ => fail(*at),
            }
        }
        Some((_, (at, _))) => fail(*at),
        None => fail(text.len() - clean.len() % 4),
    }
}

/// A number of no particular type: an integer where it is one of 64 bits, a float otherwise.
pub fn number(text: &str) -> Option<Value> {
    if !text.contains(['.', 'e', 'E'])
        && let Ok(i) = text.parse::<i64>()
    {
        return Some(i.into());
    }
    let f: f64 = text.parse().ok()?;
    Number::from_f64(f).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_refused_as_upstream_does() {
        let ok = |r: Result<Value, String>, want: &str| assert_eq!(r, Ok(Value::from(want)));
        ok(time("2020-01-01T00:00:00.5+01:00"), "2019-12-31T23:00:00Z");
        ok(micro_time("2020-01-01T00:00:00.500000+01:00"), "2019-12-31T23:00:00.500000Z");
        ok(quantity("1000m"), "1");
        ok(quantity("0.5Gi"), "512Mi");
        ok(base64("YQ=="), "YQ==");
        ok(base64("Y\nQ=="), "YQ==");
        ok(duration("90s"), "1m30s");
        let no = |r: Result<Value, String>, want: &str| assert_eq!(r, Err(want.into()));
        no(
            micro_time("2020-01-01T00:00:00.5+01:00"),
            r#"parsing time "2020-01-01T00:00:00.5+01:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse ".5+01:00" as ".000000""#,
        );
        no(
            micro_time("2020"),
            r#"parsing time "2020" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "" as "-""#,
        );
        no(base64("&&"), "illegal base64 data at input byte 0");
        no(base64("YQ="), "illegal base64 data at input byte 3");
        no(base64("YQ=a"), "illegal base64 data at input byte 2");
        no(
            quantity(""),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
        no(base64("YQ"), "illegal base64 data at input byte 0");
    }
}
