//! How a remote command is asked for, and how it ends: the `Status` on the error stream (protocol v4 and later).

use serde::{Deserialize, Serialize};

/// The streams of an exec or attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// A `Status` as remote commands use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    metadata: Empty,
    /// `Success` or `Failure`.
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Empty {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

fn is_zero(n: &u16) -> bool {
    *n == 0
}

const NON_ZERO_EXIT: &str = "NonZeroExitCode";
const EXIT_CODE: &str = "ExitCode";

impl Status {
    pub fn success() -> Self {
        Self { status: "Success".into(), ..Self::default() }
    }

    /// In the words of an internal error of the API.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        Self {
            status: "Failure".into(),
            message: format!("Internal error occurred: {why}"),
            reason: "InternalError".into(),
            details: Some(Details { causes: vec![Cause { reason: String::new(), message: why }] }),
            code: 500,
            ..Self::default()
        }
    }

    fn exited(code: u8) -> Self {
        Self {
            status: "Failure".into(),
            message: format!(
                "command terminated with non-zero exit code: command terminated with exit code {code}"
            ),
            reason: NON_ZERO_EXIT.into(),
            details: Some(Details {
                causes: vec![Cause { reason: EXIT_CODE.into(), message: code.to_string() }],
            }),
            ..Self::default()
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        // Strings and numbers always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The end of a command in terms of its client, from what came on the error stream. `typed` says whether the
/// protocol has a `Status` there (v4 and later) or plain text.
pub fn outcome(message: &[u8], typed: bool) -> Status {
    if message.is_empty() {
        return Status::success();
    }
    let text = String::from_utf8_lossy(message);
    if !typed {
        return Status::internal(format!("error executing remote command: {text}"));
    }
    let status: Status = match serde_json::from_slice(message) {
        Ok(status) => status,
        Err(e) => return Status::internal(format!("error stream protocol error: {e} in {text:?}")),
    };
    match status.status.as_str() {
        "Success" => Status::success(),
        "Failure" if status.reason == NON_ZERO_EXIT => exit_code(&status).unwrap_or_else(Status::internal),
        "Failure" => Status::internal(status.message),
        _ => Status::internal("error stream protocol error: unknown error"),
    }
}

fn exit_code(status: &Status) -> Result<Status, String> {
    let details = status.details.as_ref().ok_or("error stream protocol error: details must be set")?;
    let cause = details
        .causes
        .iter()
        .find(|c| c.reason == EXIT_CODE)
        .ok_or_else(|| format!("error stream protocol error: no {EXIT_CODE} cause given"))?;
    let code = cause
        .message
        .parse()
        .map_err(|_| format!("error stream protocol error: invalid exit code value {:?}", cause.message))?;
    Ok(Status::exited(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_upstreams() {
        let check = |message: &str, typed: bool, want: &str| {
            assert_eq!(String::from_utf8(outcome(message.as_bytes(), typed).to_json()).unwrap(), want);
        };
        let success = r#"{"metadata":{},"status":"Success"}"#;
        check("", true, success);
        check(r#"{"metadata":{},"status":"Success"}"#, true, success);
        check(
            r#"{"metadata":{},"status":"Failure","message":"m","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
            true,
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: command terminated with exit code 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
        );
        let internal = |why: &str| {
            format!(
                r#"{{"metadata":{{}},"status":"Failure","message":"Internal error occurred: {why}","reason":"InternalError","details":{{"causes":[{{"message":"{why}"}}]}},"code":500}}"#
            )
        };
        check(r#"{"status":"Failure","message":"no such file"}"#, true, &internal("no such file"));
        check(r#"{"status":"?"}"#, true, &internal("error stream protocol error: unknown error"));
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode"}"#,
            true,
            &internal("error stream protocol error: details must be set"),
        );
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":{}}"#,
            true,
            &internal("error stream protocol error: no ExitCode cause given"),
        );
        check("boom", false, &internal("error executing remote command: boom"));
    }
}
