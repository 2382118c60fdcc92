//! What is wrong, how that is known, and what would have to change: a tree of findings.

use serde::Serialize;
use std::fmt::Write as _;

/// Names listed before the rest is only counted.
const NAMES: usize = 8;
/// Longest text shown of what others wrote.
const LONGEST: usize = 400;

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Finding {
    pub cause: String,
    /// What was seen that tells so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What would have to change; one of several will do unless they say otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<String>,
    /// What this comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<Finding>,
}

impl Finding {
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), ..Self::default() }
    }

    #[must_use]
    pub fn seen(mut self, evidence: impl AsRef<str>) -> Self {
        let text = short(evidence.as_ref());
        if !text.is_empty() {
            self.evidence.push(text);
        }
        self
    }

    #[must_use]
    pub fn change(mut self, what: impl Into<String>) -> Self {
        self.change.push(what.into());
        self
    }

    #[must_use]
    pub fn because(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.because.extend(findings);
        self
    }

    fn write(&self, depth: usize, out: &mut String) {
        let space = "  ".repeat(depth);
        // Writing into a string does not fail.
        let _ = writeln!(out, "{space}- {}", self.cause);
        for line in &self.evidence {
            let _ = writeln!(out, "{space}    seen:   {line}");
        }
        for line in &self.change {
            let _ = writeln!(out, "{space}    change: {line}");
        }
        self.because.iter().for_each(|f| f.write(depth + 1, out));
    }
}

/// What is to be said of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// `pod/x`.
    pub object: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// In a word or two.
    pub state: String,
    /// Empty: nothing is wrong.
    pub findings: Vec<Finding>,
    /// What may not be read, so that more could be wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<String>,
}

impl Report {
    pub fn text(&self) -> String {
        let place = if self.namespace.is_empty() { String::new() } else { format!(" ({})", self.namespace) };
        let mut out = format!("{}{place}: {}\n", self.object, self.state);
        if self.findings.is_empty() {
            out.push_str("- nothing is found to be wrong\n");
        }
        self.findings.iter().for_each(|f| f.write(0, &mut out));
        for line in &self.unread {
            // Writing into a string does not fail.
            let _ = writeln!(out, "note: not looked at: {line}");
        }
        out
    }
}

/// State and findings, as every pure part gives them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub state: String,
    pub findings: Vec<Finding>,
}

impl Verdict {
    pub fn new(state: impl Into<String>, findings: Vec<Finding>) -> Self {
        Self { state: state.into(), findings }
    }
}

/// A text on one line, cut where it is long.
pub fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST {
        return line;
    }
    let end = (0..=LONGEST).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0);
    format!("{} ...", &line[..end])
}

/// `a, b and 3 more`.
pub fn names<S: AsRef<str>>(all: impl IntoIterator<Item = S>) -> String {
    let all: Vec<S> = all.into_iter().collect();
    let shown: Vec<&str> = all.iter().take(NAMES).map(AsRef::as_ref).collect();
    match all.len() {
        n if n > NAMES => format!("{} and {} more", shown.join(", "), n - NAMES),
        _ => shown.join(", "),
    }
}

/// `1 pod`, `2 pods`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_written_as_a_tree() {
        let report = Report {
            object: "pod/x".into(),
            namespace: "n".into(),
            state: "Pending".into(),
            findings: vec![
                Finding::new("a").seen("b\n c").change("d").because([Finding::new("e").seen("").change("f")]),
            ],
            unread: vec!["secrets".into()],
        };
        let expected = "pod/x (n): Pending\n- a\n    seen:   b c\n    change: d\n  - e\n      change: f\nnote: not looked at: secrets\n";
        assert_eq!(report.text(), expected);
        let fine = Report { object: "node/x".into(), state: "Ready".into(), ..Report::default() };
        assert_eq!(fine.text(), "node/x: Ready\n- nothing is found to be wrong\n");
    }

    #[test]
    fn lists_and_texts_are_cut() {
        assert_eq!(names(["a", "b"]), "a, b");
        assert_eq!(names((0..10).map(|i| i.to_string())), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
        assert_eq!((count(1, "node"), count(2, "node")), ("1 node".into(), "2 nodes".into()));
        assert!(short(&"x".repeat(1000)).len() < 410);
    }
}
