//! `Status` errors: what the API answers when it refuses, in upstream's words, codes and reasons.

use crate::field::{self, ErrorList};
use crate::gvk::{GroupKind, GroupResource};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A refusal on its way to a client. The HTTP code is decided here, once. Boxed so that results stay small.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Box<StatusBody>);

pub type StatusResult<T> = Result<T, Status>;

/// The fields of a `v1` `Status` object of status `Failure` (or `Success`, for deletions).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusBody {
    pub kind: String,
    pub api_version: String,
    #[serde(default)]
    pub metadata: StatusMeta,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<StatusDetails>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusMeta {
    /// Where an expired list may go on without consistency.
    #[serde(rename = "continue", default, skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusDetails {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<StatusCause>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusCause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Status {}

impl Status {
    /// A failure with no details. `reason` is empty for "Unknown".
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(StatusBody {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: StatusMeta::default(),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }))
    }

    fn with(mut self, details: StatusDetails) -> Self {
        self.0.details = Some(details);
        self
    }

    fn of(gr: &GroupResource, name: &str) -> StatusDetails {
        StatusDetails {
            group: gr.group.to_string(),
            kind: gr.resource.to_string(),
            name: name.to_owned(),
            ..StatusDetails::default()
        }
    }

    /// The success answer to a deletion that is done.
    pub fn deleted(gr: &GroupResource, name: &str, uid: &str) -> Self {
        let mut details = Self::of(gr, name);
        details.uid = uid.to_owned();
        let mut s = Self::failure(0, "", "");
        s.0.status = "Success".into();
        s.with(details)
    }

    pub fn not_found(gr: &GroupResource, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{gr} {} not found", field::go_quote(name)))
            .with(Self::of(gr, name))
    }

    pub fn already_exists(gr: &GroupResource, name: &str) -> Self {
        Self::failure(409, "AlreadyExists", format!("{gr} {} already exists", field::go_quote(name)))
            .with(Self::of(gr, name))
    }

    /// `generateName` found no free name.
    pub fn generate_name_conflict(gr: &GroupResource, name: &str) -> Self {
        let message = format!(
            "{gr} {} already exists, the server was not able to generate a unique name for the object",
            field::go_quote(name)
        );
        let mut details = Self::of(gr, name);
        details.retry_after_seconds = 1;
        Self::failure(409, "AlreadyExists", message).with(details)
    }

    pub fn conflict(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {gr} {}: {why}", field::go_quote(name));
        Self::failure(409, "Conflict", message).with(Self::of(gr, name))
    }

    /// The conflict of an optimistic write against a newer object.
    pub fn stale(gr: &GroupResource, name: &str) -> Self {
        Self::conflict(
            gr,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Server-side apply met fields that others own.
    pub fn apply_conflict(causes: Vec<StatusCause>, message: impl Into<String>) -> Self {
        Self::failure(409, "Conflict", message).with(StatusDetails { causes, ..StatusDetails::default() })
    }

    pub fn invalid(gk: &GroupKind, name: &str, errors: ErrorList) -> Self {
        let message = if errors.is_empty() {
            format!("{gk} {} is invalid", field::go_quote(name))
        } else {
            format!("{gk} {} is invalid: {}", field::go_quote(name), field::aggregate(&errors))
        };
        let causes = errors
            .iter()
            .map(|e| StatusCause {
                reason: e.kind.reason().into(),
                message: e.body(),
                field: e.field.clone(),
            })
            .collect();
        Self::failure(422, "Invalid", message).with(StatusDetails {
            group: gk.group.to_string(),
            kind: gk.kind.to_string(),
            name: name.to_owned(),
            causes,
            ..StatusDetails::default()
        })
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// `why` completes "pods \"x\" is forbidden: …".
    pub fn forbidden(gr: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if gr.resource.is_empty() && gr.group.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{gr} is forbidden: {why}")
        } else {
            format!("{gr} {} is forbidden: {why}", field::go_quote(name))
        };
        Self::failure(403, "Forbidden", message).with(Self::of(gr, name))
    }

    pub fn method_not_supported(gr: &GroupResource, action: &str) -> Self {
        let message =
            format!("{action} is not supported on resources of kind {}", field::go_quote(&gr.to_string()));
        Self::failure(405, "MethodNotAllowed", message).with(Self::of(gr, ""))
    }

    /// A resource version or continue token too old to serve from.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    pub fn too_large(message: impl fmt::Display) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", message)
    }

    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::failure(406, "NotAcceptable", message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::failure(429, "TooManyRequests", message)
            .with(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    pub fn internal(why: impl fmt::Display) -> Self {
        let text = why.to_string();
        Self::failure(500, "InternalError", format!("Internal error occurred: {text}")).with(StatusDetails {
            causes: vec![StatusCause { message: text, ..StatusCause::default() }],
            ..StatusDetails::default()
        })
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u16) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {message}"))
            .with(StatusDetails { retry_after_seconds, ..StatusDetails::default() })
    }

    /// The answer to a path nothing serves.
    pub fn no_such_path() -> Self {
        let mut s = Self::failure(404, "NotFound", "the server could not find the requested resource");
        s.0.details = Some(StatusDetails::default());
        s
    }

    pub fn add_cause(mut self, reason: &str, message: impl Into<String>, field: impl Into<String>) -> Self {
        self.0.details.get_or_insert_default().causes.push(StatusCause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    pub fn code(&self) -> u16 {
        self.0.code
    }

    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn body(&self) -> &StatusBody {
        &self.0
    }

    pub fn body_mut(&mut self) -> &mut StatusBody {
        &mut self.0
    }

    pub fn is_not_found(&self) -> bool {
        self.0.reason == "NotFound"
    }

    pub fn is_conflict(&self) -> bool {
        self.0.reason == "Conflict"
    }

    /// The JSON form, newline-terminated as upstream's encoder leaves it.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings and numbers always serializes.
        let mut out = crate::json::to_vec(&*self.0).unwrap_or_default();
        out.push(b'\n');
        out
    }
}
