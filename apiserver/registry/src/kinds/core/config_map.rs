//! `v1` ConfigMap.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::ConfigMap;

pub const MAX_BYTES: usize = 1024 * 1024;

/// Keys are file names, the sum of the values is bounded, `immutable` holds.
pub struct ConfigMaps;

fn validate(cm: &ConfigMap) -> ErrorList {
    let mut errs = meta::object_meta(&cm.metadata, true, meta::subdomain_name);
    let mut total = 0;
    for (key, value) in cm.data.iter().flatten() {
        let at = Path::new("data").key(key);
        errs.extend(invalid_each(&at, key, names::config_map_key(key)));
        if cm.binary_data.as_ref().is_some_and(|b| b.contains_key(key)) {
            errs.push(Error::invalid(&at, key, "duplicate of key present in binaryData"));
        }
        total += value.len();
    }
    for (key, value) in cm.binary_data.iter().flatten() {
        errs.extend(invalid_each(&Path::new("binaryData").key(key), key, names::config_map_key(key)));
        total += value.0.len();
    }
    if total > MAX_BYTES {
        let mut e = Error::too_long(&Path::root(), MAX_BYTES);
        e.field = "[]".to_owned();
        errs.push(e);
    }
    errs
}

impl Strategy for ConfigMaps {
    type Kind = ConfigMap;

    fn validate_create(&self, _cx: &Context<'_>, cm: &ConfigMap) -> ErrorList {
        validate(cm)
    }

    fn validate_update(&self, _cx: &Context<'_>, cm: &ConfigMap, old: &ConfigMap) -> ErrorList {
        let mut errs = meta::object_meta_update(&cm.metadata, &old.metadata);
        if flag(old.immutable) {
            const WHY: &str = "field is immutable when `immutable` is set";
            if !flag(cm.immutable) {
                errs.push(Error::forbidden(&Path::new("immutable"), WHY));
            }
            if !same(&cm.data, &old.data) {
                errs.push(Error::forbidden(&Path::new("data"), WHY));
            }
            if !same(&cm.binary_data, &old.binary_data) {
                errs.push(Error::forbidden(&Path::new("binaryData"), WHY));
            }
        }
        errs.extend(validate(cm));
        errs
    }

    fn row(&self, cm: &ConfigMap, now: Timestamp) -> Vec<Cell> {
        let count = cm.data.as_ref().map_or(0, |d| d.len()) + cm.binary_data.as_ref().map_or(0, |d| d.len());
        vec![
            print::name(&cm.metadata),
            Cell::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            print::age(cm.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
