//! The grammar of label selectors in strings.

use super::SelectorError;
use super::labels::{Op, Requirement, check_key};
use gantry_types::field::Path;
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Error,
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn literal(s: &str) -> Option<Token> {
    Some(match s {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Not,
        "==" => Token::DoubleEquals,
        "=" => Token::Equals,
        ">" => Token::Greater,
        "in" => Token::In,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "notin" => Token::NotIn,
        "(" => Token::Open,
        _ => return None,
    })
}

fn special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n')
}

/// Splits the text; the last token is [`Token::End`]. A NUL ends the text, as upstream's lexer has it.
fn scan(text: &str) -> Vec<(Token, String)> {
    let text = text.split('\0').next().unwrap_or_default();
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && space(bytes[at]) {
            at += 1;
        }
        let start = at;
        if at == bytes.len() {
            out.push((Token::End, String::new()));
            return out;
        }
        if special(bytes[at]) {
            // The longest symbol; one that is none runs on to the end of the symbols.
            let mut last = None;
            while at < bytes.len() && special(bytes[at]) {
                match literal(&text[start..=at]) {
                    Some(t) => last = Some((t, at + 1)),
                    None if last.is_some() => break,
                    None => {}
                }
                at += 1;
            }
            match last {
                Some((t, end)) => {
                    at = end;
                    out.push((t, text[start..end].to_owned()));
                }
                None => {
                    let why = format!("error expected: keyword found '{}'", &text[start..at]);
                    out.push((Token::Error, why));
                }
            }
        } else {
            while at < bytes.len() && !special(bytes[at]) && !space(bytes[at]) {
                at += 1;
            }
            let word = &text[start..at];
            out.push((literal(word).unwrap_or(Token::Identifier), word.to_owned()));
        }
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

fn fail<T>(why: String) -> Result<T, SelectorError> {
    Err(SelectorError(why))
}

impl Parser {
    /// The next token where keywords are plain words.
    fn peek(&self) -> (Token, &str) {
        let (token, text) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        let token = if matches!(token, Token::In | Token::NotIn) { Token::Identifier } else { *token };
        (token, text)
    }

    fn next(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let out = (token, text.to_owned());
        self.at += 1;
        out
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {
                    let r = self.requirement();
                    out.push(r.map_err(|e| SelectorError(format!("unable to parse requirement: {e}")))?);
                    match self.next() {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => match self.peek() {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, text) => {
                                return fail(format!("found '{text}', expected: identifier after ','"));
                            }
                        },
                        (_, text) => {
                            return fail(format!("found '{text}', expected: ',' or 'end of string'"));
                        }
                    }
                }
                (Token::End, _) => return Ok(out),
                (_, text) => {
                    return fail(format!("found '{text}', expected: !, identifier, or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let root = Path::root();
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return fail(format!("found '{key}', expected: identifier"));
        }
        if let Some(e) = check_key(&key, &root) {
            return fail(e.to_string());
        }
        if negated || matches!(self.peek().0, Token::End | Token::Comma) {
            let op = if negated { Op::DoesNotExist } else { Op::Exists };
            return Requirement::new(&key, op, Vec::new(), &root);
        }
        let op = self.operator()?;
        let values = match op {
            Op::In | Op::NotIn => self.values()?,
            _ => self.exact()?,
        };
        Requirement::new(&key, op, values.into_iter().map(Into::into).collect(), &root)
    }

    fn operator(&mut self) -> Result<Op, SelectorError> {
        let (token, text) = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        Ok(match token {
            Token::In => Op::In,
            Token::Equals => Op::Equals,
            Token::DoubleEquals => Op::DoubleEquals,
            Token::Greater => Op::GreaterThan,
            Token::Less => Op::LessThan,
            Token::NotIn => Op::NotIn,
            Token::NotEquals => Op::NotEquals,
            _ => return fail(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        match self.next() {
            (Token::Open, _) => {}
            (_, text) => return fail(format!("found '{text}' expected: '('")),
        }
        let (token, first) = self.peek();
        let first = first.to_owned();
        match token {
            Token::Identifier | Token::Comma => {
                let out = self.list()?;
                match self.next() {
                    (Token::Close, _) => Ok(out),
                    _ => fail(format!("found '{first}', expected: ')'")),
                }
            }
            Token::Close => {
                self.next();
                Ok(BTreeSet::from([String::new()]))
            }
            _ => fail(format!("found '{first}', expected: ',', ')' or identifier")),
        }
    }

    fn list(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let mut out = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    out.insert(text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, text) => return fail(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            out.insert(String::new());
                            return Ok(out);
                        }
                        Token::Comma => {
                            out.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return fail(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.next() {
            (Token::Identifier, text) => Ok(BTreeSet::from([text])),
            (_, text) => fail(format!("found '{text}', expected: identifier")),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, SelectorError> {
    Parser { tokens: scan(text), at: 0 }.selector()
}
