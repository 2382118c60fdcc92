//! A job's spec, its own or a cron job's template of one.

use super::job_policy;
use crate::kinds::core::pod_warnings;
use crate::kinds::prelude::*;
use crate::kinds::template::not_negative;
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::pod_spec;
use crate::kinds::{go_types, validate::meta};
use gantry_types::k8s_openapi::api::batch::v1::JobSpec;

/// Above so many completions, an indexed job must not fail or run too many at once.
const MANY_COMPLETIONS: i32 = 100_000;
const PARALLELISM_OF_MANY: i32 = 10_000;
const FAILED_OF_MANY: i32 = 10_000;
/// Whatever the completions.
const MOST_PARALLEL: i32 = 100_000;
const MOST_FAILED: i32 = 100_000;
const MANAGED_BY: usize = 63;

pub fn is_indexed(s: &JobSpec) -> bool {
    text(&s.completion_mode) == "Indexed"
}

fn managed_by(name: &str, path: &Path) -> ErrorList {
    const PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errs = ErrorList::new();
    match name.split_once('/') {
        Some((host, rest)) if !host.is_empty() && !rest.is_empty() => {
            errs.extend(invalid_each(path, host, meta::subdomain_name(host, false)));
            if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
                errs.push(Error::invalid(path, rest, names::regex_error("Invalid path", PATH, &[])));
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errs.push(Error::invalid(path, name, why));
        }
    }
    if name.len() > MANAGED_BY {
        errs.push(Error::too_long(path, MANAGED_BY));
    }
    errs
}

fn at_most(n: Option<i32>, limit: i32, path: &Path, when: &str) -> Option<Error> {
    let n = n.filter(|n| *n > limit)?;
    Some(Error::invalid(path, &n, format!("must be less than or equal to {limit}{when}")))
}

fn indexed(s: &JobSpec, path: &Path) -> ErrorList {
    let (parallelism, failed) = (path.child("parallelism"), path.child("maxFailedIndexes"));
    let mut errs = ErrorList::new();
    if s.completions.is_none() {
        errs.push(Error::required(&path.child("completions"), "when completion mode is Indexed"));
    }
    let when = " when completion mode is Indexed";
    errs.extend(at_most(s.parallelism, MOST_PARALLEL, &parallelism, when));
    if let (Some(failed_indexes), Some(completions)) = (s.max_failed_indexes, s.completions)
        && failed_indexes > completions
    {
        errs.push(Error::invalid(&failed, &failed_indexes, "must be less than or equal to completions"));
    }
    errs.extend(at_most(s.max_failed_indexes, MOST_FAILED, &failed, ""));
    if s.completions.is_some_and(|n| n > MANY_COMPLETIONS) && s.backoff_limit_per_index.is_some() {
        if s.max_failed_indexes.is_none() {
            let why = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errs.push(Error::required(&failed, why));
        }
        let when =
            format!(" when completions are above {MANY_COMPLETIONS} and used with backoff limit per index");
        errs.extend(at_most(s.parallelism, PARALLELISM_OF_MANY, &parallelism, &when));
        errs.extend(at_most(s.max_failed_indexes, FAILED_OF_MANY, &failed, &when));
    }
    errs
}

fn limits(s: &JobSpec, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (field, n) in [
        ("parallelism", s.parallelism.map(i64::from)),
        ("completions", s.completions.map(i64::from)),
        ("activeDeadlineSeconds", s.active_deadline_seconds),
        ("backoffLimit", s.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", s.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", s.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", s.max_failed_indexes.map(i64::from)),
    ] {
        errs.extend(not_negative(n, &path.child(field)));
    }
    let per_index = path.child("backoffLimitPerIndex");
    if s.max_failed_indexes.is_some() && s.backoff_limit_per_index.is_none() {
        errs.push(Error::required(&per_index, "when maxFailedIndexes is specified"));
    }
    if let Some(name) = &s.managed_by {
        errs.extend(managed_by(name, &path.child("managedBy")));
    }
    match s.completion_mode.as_deref() {
        Some("Indexed") => errs.extend(indexed(s, path)),
        None | Some("NonIndexed") => {
            let only_indexed = [
                (per_index, s.backoff_limit_per_index),
                (path.child("maxFailedIndexes"), s.max_failed_indexes),
            ];
            for (at, n) in only_indexed {
                errs.extend(n.map(|n| Error::invalid(&at, &n, "requires indexed completion mode")));
            }
        }
        Some(other) => {
            let at = path.child("completionMode");
            errs.push(Error::not_supported(&at, other, &["NonIndexed", "Indexed"]));
        }
    }
    errs
}

/// Everything but the selector.
pub fn validate(s: &JobSpec, options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = limits(s, path);
    if let Some(policy) = &s.pod_failure_policy {
        errs.extend(job_policy::failure(policy, s, &path.child("podFailurePolicy")));
    }
    if let Some(policy) = &s.success_policy {
        let at = path.child("successPolicy");
        match s.completions {
            _ if !is_indexed(s) => {
                let value = go_types::print("SuccessPolicy", policy);
                errs.push(invalid_raw(&at, value, "requires indexed completion mode"));
            }
            Some(completions) => errs.extend(job_policy::success(policy, completions, &at)),
            // Refused already.
            None => {}
        }
    }
    if let Some(policy) = s.pod_replacement_policy.as_deref() {
        let known: &[&str] =
            if s.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
        if !known.contains(&policy) {
            errs.push(Error::not_supported(&path.child("podReplacementPolicy"), policy, known));
        }
    }
    let at = path.child("template");
    errs.extend(pod_spec::template(&s.template, options, &at));
    let at = at.child("spec").child("restartPolicy");
    match s.template.spec.as_ref().map(|p| text(&p.restart_policy)).unwrap_or_default() {
        "" | "Always" => errs.push(Error::required(&at, "valid values: \"OnFailure\", \"Never\"")),
        "Never" => {}
        "OnFailure" if s.pod_failure_policy.is_some() => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errs.push(Error::invalid(&at, "OnFailure", why));
        }
        "OnFailure" => {}
        other => errs.push(Error::not_supported(&at, other, &["OnFailure", "Never"])),
    }
    errs
}

pub fn warnings(s: &JobSpec, path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let many = s.completions.unwrap_or(0) > MANY_COMPLETIONS;
    if is_indexed(s) && many && s.parallelism.unwrap_or(0) > PARALLELISM_OF_MANY {
        out.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    out.extend(pod_warnings::on_template(&s.template, &path.child("template")));
    out
}
