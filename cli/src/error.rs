//! What commands fail with, and how it is told: kubectl's words and exit codes.

use gantry_types::field::go_quote;
use gantry_types::status::StatusBody;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// The server refused.
    Api(Box<StatusBody>),
    /// No answer from the server.
    Transport { host: String, why: String },
    /// No such resource type.
    NoResource(String),
    /// Several at once.
    Many(Vec<Error>),
    /// Anything else, told with `error: ` before it.
    Message(String),
    /// A text told as it is.
    Plain(String),
    /// An exit code, with nothing or a text said.
    Exit(i32, String),
}

/// An error with a text of our own.
pub fn message(text: impl Into<String>) -> Error {
    Error::Message(text.into())
}

/// A wrong use of a command, as kubectl reminds of its help.
pub fn usage(command: &str, text: impl std::fmt::Display) -> Error {
    Error::Message(format!("{text}\nSee 'kctl {command} -h' for help and examples"))
}

impl Error {
    /// Several errors as one; none of them is success.
    pub fn all(mut errors: Vec<Error>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Many(errors)),
        }
    }

    pub fn code(&self) -> i32 {
        match self {
            Error::Exit(code, _) => *code,
            _ => 1,
        }
    }

    fn status(&self) -> Option<&StatusBody> {
        match self {
            Error::Api(s) => Some(s),
            _ => None,
        }
    }

    pub fn is_reason(&self, reason: &str) -> bool {
        self.status().is_some_and(|s| s.reason == reason)
    }

    /// Whether the server named this among its causes.
    pub fn has_cause(&self, reason: &str) -> bool {
        let causes = self.status().and_then(|s| s.details.as_ref()).map(|d| d.causes.as_slice());
        causes.unwrap_or_default().iter().any(|c| c.reason == reason)
    }

    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    pub fn is_conflict(&self) -> bool {
        self.is_reason("Conflict")
    }

    /// The bare text, without who said it.
    pub fn bare(&self) -> String {
        match self {
            Error::Api(s) => s.message.clone(),
            other => {
                let text = other.text();
                text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
            }
        }
    }

    /// Says which source the object came from, as kubectl does for manifests.
    #[must_use]
    pub fn during(self, verb: &str, source: &str) -> Error {
        if source.is_empty() {
            return self;
        }
        let source = go_quote(source);
        match self {
            Error::Api(mut s) => {
                s.message = format!("error when {verb} {source}: {}", s.message);
                Error::Api(s)
            }
            other => Error::Message(format!("error when {verb} {source}: {}", other.bare())),
        }
    }

    /// What goes to standard error.
    pub fn text(&self) -> String {
        match self {
            Error::Api(s) if s.reason == "Invalid" => invalid(s),
            Error::Api(s) => standard(s),
            Error::Transport { host, why } if why.contains("Connection refused") => format!(
                "The connection to the server {host} was refused - did you specify the right host or port?"
            ),
            Error::Transport { why, .. } => format!("Unable to connect to the server: {why}"),
            Error::NoResource(r) => format!("error: the server doesn't have a resource type {}", go_quote(r)),
            Error::Many(errors) => errors.iter().map(Error::text).collect::<Vec<_>>().join("\n"),
            Error::Message(text) => format!("error: {text}"),
            Error::Plain(text) | Error::Exit(_, text) => text.clone(),
        }
    }
}

fn standard(s: &StatusBody) -> String {
    match s.reason.as_str() {
        "Unauthorized" => format!("error: You must be logged in to the server ({})", s.message),
        "" => format!("Error from server: {}", s.message),
        reason => format!("Error from server ({reason}): {}", s.message),
    }
}

fn invalid(s: &StatusBody) -> String {
    let Some(details) = &s.details else {
        return format!("The request is invalid: {}", s.message);
    };
    let mut text = "The request is invalid".to_owned();
    if !details.kind.is_empty() || !details.name.is_empty() {
        text = format!("The {} {} is invalid", details.kind, go_quote(&details.name));
    } else if !s.message.is_empty() && details.causes.is_empty() {
        text = format!("{text}: {}", s.message);
    }
    let mut causes: Vec<String> = Vec::new();
    for cause in &details.causes {
        let line = format!("{}: {}", cause.field, cause.message);
        if !causes.contains(&line) {
            causes.push(line);
        }
    }
    match causes.as_slice() {
        [] => text,
        [one] => format!("{text}: {one}"),
        many => format!("{text}: \n{}", many.iter().map(|c| format!("* {c}\n")).collect::<String>()),
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::Message(e.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Self {
        Error::Message(e.to_string())
    }
}

impl From<gantry_types::Status> for Error {
    fn from(s: gantry_types::Status) -> Self {
        Error::Api(Box::new(s.body().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::{GroupResource, Status};

    #[test]
    fn refusals_are_told_as_kubectl_does() {
        let check = |e: Error, text: &str| assert_eq!((e.text().as_str(), e.code()), (text, 1));
        let pods = GroupResource::new("", "pods");
        check(Status::not_found(&pods, "a").into(), "Error from server (NotFound): pods \"a\" not found");
        check(
            Error::from(Status::not_found(&pods, "a")).during("deleting", "x.yaml"),
            "Error from server (NotFound): error when deleting \"x.yaml\": pods \"a\" not found",
        );
        check(message("no"), "error: no");
        check(Error::NoResource("foos".into()), "error: the server doesn't have a resource type \"foos\"");
        check(
            Error::Transport { host: "h:1".into(), why: "tcp: Connection refused (os error 111)".into() },
            "The connection to the server h:1 was refused - did you specify the right host or port?",
        );
    }
}
