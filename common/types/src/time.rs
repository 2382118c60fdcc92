//! Times, durations and ages as the API and kubectl print them. No clock: `now` is always an argument.

use jiff::Timestamp;
use std::fmt;
use std::str::FromStr;

/// `2006-01-02T15:04:05Z`, as every `Time` field holds it; fractions are cut.
pub fn rfc3339(t: Timestamp) -> String {
    format(t, None)
}

/// `2006-01-02T15:04:05.000000Z`, as `MicroTime` fields hold it.
pub fn rfc3339_micro(t: Timestamp) -> String {
    format(t, Some(6))
}

fn format(t: Timestamp, precision: Option<u8>) -> String {
    let t = jiff::tz::Offset::UTC.to_datetime(t);
    let mut out = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    );
    if precision == Some(6) {
        out.push_str(&format!(".{:06}", t.subsec_nanosecond() / 1000));
    }
    out.push('Z');
    out
}

/// A text that is not an RFC 3339 time, in the words of Go's `time` package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as {}",
    crate::field::go_quote(text),
    crate::field::go_quote(rest),
    crate::field::go_quote(expected)
)]
pub struct TimeError {
    text: String,
    rest: String,
    expected: &'static str,
}

/// Parses RFC 3339 as Go does: any fraction of a second, `Z` or an offset, nothing laxer.
///
/// # Errors
/// Names the first element that does not fit.
pub fn parse_rfc3339(text: &str) -> Result<Timestamp, TimeError> {
    const SHAPE: [(usize, &str); 11] = [
        (4, "2006"),
        (0, "-"),
        (2, "01"),
        (0, "-"),
        (2, "02"),
        (0, "T"),
        (2, "15"),
        (0, ":"),
        (2, "04"),
        (0, ":"),
        (2, "05"),
    ];
    let mut rest = text;
    let fail = |rest: &str, expected| TimeError { text: text.into(), rest: rest.into(), expected };
    for (digits, expected) in SHAPE {
        let ok = match digits {
            0 => rest.starts_with(expected),
            n => rest.len() >= n && rest.as_bytes()[..n].iter().all(u8::is_ascii_digit),
        };
        if !ok {
            return Err(fail(rest, expected));
        }
        rest = &rest[if digits == 0 { 1 } else { digits }..];
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let n = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if n == 0 {
            return Err(fail(rest, "Z07:00"));
        }
        rest = &fraction[n..];
    }
    let offset = rest.as_bytes();
    let zone_ok = matches!(offset, [b'Z'])
        || matches!(offset, [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|x| x.is_ascii_digit()));
    if !zone_ok {
        return Err(fail(rest, "Z07:00"));
    }
    // The shape is right, so what fails here is a month, day or hour out of range.
    text.parse().map_err(|_| fail(text, "2006-01-02"))
}

/// A span of time as Go's `time.Duration` prints and parses it (`1h30m0s`), in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

/// A text that is no duration, in the words of Go's `time` package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("time: invalid duration {}", crate::field::go_quote(.0))]
    Invalid(String),
    #[error("time: missing unit in duration {}", crate::field::go_quote(.0))]
    MissingUnit(String),
    #[error("time: unknown unit {} in duration {}", crate::field::go_quote(.1), crate::field::go_quote(.0))]
    UnknownUnit(String, String),
}

impl Duration {
    pub const SECOND: i64 = 1_000_000_000;

    pub fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(Self::SECOND))
    }

    /// As the standard type; negative spans are zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(d: std::time::Duration) -> Self {
        Self(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        // A number with its fraction, trailing zeros cut.
        let decimal = |f: &mut fmt::Formatter<'_>, v: u64, unit: u64, digits: usize| {
            write!(f, "{}", v / unit)?;
            let fraction = format!("{:0digits$}", v % unit);
            match fraction.trim_end_matches('0') {
                "" => Ok(()),
                frac => write!(f, ".{frac}"),
            }
        };
        match n {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{n}ns"),
            1_000..1_000_000 => decimal(f, n, 1_000, 3).and_then(|()| f.write_str("µs")),
            1_000_000..1_000_000_000 => decimal(f, n, 1_000_000, 6).and_then(|()| f.write_str("ms")),
            _ => {
                let minutes = n / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                decimal(f, n % 60_000_000_000, 1_000_000_000, 9)?;
                f.write_str("s")
            }
        }
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let invalid = || DurationError::Invalid(text.to_owned());
        let negative = text.starts_with('-');
        let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
            let n = digits(rest);
            let (whole, after) = rest.split_at(n);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(f) => f.split_at(digits(f)),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, next) = after.split_at(end);
            let size: i128 = match unit {
                "" => return Err(DurationError::MissingUnit(text.to_owned())),
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return Err(DurationError::UnknownUnit(text.to_owned(), unit.to_owned())),
            };
            let number = |s: &str| -> Result<i128, DurationError> {
                if s.is_empty() { Ok(0) } else { s.parse::<u64>().map(i128::from).map_err(|_| invalid()) }
            };
            let fraction = &fraction[..fraction.len().min(18)];
            let scale = 10i128.pow(fraction.len() as u32);
            total += number(whole)? * size + number(fraction)? * size / scale;
            rest = next;
        }
        i64::try_from(if negative { -total } else { total }).map(Self).map_err(|_| invalid())
    }
}

impl serde::Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The age column: `42s`, `5m`, `3h12m`, `2d`. Two or three figures, coarser the older.
pub fn human_duration(seconds: i64) -> String {
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    let (m, h, d) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if m < 10 => pair(m, "m", seconds % 60, "s"),
        _ if m < 180 => format!("{m}m"),
        _ if h < 8 => pair(h, "h", m % 60, "m"),
        _ if h < 48 => format!("{h}h"),
        _ if h < 192 => pair(d, "d", h % 24, "h"),
        _ if d < 730 => format!("{d}d"),
        _ if d < 2920 => pair(d / 365, "y", d % 365, "d"),
        _ => format!("{}y", d / 365),
    }
}

/// The age of something that began at `then`, as [`human_duration`]; `<unknown>` where it has no beginning.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        None => "<unknown>".to_owned(),
        Some(then) => human_duration(now.duration_since(then).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_and_parse() {
        let t = parse_rfc3339("2024-02-29T12:30:45.123456789+02:00").unwrap();
        assert_eq!(rfc3339(t), "2024-02-29T10:30:45Z");
        assert_eq!(rfc3339_micro(t), "2024-02-29T10:30:45.123456Z");
        assert_eq!(parse_rfc3339(&rfc3339(t)).unwrap().as_second(), t.as_second());
        assert_eq!(
            parse_rfc3339("x").unwrap_err().to_string(),
            r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#
        );
        assert_eq!(
            parse_rfc3339("2024-02-29 12:30:45Z").unwrap_err().to_string(),
            r#"parsing time "2024-02-29 12:30:45Z" as "2006-01-02T15:04:05Z07:00": cannot parse " 12:30:45Z" as "T""#
        );
        assert!(parse_rfc3339("2023-02-29T12:30:45Z").is_err());
        assert!(parse_rfc3339("2024-02-29T12:30:45").is_err());
    }

    #[test]
    fn durations_print_and_parse_as_go() {
        for s in ["0s", "1ns", "1.5µs", "2ms", "1s", "1m0s", "1h30m0.5s", "-5s", "100h0m0s"] {
            assert_eq!(s.parse::<Duration>().unwrap().to_string(), s);
        }
        let check = |s: &str, want: &str| assert_eq!(s.parse::<Duration>().unwrap_err().to_string(), want);
        check("", r#"time: invalid duration """#);
        check("1", r#"time: missing unit in duration "1""#);
        check("1d", r#"time: unknown unit "d" in duration "1d""#);
        assert_eq!("1.5h".parse::<Duration>().unwrap().0, 5400 * Duration::SECOND);
    }

    #[test]
    fn ages_read_as_kubectl_shows_them() {
        let check = |s: i64, want: &str| assert_eq!(human_duration(s), want, "{s}");
        check(-2, "<invalid>");
        check(-1, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(700, "11m");
        check(3 * 3600 + 720, "3h12m");
        check(9 * 3600, "9h");
        check(48 * 3600, "2d");
        check(50 * 3600, "2d2h");
        check(400 * 86400, "400d");
        check(800 * 86400, "2y70d");
        check(3000 * 86400, "8y");
    }
}
