//! Component configuration files (`kind: KubeletConfiguration` and its kin), YAML or JSON.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why a configuration file was refused. The words are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to read config file {path:?}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("strict decoding error: {0}")]
    Strict(String),
    #[error("couldn't get version/kind; json parse error: {0}")]
    Syntax(String),
    #[error("Object 'Kind' is missing in '{0}'")]
    NoKind(String),
    #[error("Object 'apiVersion' is missing in '{0}'")]
    NoVersion(String),
    #[error("no kind {kind:?} is registered for version {version:?} in scheme")]
    WrongKind { kind: String, version: String },
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

/// Reads `path` as a `T` of the given kind in one of the given versions
/// (`["kubelet.config.k8s.io/v1beta1"]`). `T` should carry `#[serde(deny_unknown_fields)]` and have fields
/// for `apiVersion` and `kind`.
///
/// # Errors
/// See [`Error`].
pub fn load<T: DeserializeOwned>(path: &Path, kind: &str, versions: &[&str]) -> Result<T, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
    parse(&text, kind, versions)
}

/// [`load`] on text already read.
///
/// # Errors
/// See [`Error`].
pub fn parse<T: DeserializeOwned>(text: &str, kind: &str, versions: &[&str]) -> Result<T, Error> {
    let head: TypeMeta =
        serde_saphyr::from_str(text).map_err(|e| Error::Syntax(first_line(&e.to_string())))?;
    if head.kind.is_empty() {
        return Err(Error::NoKind(text.to_owned()));
    }
    if head.api_version.is_empty() {
        return Err(Error::NoVersion(text.to_owned()));
    }
    if head.kind != kind || !versions.contains(&head.api_version.as_str()) {
        return Err(Error::WrongKind { kind: head.kind, version: head.api_version });
    }
    serde_saphyr::from_str(text).map_err(|e| Error::Strict(in_upstreams_words(&e.to_string())))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// Turns serde's "unknown field `x`, expected …" into `unknown field "x"`, and its duplicate twin likewise.
fn in_upstreams_words(message: &str) -> String {
    for (ours, theirs) in [("unknown field `", "unknown field"), ("duplicate field `", "duplicate field")] {
        if let Some((_, rest)) = message.split_once(ours)
            && let Some((field, _)) = rest.split_once('`')
        {
            return format!("{theirs} \"{field}\"");
        }
    }
    first_line(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "apiVersion")]
        _api_version: String,
        #[serde(rename = "kind")]
        _kind: String,
        #[serde(default)]
        max_pods: u32,
    }

    fn check(text: &str, expected: Result<u32, &str>) {
        let found = parse::<Sample>(text, "Sample", &["x.io/v1"]).map(|s| s.max_pods);
        match expected {
            Ok(n) => assert_eq!(found.unwrap(), n),
            Err(words) => {
                let message = found.unwrap_err().to_string();
                assert!(message.contains(words), "{message}");
            }
        }
    }

    #[test]
    fn kinds_versions_and_unknown_fields() {
        check("apiVersion: x.io/v1\nkind: Sample\nmaxPods: 7\n", Ok(7));
        check("{\"apiVersion\":\"x.io/v1\",\"kind\":\"Sample\",\"maxPods\":8}", Ok(8));
        check(
            "apiVersion: x.io/v1\nkind: Sample\nmaxPod: 7\n",
            Err("strict decoding error: unknown field \"maxPod\""),
        );
        check("apiVersion: x.io/v1\n", Err("Object 'Kind' is missing"));
        check("apiVersion: x.io/v2\nkind: Sample\n", Err("no kind \"Sample\" is registered for version"));
    }
}
