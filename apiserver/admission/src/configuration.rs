//! `--admission-control-config-file`: what plugins are told beside flags.

use gantry_machinery::quota::Limited;
use gantry_machinery::validate::yaml_to_json;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};

/// What of it the plugins built in understand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// What may only be used where a quota covers it.
    pub limited: Vec<Limited>,
    /// Plugins the file speaks of that take no configuration here.
    pub ignored: Vec<String>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("unable to read admission control configuration from {path:?} [{source}]")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: {why}")]
    Decode { path: PathBuf, why: String },
    #[error("{path}: no kind {kind:?} is registered for version {version:?}")]
    Kind { path: PathBuf, kind: String, version: String },
    #[error("limitedResources[{index}].resource: Required value")]
    NoResource { index: usize },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    plugins: Vec<Entry>,
}

/// One plugin: its configuration here, or the file it is in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    path: PathBuf,
    #[serde(default)]
    configuration: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Quota {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

const FILE: &[(&str, &str)] = &[
    ("AdmissionConfiguration", "apiserver.config.k8s.io/v1"),
    ("AdmissionConfiguration", "apiserver.k8s.io/v1alpha1"),
];
const QUOTA: &[(&str, &str)] = &[
    ("ResourceQuotaConfiguration", "apiserver.config.k8s.io/v1"),
    ("Configuration", "resourcequota.admission.k8s.io/v1beta1"),
    ("Configuration", "resourcequota.admission.k8s.io/v1alpha1"),
];

fn decode<T: DeserializeOwned>(
    path: &Path,
    json: &[u8],
    kinds: &[(&str, &str)],
) -> Result<T, ConfigurationError> {
    let broken = |e: serde_json::Error| ConfigurationError::Decode { path: path.into(), why: e.to_string() };
    let head: Head = serde_json::from_slice(json).map_err(broken)?;
    if !kinds.contains(&(head.kind.as_str(), head.api_version.as_str())) {
        let (kind, version) = (head.kind, head.api_version);
        return Err(ConfigurationError::Kind { path: path.into(), kind, version });
    }
    serde_json::from_slice(json).map_err(broken)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigurationError> {
    let text =
        std::fs::read(path).map_err(|source| ConfigurationError::Read { path: path.into(), source })?;
    let decoded = yaml_to_json(&text);
    let decoded =
        decoded.map_err(|e| ConfigurationError::Decode { path: path.into(), why: e.to_string() })?;
    Ok(decoded.0)
}

impl Configuration {
    /// Reads the file, and those it names, relative to it.
    ///
    /// # Errors
    /// What cannot be read or is not a configuration.
    pub fn load(path: &Path) -> Result<Self, ConfigurationError> {
        let file: File = decode(path, &read(path)?, FILE)?;
        let mut out = Self::default();
        for entry in file.plugins {
            if entry.name != crate::ResourceQuota::NAME {
                out.ignored.push(entry.name);
                continue;
            }
            let (of, json) = match entry.configuration {
                Some(own) => (path.to_owned(), own.get().as_bytes().to_vec()),
                None if entry.path.as_os_str().is_empty() => continue,
                None => {
                    let of = path.parent().unwrap_or(Path::new(".")).join(&entry.path);
                    let json = read(&of)?;
                    (of, json)
                }
            };
            out.limited = decode::<Quota>(&of, &json, QUOTA)?.limited_resources;
        }
        match out.limited.iter().position(|l| l.resource.is_empty()) {
            Some(index) => Err(ConfigurationError::NoResource { index }),
            None => Ok(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plugins: &str, expected: Result<usize, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admission.yaml");
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        std::fs::write(&path, format!("{head}{plugins}")).unwrap();
        let quota = "apiVersion: resourcequota.admission.k8s.io/v1beta1\nkind: Configuration\nlimitedResources:\n- {resource: pods}\n";
        std::fs::write(folder.path().join("quota.yaml"), quota).unwrap();
        match (Configuration::load(&path), expected) {
            (Ok(found), Ok(limited)) => assert_eq!(found.limited.len(), limited, "{plugins}"),
            (Err(found), Err(words)) => assert!(found.to_string().contains(words), "{found}"),
            (found, _) => panic!("{plugins}: {found:?}"),
        }
    }

    #[test]
    fn quotas_configuration_is_found_wherever_it_is() {
        let own = |rules: &str| {
            format!(
                "plugins:\n- name: ResourceQuota\n  configuration:\n    apiVersion: apiserver.config.k8s.io/v1\n    kind: ResourceQuotaConfiguration\n    limitedResources: {rules}\n"
            )
        };
        check("plugins: []", Ok(0));
        check("plugins:\n- name: PodSecurity\n  path: nowhere.yaml", Ok(0));
        check("plugins:\n- name: ResourceQuota\n  path: quota.yaml", Ok(1));
        check("plugins:\n- name: ResourceQuota\n  path: gone.yaml", Err("unable to read"));
        check(
            &own("[{resource: pods, matchContains: [cpu]}, {apiGroup: apps, resource: deployments}]"),
            Ok(2),
        );
        check(&own("[{matchContains: [cpu]}]"), Err("limitedResources[0].resource: Required value"));
        check(&own("[{resource: pods, matches: [cpu]}]"), Err("unknown field `matches`"));
        check("plugin: []", Err("unknown field `plugin`"));
        check(
            "plugins:\n- name: ResourceQuota\n  configuration: {apiVersion: v1, kind: Pod}",
            Err("no kind \"Pod\" is registered for version \"v1\""),
        );
    }
}
