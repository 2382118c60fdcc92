//! A JSON scanner over bytes with the syntax errors of Go's `encoding/json`.

use std::borrow::Cow;

/// A text that is not JSON, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SyntaxError(pub String);

/// Bodies nested deeper are refused: everything stored must be readable by parsers with the usual limit.
pub const MAX_DEPTH: usize = 120;

/// Reads tokens off a byte slice.
pub struct Lexer<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
}

/// The kind of the value that comes next, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

impl Kind {
    /// What Go calls such a value in a type error.
    pub fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Null => "null",
        }
    }
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// A byte as Go's scanner quotes it.
fn quote(c: u8) -> String {
    match c {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        b'\\' => r"'\\'".into(),
        c if c < 0x20 || c == 0x7f => format!("'\\x{c:02x}'"),
        c => format!("'{}'", char::from(c)),
    }
}

impl<'a> Lexer<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0, depth: 0 }
    }

    pub fn position(&self) -> usize {
        self.pos
    }

    /// The bytes read since `start`.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.pos]
    }

    fn invalid<T>(&self, context: &str) -> Result<T> {
        Err(SyntaxError(match self.bytes.get(self.pos) {
            None => "unexpected end of JSON input".into(),
            Some(c) => format!("invalid character {} {context}", quote(*c)),
        }))
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
    }

    /// The kind of the next value, without reading it.
    pub fn peek(&mut self) -> Result<Kind> {
        self.space();
        match self.bytes.get(self.pos) {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => self.invalid("looking for beginning of value"),
        }
    }

    /// Nothing but space is left.
    pub fn end(&mut self) -> Result<()> {
        self.space();
        if self.pos < self.bytes.len() { self.invalid("after top-level value") } else { Ok(()) }
    }

    /// Reads `{` or `[`.
    pub fn open(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SyntaxError("exceeded max depth".into()));
        }
        self.pos += 1;
        Ok(())
    }

    /// The next key of the object being read, its colon too; `None` at the end, which is read.
    pub fn key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        self.space();
        let at = self.bytes.get(self.pos);
        if at == Some(&b'}') {
            self.pos += 1;
            self.depth -= 1;
            return Ok(None);
        }
        if !first {
            if at != Some(&b',') {
                return self.invalid("after object key:value pair");
            }
            self.pos += 1;
            self.space();
        }
        if self.bytes.get(self.pos) != Some(&b'"') {
            return self.invalid("looking for beginning of object key string");
        }
        let key = self.string()?;
        self.space();
        if self.bytes.get(self.pos) != Some(&b':') {
            return self.invalid("after object key");
        }
        self.pos += 1;
        Ok(Some(key))
    }

    /// Whether another element of the array being read follows; its end is read.
    pub fn element(&mut self, first: bool) -> Result<bool> {
        self.space();
        let at = self.bytes.get(self.pos);
        if at == Some(&b']') {
            self.pos += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !first {
            if at != Some(&b',') {
                return self.invalid("after array element");
            }
            self.pos += 1;
            self.space();
            if self.bytes.get(self.pos) == Some(&b']') {
                return self.invalid("looking for beginning of value");
            }
        }
        Ok(true)
    }

    /// Reads `true`, `false` or `null`; whether it was `true`.
    pub fn literal(&mut self) -> Result<bool> {
        let word: &str = match self.bytes.get(self.pos) {
            Some(b't') => "true",
            Some(b'f') => "false",
            _ => "null",
        };
        for expected in word.bytes() {
            if self.bytes.get(self.pos) != Some(&expected) {
                return self.invalid(&format!("in literal {word} (expecting '{}')", char::from(expected)));
            }
            self.pos += 1;
        }
        Ok(word == "true")
    }

    fn digits(&mut self, context: &str) -> Result<()> {
        if !matches!(self.bytes.get(self.pos), Some(b'0'..=b'9')) {
            return self.invalid(context);
        }
        while let Some(b'0'..=b'9') = self.bytes.get(self.pos) {
            self.pos += 1;
        }
        Ok(())
    }

    /// Reads a number; its text.
    pub fn number(&mut self) -> Result<&'a str> {
        let start = self.pos;
        if self.bytes.get(self.pos) == Some(&b'-') {
            self.pos += 1;
        }
        if self.bytes.get(self.pos) == Some(&b'0') {
            self.pos += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            self.digits("in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            self.digits("in numeric literal")?;
        }
        // Digits, signs, dots and exponents are ASCII.
        Ok(std::str::from_utf8(self.since(start)).unwrap_or_default())
    }

    /// Reads a string. Bytes that are not UTF-8 become U+FFFD, as in Go.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.pos += 1;
        let start = self.pos;
        loop {
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.pos += 1;
                    return Ok(String::from_utf8_lossy(raw));
                }
                Some(b'\\') => return self.escaped(start),
                Some(c) if *c >= 0x20 => self.pos += 1,
                _ => return self.invalid("in string"),
            }
        }
    }

    /// The rest of a string that has an escape at the current position.
    fn escaped(&mut self, start: usize) -> Result<Cow<'a, str>> {
        let mut out = self.since(start).to_vec();
        loop {
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(match String::from_utf8(out) {
                        Ok(s) => s,
                        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
                    }
                    .into());
                }
                Some(b'\\') => {
                    self.pos += 1;
                    let c = match self.bytes.get(self.pos) {
                        Some(b'u') => {
                            let c = self.unicode()?;
                            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                            continue;
                        }
                        Some(b'b') => 8,
                        Some(b'f') => 12,
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(c @ (b'"' | b'\\' | b'/')) => *c,
                        _ => return self.bad_escape(2),
                    };
                    out.push(c);
                    self.pos += 1;
                }
                Some(c) if *c >= 0x20 => {
                    out.push(*c);
                    self.pos += 1;
                }
                _ => return self.invalid("in string"),
            }
        }
    }

    /// Reads the `uXXXX` of an escape, and a second one where they form a surrogate pair.
    fn unicode(&mut self) -> Result<char> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes.get(self.pos..self.pos + 2) == Some(b"\\u") {
            let back = self.pos;
            self.pos += 1;
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let c = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(c).unwrap_or('\u{fffd}'));
            }
            self.pos = back;
        }
        Ok(char::from_u32(first).unwrap_or('\u{fffd}'))
    }

    /// An escape, `len` bytes long, that means nothing.
    fn bad_escape<T>(&self, len: usize) -> Result<T> {
        let rest = self.bytes;
        let start = rest[..self.pos.min(rest.len())].iter().rposition(|b| *b == b'\\').unwrap_or_default();
        match rest.get(start..start + len) {
            Some(escape) => {
                let text = String::from_utf8_lossy(escape);
                Err(SyntaxError(format!("invalid escape sequence `{text}` in string")))
            }
            None => Err(SyntaxError("unexpected end of JSON input".into())),
        }
    }

    fn hex(&mut self) -> Result<u32> {
        self.pos += 1;
        let mut out = 0;
        for _ in 0..4 {
            match self.bytes.get(self.pos).and_then(|c| char::from(*c).to_digit(16)) {
                Some(d) => out = out * 16 + d,
                None => return self.bad_escape(6),
            }
            self.pos += 1;
        }
        Ok(out)
    }

    /// Reads a value of any kind and forgets it.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Kind::Object => {
                self.open()?;
                let mut first = true;
                while self.key(first)?.is_some() {
                    first = false;
                    self.skip()?;
                }
            }
            Kind::Array => {
                self.open()?;
                let mut first = true;
                while self.element(first)? {
                    first = false;
                    self.skip()?;
                }
            }
            Kind::String => drop(self.string()?),
            Kind::Number => drop(self.number()?),
            Kind::Bool | Kind::Null => drop(self.literal()?),
        }
        Ok(())
    }
}
