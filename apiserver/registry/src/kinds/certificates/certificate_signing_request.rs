//! `certificates.k8s.io/v1` CertificateSigningRequest.

use super::pem_data;
use crate::kinds::core::equal;
use crate::kinds::prelude::*;
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use std::collections::BTreeSet;

/// Who asks is stamped from the request, which never changes after; `approval` sets the conditions that say
/// yes or no, `status` the certificate and the rest, each keeping what is the other's.
pub struct CertificateSigningRequests;

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().map_or(&[], |s| list(&s.conditions))
}

fn of_type<'a>(
    csr: &'a CertificateSigningRequest,
    kind: &str,
) -> Vec<&'a CertificateSigningRequestCondition> {
    conditions(csr).iter().filter(|c| c.type_ == kind).collect()
}

fn certificate(csr: &CertificateSigningRequest) -> &[u8] {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).map_or(&[], |c| &c.0)
}

fn repeats<'a>(mut all: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = BTreeSet::new();
    all.any(|one| !seen.insert(one))
}

/// What an object that was stored with it may keep, as upstream tolerates it.
#[derive(Default)]
struct Tolerated {
    approved_and_denied: bool,
    legacy_signer: bool,
    repeated_conditions: bool,
    unnamed_conditions: bool,
    any_certificate: bool,
    repeated_usages: bool,
    unknown_usages: bool,
}

impl Tolerated {
    fn of(new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> Self {
        let usages = list(&old.spec.usages);
        Self {
            approved_and_denied: !of_type(old, APPROVED).is_empty() && !of_type(old, DENIED).is_empty(),
            legacy_signer: old.spec.signer_name == LEGACY_SIGNER,
            repeated_conditions: repeats(conditions(old).iter().map(|c| c.type_.as_str())),
            unnamed_conditions: conditions(old).iter().any(|c| c.type_.is_empty()),
            any_certificate: certificate(new) == certificate(old)
                || pem_data::certificates(certificate(old)).is_err(),
            repeated_usages: repeats(usages.iter().map(String::as_str)),
            unknown_usages: usages.iter().any(|u| !USAGES.contains(&u.as_str())),
        }
    }
}

/// A signer's name: a domain, a slash and a path of dotted parts.
pub fn signer_name(name: &str, path: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let parts: Vec<&str> = name.split('/').collect();
    let [domain, rest] = parts.as_slice() else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![Error::invalid(path, name, why)];
    };
    let mut errs = ErrorList::new();
    let mut first_bad = |whole: &str, check: fn(&str) -> Vec<String>| {
        let bad = whole.split('.').map(|label| (label, check(label))).find(|(_, found)| !found.is_empty());
        for why in bad.iter().flat_map(|(_, found)| found) {
            let label = gantry_types::field::go_quote(bad.as_ref().map_or("", |(label, _)| label));
            errs.push(Error::invalid(path, whole, format!("validating label {label}: {why}")));
        }
    };
    first_bad(domain, names::dns1123_label);
    first_bad(rest, names::dns1123_subdomain);
    if domain.len() > 253 {
        errs.push(Error::too_long(path, 253));
    }
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errs.push(Error::invalid(path, domain, why));
    }
    if name.len() > 253 + 1 + 253 + 63 + 1 {
        errs.push(Error::too_long(path, 253 + 1 + 253 + 63 + 1));
    }
    errs
}

fn spec(spec: &CertificateSigningRequestSpec, tolerated: &Tolerated) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    if let Err(why) = pem_data::request(&spec.request.0) {
        errs.push(Error::invalid(&path.child("request"), &spec.request, why));
    }
    let (usages, at) = (list(&spec.usages), path.child("usages"));
    if usages.is_empty() {
        errs.push(Error::required(&at, ""));
    }
    let mut seen = BTreeSet::new();
    for (i, usage) in usages.iter().enumerate() {
        if !tolerated.unknown_usages && !USAGES.contains(&usage.as_str()) {
            errs.push(Error::not_supported(&at.index(i), usage, USAGES));
        }
        if !seen.insert(usage) && !tolerated.repeated_usages {
            errs.push(Error::duplicate(&at.index(i), usage));
        }
    }
    let at = path.child("signerName");
    if !tolerated.legacy_signer && spec.signer_name == LEGACY_SIGNER {
        let why = "the legacy signerName is not allowed via this API version";
        errs.push(Error::invalid(&at, &spec.signer_name, why));
    } else {
        errs.extend(signer_name(&spec.signer_name, &at));
    }
    if let Some(seconds) = spec.expiration_seconds.filter(|s| *s < 600) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errs.push(Error::invalid(&path.child("expirationSeconds"), &seconds, why));
    }
    errs
}

fn validate_conditions(csr: &CertificateSigningRequest, tolerated: &Tolerated) -> ErrorList {
    let path = Path::new("status").child("conditions");
    let mut errs = ErrorList::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for (i, c) in conditions(csr).iter().enumerate() {
        let (at, kind) = (path.index(i), c.type_.as_str());
        if kind.is_empty() && !tolerated.unnamed_conditions {
            errs.push(Error::required(&at.child("type"), ""));
        }
        let allowed: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if c.status.is_empty() {
            errs.push(Error::required(&at.child("status"), ""));
        } else if !allowed.contains(&c.status.as_str()) {
            errs.push(Error::not_supported(&at.child("status"), &c.status, allowed));
        }
        let other = match kind {
            APPROVED => Some(DENIED),
            DENIED => Some(APPROVED),
            _ => None,
        };
        if !tolerated.approved_and_denied && other.is_some_and(|o| seen.contains(o)) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errs.push(Error::invalid(&path, kind, why));
        }
        if !seen.insert(kind) && !tolerated.repeated_conditions {
            errs.push(Error::duplicate(&at.child("type"), kind));
        }
    }
    errs
}

fn validate(csr: &CertificateSigningRequest, tolerated: &Tolerated) -> ErrorList {
    let mut errs = meta::object_meta(&csr.metadata, false, |_, _| Vec::new());
    errs.extend(spec(&csr.spec, tolerated));
    errs.extend(validate_conditions(csr, tolerated));
    if !tolerated.any_certificate
        && let Err(why) = pem_data::certificates(certificate(csr))
    {
        errs.push(Error::invalid(&Path::new("status").child("certificate"), "<certificate data>", why));
    }
    errs
}

/// Sets the times of conditions that have none; a condition that was there keeps when it began.
fn stamp(csr: &mut CertificateSigningRequest, old: &CertificateSigningRequest, now: Timestamp) {
    for c in csr.status.iter_mut().flat_map(|s| s.conditions.iter_mut().flatten()) {
        c.last_update_time.get_or_insert(Time(now));
        let before = conditions(old)
            .iter()
            .find(|o| o.type_ == c.type_ && o.status == c.status && o.last_transition_time.is_some());
        let since = before.and_then(|o| o.last_transition_time.clone());
        c.last_transition_time.get_or_insert_with(|| since.unwrap_or(Time(now)));
    }
}

/// Puts conditions of a type back as they were, where there are as many as there were.
fn keep(csr: &mut CertificateSigningRequest, old: &CertificateSigningRequest, kind: &str) {
    let had = of_type(old, kind);
    if of_type(csr, kind).len() != had.len() {
        return;
    }
    let now = csr.status.iter_mut().flat_map(|s| s.conditions.iter_mut().flatten());
    for (c, was) in now.filter(|c| c.type_ == kind).zip(had) {
        c.clone_from(was);
    }
}

fn state(csr: &CertificateSigningRequest) -> String {
    let has = |kind: &str| !of_type(csr, kind).is_empty();
    let mut state = if has(DENIED) {
        "Denied"
    } else if has(APPROVED) {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has(FAILED) {
        state.push_str(",Failed");
    }
    if !certificate(csr).is_empty() {
        state.push_str(",Issued");
    }
    state
}

impl Strategy for CertificateSigningRequests {
    type Kind = CertificateSigningRequest;

    fn prepare_create(&self, cx: &Context<'_>, csr: &mut CertificateSigningRequest) {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        csr.spec.username = some(&cx.user.name);
        csr.spec.uid = some(&cx.user.uid);
        csr.spec.groups = (!cx.user.groups.is_empty()).then(|| cx.user.groups.clone());
        csr.spec.extra = (!cx.user.extra.is_empty()).then(|| cx.user.extra.clone().into_iter().collect());
        csr.status = Some(CertificateSigningRequestStatus::default());
    }

    fn prepare_update(
        &self,
        cx: &Context<'_>,
        csr: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        csr.spec = old.spec.clone();
        match cx.subresource {
            "status" => {
                keep(csr, old, APPROVED);
                keep(csr, old, DENIED);
                stamp(csr, old, cx.now);
            }
            "approval" => {
                stamp(csr, old, cx.now);
                let decided = csr.status.take().and_then(|s| s.conditions);
                let mut status = old.status.clone().unwrap_or_default();
                status.conditions = decided;
                csr.status = Some(status);
            }
            _ => csr.status.clone_from(&old.status),
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, csr: &CertificateSigningRequest) -> ErrorList {
        validate(csr, &Tolerated::default())
    }

    fn validate_update(
        &self,
        cx: &Context<'_>,
        csr: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> ErrorList {
        let mut errs = validate(csr, &Tolerated::of(csr, old));
        let path = Path::new("status").child("conditions");
        for kind in [APPROVED, DENIED, FAILED] {
            let (has, had) = (of_type(csr, kind), of_type(old, kind));
            let decides = kind == FAILED || cx.subresource == "approval";
            let may_not = |what: &str| {
                Error::forbidden(&path, format!("updates may not {what} a condition of type \"{kind}\""))
            };
            if has.len() < had.len() {
                errs.push(may_not("remove"));
            } else if !decides && has.len() > had.len() {
                errs.push(may_not("add"));
            } else if !decides && !equal::values(&has, &had) {
                errs.push(may_not("modify"));
            }
        }
        if certificate(csr) != certificate(old) {
            let at = Path::new("status").child("certificate");
            if cx.subresource != "status" {
                errs.push(Error::forbidden(&at, "updates may not set certificate content"));
            } else if !certificate(old).is_empty() {
                errs.push(Error::forbidden(&at, "updates may not modify existing certificate content"));
            }
        }
        errs.extend(meta::object_meta_update(&csr.metadata, &old.metadata));
        errs
    }

    fn fields(&self, csr: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        vec![("spec.signerName", csr.spec.signer_name.clone())]
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        match subresource {
            "status" => &["spec", "status.conditions"],
            "approval" => &["spec", "status.certificate"],
            _ => &["spec", "status"],
        }
    }

    fn row(&self, csr: &CertificateSigningRequest, now: Timestamp) -> Vec<Cell> {
        let or_none = |s: String| if s.is_empty() { "<none>".to_owned() } else { s };
        let asked = csr.spec.expiration_seconds.map(|s| print::human_duration(i64::from(s) * 1000));
        vec![
            print::name(&csr.metadata),
            print::age(csr.metadata.creation_timestamp.as_ref(), now).into(),
            or_none(csr.spec.signer_name.clone()).into(),
            text(&csr.spec.username).into(),
            or_none(asked.unwrap_or_default()).into(),
            state(csr).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::UserInfo;

    fn csr(json: &str) -> CertificateSigningRequest {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn states_read_as_upstream_prints_them() {
        let check = |status: &str, want: &str| {
            let object = format!(r#"{{"spec":{{"request":"","signerName":"a.b/c"}},"status":{status}}}"#);
            assert_eq!(state(&csr(&object)), want);
        };
        check("{}", "Pending");
        check(
            r#"{"conditions":[{"type":"Approved","status":"True"}],"certificate":"eA=="}"#,
            "Approved,Issued",
        );
        check(r#"{"conditions":[{"type":"Denied","status":"True"}]}"#, "Denied");
        check(
            r#"{"conditions":[{"type":"Approved","status":"True"},{"type":"Failed","status":"True"}]}"#,
            "Approved,Failed",
        );
    }

    #[test]
    fn who_asks_is_stamped_and_what_is_decided_is_dated() {
        let user = UserInfo { name: "me".into(), groups: vec!["g".into()], ..UserInfo::default() };
        let now = Timestamp::UNIX_EPOCH;
        let mut cx = Context { user: &user, now, dry_run: false, subresource: "" };
        let mut new = csr(
            r#"{"spec":{"request":"","signerName":"a.b/c","username":"root","uid":"0"},"status":{"certificate":"eA=="}}"#,
        );
        CertificateSigningRequests.prepare_create(&cx, &mut new);
        assert_eq!((text(&new.spec.username), new.spec.uid.as_ref()), ("me", None));
        assert_eq!(new.spec.groups, Some(vec!["g".to_owned()]));
        assert!(certificate(&new).is_empty());
        let old = new.clone();
        new.status = csr(
            r#"{"spec":{"request":"","signerName":""},"status":{"certificate":"eA==","conditions":[{"type":"Approved","status":"True"}]}}"#,
        )
        .status;
        cx.subresource = "approval";
        CertificateSigningRequests.prepare_update(&cx, &mut new, &old);
        assert!(certificate(&new).is_empty(), "approval does not sign");
        assert_eq!(conditions(&new)[0].last_transition_time, Some(Time(now)));
        assert_eq!(new.spec.signer_name, "a.b/c");
    }
}
