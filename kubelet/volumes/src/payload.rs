//! File contents of the volumes that show API objects.

use crate::source::{FetchError, Source};
use gantry_kubelet_core::{fields, pods};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, Volume,
};
use std::collections::BTreeMap;

/// One file. `owner` is a user, where it is not root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    pub owner: Option<u32>,
}

/// Files by path below the volume.
pub type Files = BTreeMap<String, File>;

/// What a volume shows, and when it must be made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    pub files: Files,
    pub refresh_at: Option<Timestamp>,
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    u32::try_from(own.or(default).unwrap_or(0o644)).unwrap_or(0o644) & 0o777
}

fn other(e: impl Into<String>) -> FetchError {
    FetchError::Other(e.into())
}

/// Picks `items` of `data`, or all of it.
fn pick(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
    missing: &str,
) -> Result<Files, FetchError> {
    let file = |data: &[u8], own| File { data: data.to_vec(), mode: mode(own, default), owner: None };
    let items = items.unwrap_or_default();
    if items.is_empty() {
        return Ok(data.iter().map(|(k, v)| ((*k).to_owned(), file(v, None))).collect());
    }
    let mut out = Files::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(v) => {
                out.insert(item.path.clone(), file(v, item.mode));
            }
            None if optional => {}
            None => return Err(other(format!("{missing}: {}", item.key))),
        }
    }
    Ok(out)
}

fn config_map_files(
    map: &ConfigMap,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<Files, FetchError> {
    let mut data: BTreeMap<&str, &[u8]> = BTreeMap::new();
    data.extend(map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes())));
    data.extend(map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())));
    pick(&data, items, default, optional, "configmap references non-existent config key")
}

fn secret_files(
    secret: &Secret,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<Files, FetchError> {
    let data = secret.data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice())).collect();
    pick(&data, items, default, optional, "references non-existent secret key")
}

fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default: Option<i32>,
    node: &fields::Node,
) -> Result<Files, FetchError> {
    let mut out = Files::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(f), _) => fields::field(pod, &f.field_path, node).map_err(other)?,
            (None, Some(r)) => fields::resource(pod, None, r, node).map_err(other)?,
            (None, None) => continue,
        };
        let file = File { data: text.into_bytes(), mode: mode(item.mode, default), owner: None };
        out.insert(item.path.clone(), file);
    }
    Ok(out)
}

/// An absent object that is optional counts as an empty one.
fn optional<T: Default>(
    found: Result<std::sync::Arc<T>, FetchError>,
    optional: Option<bool>,
) -> Result<std::sync::Arc<T>, FetchError> {
    match found {
        Err(FetchError::NotFound(_)) if optional == Some(true) => Ok(std::sync::Arc::default()),
        other => other,
    }
}

/// The user that runs every container, if they agree on one.
pub fn common_user(pod: &Pod) -> Option<u32> {
    let whole = pods::spec(pod).security_context.as_ref().and_then(|s| s.run_as_user);
    let mut users = pods::containers(pod)
        .iter()
        .chain(pods::init_containers(pod))
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(whole));
    let first = users.next()??;
    users.all(|u| u == Some(first)).then(|| u32::try_from(first).ok())?
}

/// Builds the files of a configMap, secret, downwardAPI or projected volume; `None` for other kinds.
///
/// # Errors
/// Where an object is missing and not optional, or a path names nothing.
pub async fn build(
    pod: &Pod,
    volume: &Volume,
    source: &dyn Source,
    node: &fields::Node,
) -> Result<Option<Payload>, FetchError> {
    let ns = pods::namespace(pod);
    let files = if let Some(c) = &volume.config_map {
        let map = optional(source.config_map(ns, &c.name).await, c.optional)?;
        config_map_files(&map, c.items.as_deref(), c.default_mode, c.optional == Some(true))?
    } else if let Some(s) = &volume.secret {
        let name = s.secret_name.as_deref().unwrap_or_default();
        let secret = optional(source.secret(ns, name).await, s.optional)?;
        secret_files(&secret, s.items.as_deref(), s.default_mode, s.optional == Some(true))?
    } else if let Some(d) = &volume.downward_api {
        downward(pod, d.items.as_deref().unwrap_or_default(), d.default_mode, node)?
    } else if let Some(p) = &volume.projected {
        return projected(pod, p, source, node).await.map(Some);
    } else {
        return Ok(None);
    };
    Ok(Some(Payload { files, refresh_at: None }))
}

async fn projected(
    pod: &Pod,
    volume: &ProjectedVolumeSource,
    source: &dyn Source,
    node: &fields::Node,
) -> Result<Payload, FetchError> {
    let ns = pods::namespace(pod);
    let default = volume.default_mode;
    let mut out = Payload::default();
    for s in volume.sources.iter().flatten() {
        if let Some(c) = &s.config_map {
            let map = optional(source.config_map(ns, &c.name).await, c.optional)?;
            out.files.extend(config_map_files(&map, c.items.as_deref(), default, c.optional == Some(true))?);
        }
        if let Some(x) = &s.secret {
            let secret = optional(source.secret(ns, &x.name).await, x.optional)?;
            out.files.extend(secret_files(&secret, x.items.as_deref(), default, x.optional == Some(true))?);
        }
        if let Some(d) = &s.downward_api {
            out.files.extend(downward(pod, d.items.as_deref().unwrap_or_default(), default, node)?);
        }
        if let Some(t) = &s.service_account_token {
            let audience = t.audience.as_deref().unwrap_or_default();
            let token = source.token(pod, audience, t.expiration_seconds.unwrap_or(3600)).await?;
            let owner = common_user(pod);
            let group = pods::spec(pod).security_context.as_ref().and_then(|s| s.fs_group);
            let mode = if owner.is_some() || group.is_some() { 0o600 } else { mode(None, default) };
            out.files.insert(t.path.clone(), File { data: token.token.into_bytes(), mode, owner });
            out.refresh_at = Some(out.refresh_at.map_or(token.refresh_at, |r| r.min(token.refresh_at)));
        }
        if s.cluster_trust_bundle.is_some() || s.pod_certificate.is_some() {
            return Err(other("projected volume source is not supported on this node"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_picked_with_their_modes() {
        let map = ConfigMap {
            data: Some(BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())])),
            ..Default::default()
        };
        let check = |items: &[(&str, &str)], optional: bool, want: &str| {
            let items: Vec<KeyToPath> = items
                .iter()
                .map(|(k, p)| KeyToPath { key: (*k).into(), path: (*p).into(), mode: Some(0o400) })
                .collect();
            let got = match config_map_files(&map, Some(&items), Some(0o644), optional) {
                Ok(f) => f.iter().map(|(k, f)| format!("{k}:{:o}", f.mode)).collect::<Vec<_>>().join(" "),
                Err(e) => e.to_string(),
            };
            assert_eq!(got, want);
        };
        check(&[], false, "a:644 b:644");
        check(&[("a", "d/x")], false, "d/x:400");
        check(&[("z", "x")], true, "");
        check(&[("z", "x")], false, "configmap references non-existent config key: z");
    }
}
