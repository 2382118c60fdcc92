//! Command lines as `pflag` reads them: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-it`, flags
//! and operands in any order, `--` ends flags.

pub mod global;

use crate::error::{Error, Result, message};
use gantry_types::field::go_quote;
use gantry_types::time::Duration;
use std::collections::BTreeMap;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// Nothing, or `=true` and `=false`.
    Bool,
    /// One text; the last one counts.
    Text,
    /// Texts, split at commas.
    List,
    /// Texts, as they are.
    Array,
    /// One text, or nothing: then this one.
    Optional(&'static str),
}

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub default: &'static str,
    pub help: &'static str,
}

impl Flag {
    /// With a one-letter name.
    pub const fn short(mut self, c: char) -> Self {
        self.short = Some(c);
        self
    }

    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = value;
        self
    }
}

const fn flag(long: &'static str, takes: Takes, help: &'static str) -> Flag {
    Flag { long, short: None, takes, default: "", help }
}

pub const fn on(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Bool, help)
}

pub const fn text(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Text, help)
}

pub const fn list(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::List, help)
}

pub const fn array(long: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Array, help)
}

pub const fn optional(long: &'static str, bare: &'static str, help: &'static str) -> Flag {
    flag(long, Takes::Optional(bare), help)
}

/// A parsed command line.
#[derive(Clone, Debug, Default)]
pub struct Args {
    given: BTreeMap<&'static str, Vec<String>>,
    defaults: BTreeMap<&'static str, &'static str>,
    /// Everything that is no flag.
    pub operands: Vec<String>,
    /// How many operands stood before `--`, where there was one.
    pub dash: Option<usize>,
}

impl Args {
    /// Reads a command line against the flags known.
    ///
    /// # Errors
    /// Unknown flags, missing and malformed values, in `pflag`'s words.
    pub fn parse(args: &[String], sets: &[&'static [Flag]], command: &str) -> Result<Self> {
        let known = || sets.iter().flat_map(|s| s.iter());
        let failed = |text: String| Error::Message(format!("{text}\nSee '{command} --help' for usage."));
        let fail = |text: String| Err(failed(text));
        let mut out = Args::default();
        for f in known() {
            out.defaults.entry(f.long).or_insert(f.default);
        }
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if arg == "--" {
                out.dash = Some(out.operands.len());
                out.operands.extend(rest.by_ref().cloned());
            } else if let Some(long) = arg.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((n, v)) => (n, Some(v.to_owned())),
                    None => (long, None),
                };
                let Some(f) = known().find(|f| f.long == name) else {
                    if name == "help" {
                        out.given.insert("help", vec!["true".into()]);
                        continue;
                    }
                    return fail(format!("unknown flag: --{name}"));
                };
                let value = match (value, f.takes) {
                    (Some(v), _) => v,
                    (None, Takes::Bool) => "true".into(),
                    (None, Takes::Optional(bare)) => bare.into(),
                    (None, _) => match rest.next() {
                        Some(v) => v.clone(),
                        None => return fail(format!("flag needs an argument: --{name}")),
                    },
                };
                out.add(f, value, &format!("--{name}")).map_err(|e| failed(e.bare()))?;
            } else if arg.len() > 1 && arg.starts_with('-') {
                let mut at = 1;
                while let Some(c) = arg[at..].chars().next() {
                    let after = &arg[at + c.len_utf8()..];
                    let Some(f) = known().find(|f| f.short == Some(c)) else {
                        if c == 'h' {
                            out.given.insert("help", vec!["true".into()]);
                            break;
                        }
                        return fail(format!("unknown shorthand flag: '{c}' in {arg}"));
                    };
                    at += c.len_utf8();
                    let value = match (after.strip_prefix('='), f.takes) {
                        (Some(v), _) => v.to_owned(),
                        (None, Takes::Bool) => {
                            out.add(f, "true".into(), arg).map_err(|e| failed(e.bare()))?;
                            continue;
                        }
                        (None, Takes::Optional(bare)) => {
                            out.add(f, bare.into(), arg).map_err(|e| failed(e.bare()))?;
                            continue;
                        }
                        (None, _) if !after.is_empty() => after.to_owned(),
                        (None, _) => match rest.next() {
                            Some(v) => v.clone(),
                            None => return fail(format!("flag needs an argument: '{c}' in {arg}")),
                        },
                    };
                    out.add(f, value, &format!("-{c}, --{}", f.long)).map_err(|e| failed(e.bare()))?;
                    break;
                }
            } else {
                out.operands.push(arg.clone());
            }
        }
        Ok(out)
    }

    fn add(&mut self, f: &Flag, value: String, shown: &str) -> Result<()> {
        let slot = self.given.entry(f.long).or_default();
        match f.takes {
            Takes::Bool => {
                let v = match value.as_str() {
                    "true" | "1" | "t" | "T" | "TRUE" | "True" => "true",
                    "false" | "0" | "f" | "F" | "FALSE" | "False" => "false",
                    other => {
                        let q = go_quote(other);
                        return Err(message(format!(
                            "invalid argument {q} for \"{shown}\" flag: strconv.ParseBool: parsing {q}: invalid syntax"
                        )));
                    }
                };
                *slot = vec![v.into()];
            }
            Takes::Text | Takes::Optional(_) => *slot = vec![value],
            Takes::List => slot.extend(value.split(',').filter(|v| !v.is_empty()).map(str::to_owned)),
            Takes::Array => slot.push(value),
        }
        Ok(())
    }

    /// Whether the flag was given at all.
    pub fn given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The flag's text, else its default.
    pub fn text(&self, name: &str) -> &str {
        match self.given.get(name).and_then(|v| v.last()) {
            Some(v) => v,
            None => self.defaults.get(name).copied().unwrap_or_default(),
        }
    }

    pub fn on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    pub fn list(&self, name: &str) -> Vec<String> {
        self.given.get(name).cloned().unwrap_or_default()
    }

    /// A whole number.
    ///
    /// # Errors
    /// Where it is none.
    pub fn int(&self, name: &str) -> Result<i64> {
        let text = self.text(name);
        text.parse().map_err(|_| {
            let q = go_quote(text);
            message(format!(
                "invalid argument {q} for \"--{name}\" flag: strconv.ParseInt: parsing {q}: invalid syntax"
            ))
        })
    }

    /// A span of time; a bare number is seconds. `None` is zero: no limit.
    ///
    /// # Errors
    /// Where it is none.
    pub fn duration(&self, name: &str) -> Result<Option<std::time::Duration>> {
        let text = self.text(name);
        let parsed = match text.parse::<i64>() {
            Ok(s) => Duration::from_secs(s),
            Err(_) if text.is_empty() => return Ok(None),
            Err(_) => text.parse().map_err(|e: gantry_types::time::DurationError| {
                message(format!("invalid argument {} for \"--{name}\" flag: {e}", go_quote(text)))
            })?,
        };
        Ok((parsed.0 != 0)
            .then(|| if parsed.0 < 0 { Duration::from_secs(604_800).to_std() } else { parsed.to_std() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[Flag] = &[
        on("stdin", "").short('i'),
        on("tty", "").short('t'),
        text("output", "").short('o'),
        list("label-columns", "").short('L'),
        optional("dry-run", "unchanged", "").default("none"),
        on("wait", "").default("true"),
    ];

    fn parse(line: &str) -> Result<Args> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Args::parse(&args, &[SET], "kctl x")
    }

    #[test]
    fn lines_parse_as_pflag_does() {
        let check = |line: &str, shown: &str| {
            let a = parse(line).map(|a| {
                format!(
                    "{} {} {} {} {} {} | {} {:?}",
                    a.on("stdin"),
                    a.on("tty"),
                    a.text("output"),
                    a.list("label-columns").join("+"),
                    a.text("dry-run"),
                    a.on("wait"),
                    a.operands.join(" "),
                    a.dash
                )
            });
            assert_eq!(a.unwrap_or_else(|e| e.bare()), shown, "{line}");
        };
        check("-it pod -- sh -c x", "true true   none true | pod sh -c x Some(1)");
        check("-oyaml a", "false false yaml  none true | a None");
        check("-o=yaml -L a,b -L c", "false false yaml a+b+c none true |  None");
        check("--dry-run a --wait=false", "false false   unchanged false | a None");
        check("--dry-run=server", "false false   server true |  None");
        check("--nope", "unknown flag: --nope\nSee 'kctl x --help' for usage.");
        check("-z", "unknown shorthand flag: 'z' in -z\nSee 'kctl x --help' for usage.");
        check("--output", "flag needs an argument: --output\nSee 'kctl x --help' for usage.");
    }
}
