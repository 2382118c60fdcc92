//! `v1` ServiceAccount.

use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount};

/// Secrets are referred to by name alone.
pub struct ServiceAccounts;

const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

fn clean(account: &mut ServiceAccount) {
    for secret in account.secrets.iter_mut().flatten() {
        *secret = ObjectReference { name: secret.name.take(), ..ObjectReference::default() };
    }
}

fn validate(account: &ServiceAccount) -> ErrorList {
    meta::object_meta(&account.metadata, true, meta::subdomain_name)
}

impl Strategy for ServiceAccounts {
    type Kind = ServiceAccount;

    fn prepare_create(&self, _cx: &Context<'_>, account: &mut ServiceAccount) {
        clean(account);
    }

    fn prepare_update(&self, _cx: &Context<'_>, account: &mut ServiceAccount, _old: &ServiceAccount) {
        clean(account);
    }

    fn validate_create(&self, _cx: &Context<'_>, account: &ServiceAccount) -> ErrorList {
        validate(account)
    }

    fn validate_update(
        &self,
        _cx: &Context<'_>,
        account: &ServiceAccount,
        old: &ServiceAccount,
    ) -> ErrorList {
        let mut errs = meta::object_meta_update(&account.metadata, &old.metadata);
        errs.extend(validate(account));
        errs
    }

    fn warnings(
        &self,
        _cx: &Context<'_>,
        account: &ServiceAccount,
        old: Option<&ServiceAccount>,
    ) -> Vec<String> {
        let has =
            |a: &ServiceAccount| a.metadata.annotations.as_ref().is_some_and(|m| m.contains_key(ENFORCE));
        if old.is_some_and(has) || !has(account) {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn row(&self, account: &ServiceAccount, now: Timestamp) -> Vec<Cell> {
        let age = print::age(account.metadata.creation_timestamp.as_ref(), now);
        vec![print::name(&account.metadata), age.into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
