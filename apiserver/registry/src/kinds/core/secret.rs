//! `v1` Secret.

use super::config_map::MAX_BYTES;
use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::ByteString;
use gantry_types::k8s_openapi::api::core::v1::Secret;

/// Each well-known type demands its keys; type and, when `immutable`, data never change.
pub struct Secrets;

fn datum<'a>(secret: &'a Secret, key: &str) -> Option<&'a ByteString> {
    secret.data.as_ref()?.get(key)
}

fn docker_config(secret: &Secret, key: &str) -> Option<Error> {
    let path = Path::new("data").key(key);
    let Some(bytes) = datum(secret, key) else { return Some(Error::required(&path, "")) };
    let why = super::go_json::unmarshal_map_error(&bytes.0)?;
    Some(Error::invalid(&path, "<secret contents redacted>", why))
}

fn validate(secret: &Secret) -> ErrorList {
    let mut errs = meta::object_meta(&secret.metadata, true, meta::subdomain_name);
    let data = Path::new("data");
    let mut total = 0;
    for (key, value) in secret.data.iter().flatten() {
        errs.extend(invalid_each(&data.key(key), key, names::config_map_key(key)));
        total += value.0.len();
    }
    if total > MAX_BYTES {
        errs.push(Error::too_long(&data, MAX_BYTES));
    }
    let mut need = |key: &str| errs.push(Error::required(&data.key(key), ""));
    match text(&secret.type_) {
        "kubernetes.io/service-account-token" => {
            const KEY: &str = "kubernetes.io/service-account.name";
            let named =
                secret.metadata.annotations.as_ref().and_then(|a| a.get(KEY)).is_some_and(|v| !v.is_empty());
            if !named {
                errs.push(Error::required(&Path::new("metadata").child("annotations").key(KEY), ""));
            }
        }
        "kubernetes.io/dockercfg" => errs.extend(docker_config(secret, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => errs.extend(docker_config(secret, ".dockerconfigjson")),
        "kubernetes.io/basic-auth"
            if datum(secret, "username").is_none() && datum(secret, "password").is_none() =>
        {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if datum(secret, "ssh-privatekey").is_none_or(|v| v.0.is_empty()) => {
            need("ssh-privatekey");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if datum(secret, key).is_none() {
                    need(key);
                }
            }
        }
        _ => {}
    }
    errs
}

impl Strategy for Secrets {
    type Kind = Secret;

    fn default(&self, secret: &mut Secret) {
        // `stringData` is write-only: it lands in `data` and is never stored.
        for (key, value) in secret.string_data.take().into_iter().flatten() {
            secret.data.get_or_insert_default().insert(key, ByteString(value.into_bytes()));
        }
        default_text(&mut secret.type_, "Opaque");
    }

    fn prepare_update(&self, _cx: &Context<'_>, secret: &mut Secret, old: &Secret) {
        if text(&secret.type_).is_empty() {
            secret.type_.clone_from(&old.type_);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, secret: &Secret) -> ErrorList {
        validate(secret)
    }

    fn validate_update(&self, _cx: &Context<'_>, secret: &Secret, old: &Secret) -> ErrorList {
        let mut errs = meta::object_meta_update(&secret.metadata, &old.metadata);
        errs.extend(meta::immutable(text(&secret.type_), text(&old.type_), &Path::new("type")));
        if flag(old.immutable) {
            const WHY: &str = "field is immutable when `immutable` is set";
            if !flag(secret.immutable) {
                errs.push(Error::forbidden(&Path::new("immutable"), WHY));
            }
            if !same(&secret.data, &old.data) {
                errs.push(Error::forbidden(&Path::new("data"), WHY));
            }
        }
        errs.extend(validate(secret));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, secret: &Secret, _old: Option<&Secret>) -> Vec<String> {
        if text(&secret.type_) != "kubernetes.io/tls" {
            return Vec::new();
        }
        let bytes = |key| datum(secret, key).map(|v| v.0.as_slice()).unwrap_or_default();
        super::tls_pair::complaint(bytes("tls.crt"), bytes("tls.key")).into_iter().collect()
    }

    fn fields(&self, secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", text(&secret.type_).to_owned())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn row(&self, secret: &Secret, now: Timestamp) -> Vec<Cell> {
        let count = secret.data.as_ref().map_or(0, |d| d.len());
        vec![
            print::name(&secret.metadata),
            text(&secret.type_).into(),
            Cell::Int(i64::try_from(count).unwrap_or(i64::MAX)),
            print::age(secret.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
