//! Field selectors: `status.phase=Running,spec.nodeName!=a`.

use super::SelectorError;
use gantry_types::field::go_quote;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldOp {
    Equals,
    NotEquals,
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldTerm {
    pub field: Box<str>,
    pub op: FieldOp,
    /// Unescaped.
    pub value: Box<str>,
}

/// What matches objects by selectable fields. All terms must hold; none matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

fn unescape(s: &str) -> Result<Box<str>, SelectorError> {
    let bad =
        |seq: String| Err(SelectorError(format!("invalid field selector: invalid escape sequence: {seq}")));
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return bad(format!("\\{c}")),
                None => return bad("\\".to_owned()),
            },
            // Upstream prints the character's number.
            ',' | '=' => {
                let n = c as u32;
                return Err(SelectorError(format!(
                    "invalid field selector: unescaped character in value: {n}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out.into())
}

/// Splits at commas that no backslash stands before.
fn split_terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn split_term(term: &str) -> Option<(&str, FieldOp, &str)> {
    let at = (0..term.len()).find(|i| {
        let rest = &term.as_bytes()[*i..];
        rest[0] == b'=' || rest.starts_with(b"!=")
    })?;
    let (field, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, FieldOp::NotEquals, value));
    }
    Some((field, FieldOp::Equals, rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?))
}

impl FieldSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    /// # Errors
    /// In upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::with_capacity(parts.len());
        for part in parts {
            if part.is_empty() {
                continue;
            }
            let Some((field, op, value)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")));
            };
            terms.push(FieldTerm { field: field.into(), op, value: unescape(value)? });
        }
        Ok(Self { terms })
    }

    /// Refuses fields the kind does not index. `own` are the kind's fields beyond `metadata.name` and
    /// `metadata.namespace` (the latter only counts for namespaced kinds, but is accepted for all).
    ///
    /// # Errors
    /// As upstream: kinds with fields of their own say `field label not supported: x`, others
    /// `"x" is not a known field selector: only "metadata.name", "metadata.namespace"`.
    pub fn check(&self, own: &[&str]) -> Result<(), SelectorError> {
        for t in &self.terms {
            if matches!(&*t.field, "metadata.name" | "metadata.namespace") || own.contains(&&*t.field) {
                continue;
            }
            return Err(SelectorError(if own.is_empty() {
                format!(
                    "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    go_quote(&t.field)
                )
            } else {
                format!("field label not supported: {}", t.field)
            }));
        }
        Ok(())
    }

    /// `lookup` answers an object's field, `None` counting as empty.
    pub fn matches<'o>(&self, lookup: impl Fn(&str) -> Option<&'o str>) -> bool {
        self.terms.iter().all(|t| {
            let is = lookup(&t.field).unwrap_or_default() == &*t.value;
            is == (t.op == FieldOp::Equals)
        })
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// The one value a field must have, where it must have one.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| *t.field == *field && t.op == FieldOp::Equals).map(|t| &*t.value)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.terms.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let op = if t.op == FieldOp::Equals { "=" } else { "!=" };
            write!(f, "{comma}{}{op}", t.field)?;
            for c in t.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_str("\\")?;
                }
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_select() {
        let pod = |f: &str| match f {
            "spec.nodeName" => Some("n"),
            "metadata.name" => Some("a,b"),
            _ => None,
        };
        let check = |s: &str, want: bool| {
            assert_eq!(FieldSelector::parse(s).unwrap().matches(pod), want, "{s}");
        };
        check("", true);
        check("spec.nodeName=n", true);
        check("spec.nodeName==n,metadata.name=a\\,b", true);
        check("spec.nodeName!=n", false);
        check("status.phase=", true);
        check("status.phase!=Running", true);
        let err = |s: &str, want: &str| {
            assert_eq!(FieldSelector::parse(s).unwrap_err().to_string(), want, "{s}");
        };
        err("a", "invalid selector: 'a'; can't understand 'a'");
        err("a=b=c", "invalid field selector: unescaped character in value: 61");
        err("a=\\b", "invalid field selector: invalid escape sequence: \\b");
        let s = FieldSelector::parse("spec.x=1").unwrap();
        assert_eq!(s.check(&["spec.nodeName"]).unwrap_err().to_string(), "field label not supported: spec.x");
        assert_eq!(
            s.check(&[]).unwrap_err().to_string(),
            "\"spec.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(FieldSelector::parse("b!=1,a=2").unwrap().exact("a"), Some("2"));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(
            terms in proptest::collection::vec(("[a-z.]{1,5}", any::<bool>(), "[a-z,=\\\\]{0,5}"), 0..4)
        ) {
            let terms = terms
                .into_iter()
                .map(|(f, eq, v)| FieldTerm {
                    field: f.into(),
                    op: if eq { FieldOp::Equals } else { FieldOp::NotEquals },
                    value: v.into(),
                })
                .collect::<Vec<_>>();
            let parsed = FieldSelector::parse(&FieldSelector { terms: terms.clone() }.to_string()).unwrap();
            let (mut a, mut b) = (terms, parsed.terms);
            a.sort();
            b.sort();
            prop_assert_eq!(a, b);
        }
    }
}
