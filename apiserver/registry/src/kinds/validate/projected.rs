//! Projected volumes.

use super::options::PodOptions;
use super::{paths, volumes};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    KeyToPath, ProjectedVolumeSource, ServiceAccountTokenProjection,
};
use std::collections::BTreeSet;

/// The sources of one volume share a tree: no path may come twice. Cluster trust bundles and pod certificates
/// are behind gates that are off; the strategy drops them before this runs.
pub fn volume(v: &ProjectedVolumeSource, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs: ErrorList = paths::mode(v.default_mode, &path.child("defaultMode")).into_iter().collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    const TWICE: &str = "conflicting duplicate paths";
    for (i, source) in list(&v.sources).iter().enumerate() {
        let at = path.child("sources").index(i);
        let mut count = 0;
        let mut mapped = |field: &str, name: &str, items: &[KeyToPath], errs: &mut ErrorList| {
            let at = at.child(field);
            if name.is_empty() {
                errs.push(Error::required(&at.child("name"), ""));
            }
            for (i, k) in items.iter().enumerate() {
                errs.extend(volumes::key_to_path(k, &at.child("items").index(i)));
                if !k.path.is_empty() && !taken.insert(k.path.clone()) {
                    errs.push(Error::invalid(path, name, TWICE));
                }
            }
        };
        if let Some(s) = &source.secret {
            count += 1;
            mapped("secret", &s.name, list(&s.items), &mut errs);
        }
        if let Some(s) = &source.config_map {
            count += 1;
            mapped("configMap", &s.name, list(&s.items), &mut errs);
        }
        if let Some(s) = &source.downward_api {
            count += 1;
            for file in list(&s.items) {
                errs.extend(volumes::downward_api_file(file, &at.child("downwardAPI")));
                if !file.path.is_empty() && !taken.insert(file.path.clone()) {
                    errs.push(Error::invalid(path, &file.path, TWICE));
                }
            }
        }
        if let Some(t) = &source.service_account_token {
            count += 1;
            errs.extend(token(t, options, &at.child("serviceAccountToken"), path));
        }
        count += usize::from(source.cluster_trust_bundle.is_some());
        count += usize::from(source.pod_certificate.is_some());
        if count > 1 {
            errs.push(Error::forbidden(&at, "may not specify more than 1 volume type per source"));
        }
    }
    errs
}

fn token(t: &ServiceAccountTokenProjection, options: &PodOptions, at: &Path, volume: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let seconds = t.expiration_seconds.unwrap_or(0);
    let at = at.child("expirationSeconds");
    if seconds < 600 {
        errs.push(Error::invalid(&at, &seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errs.push(Error::invalid(&at, &seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    if t.path.is_empty() {
        errs.push(Error::required(&volume.child("path"), ""));
    } else if !options.allow_non_local_token_path {
        errs.extend(paths::local_non_reserved(&t.path, &volume.child("path")));
    }
    errs
}
