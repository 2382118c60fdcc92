//! Lines of the CRI log format: `<RFC 3339 time> <stdout|stderr> <tags> <text>`. Pure.

use super::Options;
use bytes::{BufMut, BytesMut};
use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'l> {
    /// As written.
    time: &'l str,
    at: Timestamp,
    stderr: bool,
    /// With its newline, unless the text goes on in the next line.
    text: &'l [u8],
}

fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|b| *b == b' ')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// `None` where the line is not of the format.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = word(line)?;
    let time = std::str::from_utf8(time).ok()?;
    let at = time.parse().ok()?;
    let (stream, rest) = word(rest)?;
    let stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let (tags, text) = word(rest)?;
    let partial = tags.split(|b| *b == b':').next() == Some(b"P");
    let text = if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    Some(Line { time, at, stderr, text })
}

/// A time with nine digits of fraction, in the zone it was written in.
fn fixed(time: &str) -> String {
    let seconds = time.len().min("2006-01-02T15:04:05".len());
    let (head, tail) = time.split_at(seconds);
    let (fraction, zone) = match tail.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", tail),
    };
    format!("{head}.{fraction:0<9}{zone}")
}

/// What comes after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// As much as was asked for has been written.
    Done,
}

/// Turns lines of the file into what was asked for.
#[derive(Debug)]
pub struct Emitter {
    options: Options,
    bytes_left: u64,
    /// `None` where lines are not counted.
    lines_left: Option<u64>,
    at_line_start: bool,
}

impl Emitter {
    pub fn new(options: &Options) -> Self {
        Self {
            bytes_left: options.limit.unwrap_or(u64::MAX),
            lines_left: options.tail.filter(|_| !options.follow),
            at_line_start: true,
            options: options.clone(),
        }
    }

    /// Whether nothing more is wanted.
    pub fn done(&self) -> bool {
        self.lines_left == Some(0) || self.bytes_left == 0
    }

    /// Takes a line with its newline, if it has one. Lines not of the format are passed over.
    pub fn line(&mut self, raw: &[u8], out: &mut BytesMut) -> Flow {
        let Some(line) = parse(raw) else {
            tracing::debug!(line = %String::from_utf8_lossy(raw), "Failed when parsing line in log file");
            return Flow::Continue;
        };
        let wanted = if line.stderr { self.options.stderr } else { self.options.stdout };
        if wanted && self.options.since.is_none_or(|since| line.at >= since) {
            if self.options.timestamps && self.at_line_start {
                let time = fixed(line.time);
                self.put(time.as_bytes(), out);
                self.put(b" ", out);
            }
            self.put(line.text, out);
        }
        self.at_line_start = line.text.last().is_none_or(|b| *b == b'\n');
        if let Some(n) = &mut self.lines_left {
            *n = n.saturating_sub(1);
        }
        if self.done() { Flow::Done } else { Flow::Continue }
    }

    fn put(&mut self, bytes: &[u8], out: &mut BytesMut) {
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        out.put_slice(bytes);
        self.bytes_left -= bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    #[test]
    fn times_have_nine_digits() {
        let check = |text: &str, want: &str| assert_eq!(fixed(text), want);
        check("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000000Z");
        check("2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00.000000000+01:00");
        check("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00.123456789Z");
    }

    const FILE: &str = "2026-01-01T00:00:01Z stdout F one\n\
        2026-01-01T00:00:02.5Z stderr F two\n\
        2026-01-01T00:00:03Z stdout P thr\n\
        2026-01-01T00:00:03Z stdout F ee\n\
        nonsense\n\
        2026-01-01T00:00:04Z stdout F \n\
        2026-01-01T00:00:05Z stdout F:x last";

    #[test]
    fn lines_come_out_as_asked() {
        let check = |query: &str, want: &str| {
            let now = "2026-01-01T00:00:10Z".parse().unwrap();
            let options = Options::parse(&Query::parse(query), now).unwrap();
            let (mut emitter, mut out) = (Emitter::new(&options), BytesMut::new());
            for line in FILE.split_inclusive('\n') {
                if emitter.line(line.as_bytes(), &mut out) == Flow::Done {
                    break;
                }
            }
            assert_eq!(String::from_utf8_lossy(&out), want, "{query}");
        };
        check("", "one\ntwo\nthree\n\nlast");
        check("stream=Stderr", "two\n");
        check("stream=Stdout", "one\nthree\n\nlast");
        check("sinceSeconds=6", "\nlast");
        check("sinceTime=2026-01-01T00:00:02.5Z", "two\nthree\n\nlast");
        check("limitBytes=6", "one\ntw");
        check("tailLines=2", "one\ntwo\n");
        check("limitBytes=40&timestamps=true", "2026-01-01T00:00:01.000000000Z one\n2026-");
        check(
            "timestamps=true&sinceSeconds=7",
            "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n2026-01-01T00:00:05.000000000Z last",
        );
    }
}
