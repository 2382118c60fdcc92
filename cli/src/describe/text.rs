//! Text being described: levels of indentation, labels, annotations, times.

use crate::print::tabs;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use std::collections::BTreeMap;

const LONGEST: usize = 140;
const HIDDEN: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Lines with tabs between their columns.
#[derive(Default)]
pub struct Text(String);

/// A point in time as `describe` shows it, in local time.
pub fn time(t: Timestamp) -> String {
    t.to_zoned(TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
}

pub fn maybe_time(t: Option<&Time>) -> String {
    t.map_or_else(|| "<unset>".to_owned(), |t| time(t.0))
}

pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// A value, or that there is none.
pub fn or_unset(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "<unset>".to_owned(), |v| v.to_string())
}

/// `True`, `False`, or that it is not said.
pub fn truth(value: Option<bool>) -> String {
    or_unset(value.map(|v| if v { "True" } else { "False" }))
}

/// `a=b,c=d`.
pub fn selector_text(pairs: Option<&BTreeMap<String, String>>) -> String {
    let all: Vec<String> = pairs.into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    or_none(&all.join(",")).to_owned()
}

impl Text {
    /// One line at a level of two spaces each.
    pub fn line(&mut self, level: usize, text: &str) {
        self.0.extend(std::iter::repeat_n("  ", level));
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// `Name:\tvalue`.
    pub fn pair(&mut self, level: usize, name: &str, value: impl std::fmt::Display) {
        self.line(level, &format!("{name}:\t{value}"));
    }

    /// A title and one `key=value` a line.
    pub fn labels(&mut self, title: &str, labels: Option<&BTreeMap<String, String>>) {
        let lines: Vec<String> = labels.into_iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
        self.list(title, &lines);
    }

    /// A title and one value a line.
    pub fn list(&mut self, title: &str, lines: &[String]) {
        if lines.is_empty() {
            self.pair(0, title, "<none>");
        }
        for (i, line) in lines.iter().enumerate() {
            match i {
                0 => self.pair(0, title, line),
                _ => self.line(0, &format!("\t{line}")),
            }
        }
    }

    pub fn annotations(&mut self, title: &str, annotations: Option<&BTreeMap<String, String>>) {
        let shown: Vec<_> = annotations.into_iter().flatten().filter(|(k, _)| *k != HIDDEN).collect();
        if shown.is_empty() {
            self.pair(0, title, "<none>");
        }
        for (i, (key, value)) in shown.into_iter().enumerate() {
            let value = value.strip_suffix('\n').unwrap_or(value);
            let start = if i == 0 { format!("{title}:\t") } else { "\t".to_owned() };
            if value.len() + key.len() + 2 > LONGEST || value.contains('\n') {
                self.line(0, &format!("{start}{key}:"));
                for part in value.split('\n') {
                    let short: String = part.chars().take(LONGEST - 2).collect();
                    let dots = if short.len() < part.len() { "..." } else { "" };
                    self.line(0, &format!("\t  {short}{dots}"));
                }
            } else {
                self.line(0, &format!("{start}{key}: {value}"));
            }
        }
    }

    /// Name, namespace, labels and annotations.
    pub fn head(&mut self, meta: &ObjectMeta) {
        self.pair(0, "Name", meta.name.as_deref().unwrap_or_default());
        self.pair(0, "Namespace", meta.namespace.as_deref().unwrap_or_default());
        self.labels("Labels", meta.labels.as_ref());
        self.annotations("Annotations", meta.annotations.as_ref());
    }

    /// The lines as they are.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The lines, aligned.
    pub fn finish(self) -> String {
        tabs::described(&self.0)
    }
}

/// Who controls an object: `ReplicaSet/x`.
pub fn controller(meta: &ObjectMeta) -> Option<String> {
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))?;
    Some(format!("{}/{}", owner.kind, owner.name))
}
