//! `PodLogOptions` as a query. Pure.

use crate::query::Query;
use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub since: Option<Timestamp>,
    /// Lines from the end.
    pub tail: Option<u64>,
    /// Bytes sent at most.
    pub limit: Option<u64>,
    pub stdout: bool,
    pub stderr: bool,
}

/// Why a query is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// 400.
    #[error("{{\"message\": \"Unable to decode query.\"}}")]
    Decode,
    /// 422.
    #[error("{{\"message\": \"Invalid request.\"}}")]
    Invalid,
}

impl Options {
    /// # Errors
    /// Where a value does not read, or the values do not go together.
    pub fn parse(query: &Query, now: Timestamp) -> Result<Self, Bad> {
        let number = |key: &str| match query.get(key) {
            None => Ok(None),
            Some(text) => text.parse::<i64>().map(Some).map_err(|_| Bad::Decode),
        };
        let tail = match query.get("tail").filter(|t| !t.is_empty()) {
            Some("all") => None,
            Some(text) => Some(text.parse::<i64>().map_err(|_| Bad::Decode)?),
            None => number("tailLines")?,
        };
        let (limit, seconds) = (number("limitBytes")?, number("sinceSeconds")?);
        let time = match query.get("sinceTime").filter(|t| !t.is_empty()) {
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| Bad::Decode)?),
            None => None,
        };
        let (stdout, stderr) = match query.get("stream").unwrap_or("All") {
            "All" => (true, true),
            "Stdout" => (true, false),
            "Stderr" => (false, true),
            _ => return Err(Bad::Invalid),
        };
        let wrong = tail.is_some_and(|n| n < 0)
            || limit.is_some_and(|n| n < 1)
            || seconds.is_some_and(|n| n < 1)
            || (seconds.is_some() && time.is_some())
            || (tail.is_some() && !(stdout && stderr));
        if wrong {
            return Err(Bad::Invalid);
        }
        let ago = seconds.and_then(|s| now.checked_sub(SignedDuration::from_secs(s)).ok());
        Ok(Self {
            follow: query.is_true("follow"),
            previous: query.is_true("previous"),
            timestamps: query.is_true("timestamps"),
            since: time.or(ago),
            tail: tail.map(i64::unsigned_abs),
            limit: limit.map(i64::unsigned_abs),
            stdout,
            stderr,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_held_to_their_rules() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let all = Options {
            follow: false,
            previous: false,
            timestamps: false,
            since: None,
            tail: None,
            limit: None,
            stdout: true,
            stderr: true,
        };
        let check = |text: &str, want: Result<Options, Bad>| {
            assert_eq!(Options::parse(&Query::parse(text), now), want, "{text}");
        };
        check("", Ok(all.clone()));
        check(
            "follow=true&tailLines=5&timestamps=1",
            Ok(Options { follow: true, timestamps: true, tail: Some(5), ..all.clone() }),
        );
        check("tail=all", Ok(all.clone()));
        check("sinceSeconds=60", Ok(Options { since: "2026-01-01T00:00:00Z".parse().ok(), ..all.clone() }));
        check(
            "sinceTime=2026-01-01T01:00:00%2B01:00",
            Ok(Options { since: "2026-01-01T00:00:00Z".parse().ok(), ..all.clone() }),
        );
        check("stream=Stderr&previous=true", Ok(Options { stdout: false, previous: true, ..all.clone() }));
        check("stream=x", Err(Bad::Invalid));
        check("stream=Stdout&tailLines=1", Err(Bad::Invalid));
        check("tailLines=-1", Err(Bad::Invalid));
        check("limitBytes=0", Err(Bad::Invalid));
        check("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", Err(Bad::Invalid));
        check("tailLines=x", Err(Bad::Decode));
        check("sinceTime=x", Err(Bad::Decode));
        assert_eq!(Bad::Decode.to_string(), r#"{"message": "Unable to decode query."}"#);
    }
}
