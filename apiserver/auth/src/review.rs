//! The review APIs as functions: create an object, get it back with its status filled.

use crate::authenticate::Authenticator;
use crate::authorize::RuleResolver;
use gantry_types::field::{Error, ErrorList, Path};
use gantry_types::user::{Attributes, Authorizer, Decision};
use gantry_types::{GroupKind, Status, StatusResult, UserInfo};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1 as authn;
use k8s_openapi::api::authorization::v1::{
    FieldSelectorAttributes, LabelSelectorAttributes, LocalSubjectAccessReview, NonResourceAttributes,
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use std::collections::BTreeMap;

/// The 422 of an access review. Upstream names no kind in it.
fn invalid(errors: ErrorList) -> StatusResult<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind { group: "authorization.k8s.io".into(), kind: "".into() }, "", errors))
}

/// How upstream prints the attributes when they are wrong: by its internal field names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Printed<'a> {
    path: &'a str,
    verb: &'a str,
}

impl<'a> Printed<'a> {
    fn of(attributes: &'a NonResourceAttributes) -> Self {
        let text = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
        Self { path: text(&attributes.path), verb: text(&attributes.verb) }
    }
}

fn check_attributes(
    resource: &Option<ResourceAttributes>,
    other: &Option<NonResourceAttributes>,
    errors: &mut ErrorList,
) {
    let path = Path::new("spec");
    match (resource, other) {
        (Some(_), Some(other)) => errors.push(Error::invalid(
            &path.child("nonResourceAttributes"),
            &Printed::of(other),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => errors.push(Error::invalid(
            &path.child("resourceAttributes"),
            other,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
}

fn check_selector(path: &Path, raw: &Option<String>, requirements: usize, errors: &mut ErrorList) {
    let raw = raw.as_deref().unwrap_or_default();
    if !raw.is_empty() && requirements > 0 {
        let why = "may not specified at the same time as requirements";
        errors.push(Error::invalid(&path.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements == 0 {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(Error::required(&path.child("requirements"), why));
    }
}

fn check_selectors(attributes: &Option<ResourceAttributes>, errors: &mut ErrorList) {
    let Some(attributes) = attributes else { return };
    let path = Path::new("spec.resourceAttributes");
    if let Some(fields) = &attributes.field_selector {
        let count = fields.requirements.as_ref().map_or(0, Vec::len);
        check_selector(&path.child("fieldSelector"), &fields.raw_selector, count, errors);
    }
    if let Some(labels) = &attributes.label_selector {
        let count = labels.requirements.as_ref().map_or(0, Vec::len);
        check_selector(&path.child("labelSelector"), &labels.raw_selector, count, errors);
    }
}

fn check_empty(meta: &ObjectMeta, but_namespace: bool, errors: &mut ErrorList) {
    let mut meta = meta.clone();
    meta.managed_fields = None;
    let why = if but_namespace {
        meta.namespace = None;
        "must be empty except for namespace"
    } else {
        "must be empty"
    };
    // A creation time is filled in before validation, as on every create.
    meta.creation_timestamp = None;
    if meta != ObjectMeta::default() {
        errors.push(Error::invalid(&Path::new("metadata"), &meta, why));
    }
}

fn check_spec(spec: &SubjectAccessReviewSpec) -> ErrorList {
    let mut errors = ErrorList::new();
    check_attributes(&spec.resource_attributes, &spec.non_resource_attributes, &mut errors);
    let user = spec.user.as_deref().unwrap_or_default();
    if user.is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty) {
        let why = "at least one of user or group must be specified";
        errors.push(Error::invalid(&Path::new("spec").child("user"), user, why));
    }
    check_selectors(&spec.resource_attributes, &mut errors);
    errors
}

fn field_selector(selector: FieldSelectorAttributes) -> String {
    if let Some(raw) = selector.raw_selector.filter(|raw| !raw.is_empty()) {
        return raw;
    }
    let terms = selector.requirements.into_iter().flatten().filter_map(|r| {
        let value = match &r.values.unwrap_or_default()[..] {
            [one] => one.clone(),
            _ => return None,
        };
        match &*r.operator {
            "In" => Some(format!("{}={value}", r.key)),
            "NotIn" => Some(format!("{}!={value}", r.key)),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

fn label_selector(selector: LabelSelectorAttributes) -> String {
    if let Some(raw) = selector.raw_selector.filter(|raw| !raw.is_empty()) {
        return raw;
    }
    let terms = selector.requirements.into_iter().flatten().filter_map(|r| {
        let values = r.values.unwrap_or_default().join(",");
        match &*r.operator {
            "In" => Some(format!("{} in ({values})", r.key)),
            "NotIn" => Some(format!("{} notin ({values})", r.key)),
            "Exists" => Some(r.key),
            "DoesNotExist" => Some(format!("!{}", r.key)),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

fn attributes(
    user: UserInfo,
    resource: Option<ResourceAttributes>,
    other: Option<NonResourceAttributes>,
) -> Attributes {
    if let Some(r) = resource {
        return Attributes {
            user,
            verb: r.verb.unwrap_or_default(),
            group: r.group.unwrap_or_default(),
            version: r.version.filter(|v| !v.is_empty()).unwrap_or_else(|| "*".to_owned()),
            resource: r.resource.unwrap_or_default(),
            subresource: r.subresource.unwrap_or_default(),
            namespace: r.namespace.unwrap_or_default(),
            name: r.name.unwrap_or_default(),
            resource_request: true,
            field_selector: r.field_selector.map(field_selector).filter(|s| !s.is_empty()),
            label_selector: r.label_selector.map(label_selector).filter(|s| !s.is_empty()),
            ..Attributes::default()
        };
    }
    let other = other.unwrap_or_default();
    Attributes {
        user,
        verb: other.verb.unwrap_or_default(),
        path: other.path.unwrap_or_default(),
        ..Attributes::default()
    }
}

fn decide(authorizer: &dyn Authorizer, attributes: &Attributes) -> SubjectAccessReviewStatus {
    let (allowed, denied, reason) = match authorizer.authorize(attributes) {
        Decision::Allow { reason } => (true, false, reason),
        Decision::Deny { reason } => (false, true, reason),
        Decision::NoOpinion { reason } => (false, false, reason),
    };
    SubjectAccessReviewStatus {
        allowed,
        denied: denied.then_some(true),
        evaluation_error: None,
        reason: (!reason.is_empty()).then_some(reason),
    }
}

fn decide_for(authorizer: &dyn Authorizer, spec: SubjectAccessReviewSpec) -> SubjectAccessReviewStatus {
    let user = UserInfo {
        name: spec.user.unwrap_or_default(),
        uid: spec.uid.unwrap_or_default(),
        groups: spec.groups.unwrap_or_default(),
        extra: spec.extra.unwrap_or_default(),
    };
    decide(authorizer, &attributes(user, spec.resource_attributes, spec.non_resource_attributes))
}

/// Whether someone may do something.
///
/// # Errors
/// 422 where the review is not sound.
pub fn subject_access(
    authorizer: &dyn Authorizer,
    mut review: SubjectAccessReview,
) -> StatusResult<SubjectAccessReview> {
    let mut errors = check_spec(&review.spec);
    check_empty(&review.metadata, false, &mut errors);
    invalid(errors)?;
    review.status = Some(decide_for(authorizer, review.spec.clone()));
    Ok(review)
}

/// Whether someone may do something in one namespace. `namespace` is the URL's.
///
/// # Errors
/// 422 where the review is not sound.
pub fn local_subject_access(
    authorizer: &dyn Authorizer,
    namespace: &str,
    mut review: LocalSubjectAccessReview,
) -> StatusResult<LocalSubjectAccessReview> {
    let mut errors = check_spec(&review.spec);
    check_empty(&review.metadata, true, &mut errors);
    if let Some(a) = &review.spec.resource_attributes {
        let given = a.namespace.as_deref().unwrap_or_default();
        if given != namespace {
            let path = Path::new("spec.resourceAttributes.namespace");
            errors.push(Error::invalid(&path, given, "must match metadata.namespace"));
        }
    }
    if let Some(a) = &review.spec.non_resource_attributes {
        errors.push(Error::invalid(
            &Path::new("spec.nonResourceAttributes"),
            &Printed::of(a),
            "disallowed on this kind of request",
        ));
    }
    invalid(errors)?;
    review.status = Some(decide_for(authorizer, review.spec.clone()));
    Ok(review)
}

/// Whether the one who asks may do something.
///
/// # Errors
/// 422 where the review is not sound.
pub fn self_subject_access(
    authorizer: &dyn Authorizer,
    user: &UserInfo,
    mut review: SelfSubjectAccessReview,
) -> StatusResult<SelfSubjectAccessReview> {
    let mut errors = ErrorList::new();
    check_attributes(&review.spec.resource_attributes, &review.spec.non_resource_attributes, &mut errors);
    check_selectors(&review.spec.resource_attributes, &mut errors);
    check_empty(&review.metadata, false, &mut errors);
    invalid(errors)?;
    let spec = review.spec.clone();
    let asked = attributes(user.clone(), spec.resource_attributes, spec.non_resource_attributes);
    review.status = Some(decide(authorizer, &asked));
    Ok(review)
}

/// Everything the one who asks may do in a namespace.
///
/// # Errors
/// 400 without a namespace.
pub fn self_subject_rules(
    resolver: &dyn RuleResolver,
    user: &UserInfo,
    review: SelfSubjectRulesReview,
) -> StatusResult<SelfSubjectRulesReview> {
    let namespace = review.spec.namespace.as_deref().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let rules = resolver.rules(user, namespace);
    let error = match &rules.errors[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    };
    Ok(SelfSubjectRulesReview {
        metadata: ObjectMeta::default(),
        spec: Default::default(),
        status: Some(SubjectRulesReviewStatus {
            evaluation_error: error,
            incomplete: rules.incomplete,
            non_resource_rules: rules.non_resource,
            resource_rules: rules.resource,
        }),
    })
}

/// An identity as the authentication API speaks of it.
pub fn user_info(user: &UserInfo) -> authn::UserInfo {
    let text = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let extra: BTreeMap<_, _> = user.extra.clone();
    authn::UserInfo {
        extra: (!extra.is_empty()).then_some(extra),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        uid: text(&user.uid),
        username: text(&user.name),
    }
}

/// Who the one who asks is.
pub fn self_subject(user: &UserInfo, mut review: authn::SelfSubjectReview) -> authn::SelfSubjectReview {
    review.status = Some(authn::SelfSubjectReviewStatus { user_info: Some(user_info(user)) });
    review
}

/// Whose token it is.
///
/// # Errors
/// 400 without a token.
pub fn token(
    authenticator: &Authenticator,
    mut review: authn::TokenReview,
    now: Timestamp,
) -> StatusResult<authn::TokenReview> {
    let token = &*review.spec.token;
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = review.spec.audiences.as_deref().filter(|a| !a.is_empty());
    review.status = Some(match authenticator.token(token, audiences, now) {
        Ok(Some(found)) => authn::TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(found.audiences),
            error: None,
            user: Some(user_info(&found.user)),
        },
        Ok(None) => authn::TokenReviewStatus {
            error: Some("invalid bearer token".to_owned()),
            user: Some(authn::UserInfo::default()),
            ..Default::default()
        },
        Err(e) => authn::TokenReviewStatus {
            user: Some(authn::UserInfo::default()),
            error: Some(format!("[invalid bearer token, {e}]")),
            ..Default::default()
        },
    });
    Ok(review)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1::PolicyRule;

    struct Nobody;

    impl Authorizer for Nobody {
        fn authorize(&self, _: &Attributes) -> Decision {
            Decision::NoOpinion { reason: "no".into() }
        }

        fn covers(&self, _: &UserInfo, _: &str, _: &[PolicyRule]) -> Result<(), String> {
            Err(String::new())
        }
    }

    #[test]
    fn unsound_reviews_are_refused_in_upstreams_words() {
        let check = |json: &str, expected: &str| {
            let review: SubjectAccessReview = serde_json::from_str(json).unwrap();
            assert_eq!(subject_access(&Nobody, review).unwrap_err().message(), expected);
        };
        check(
            r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","metadata":{"name":"x"},"spec":{}}"#,
            r#".authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": at least one of user or group must be specified, metadata: Invalid value: {"name":"x"}: must be empty]"#,
        );
        check(
            r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"x","resourceAttributes":{"verb":"get","resource":"pods"},"nonResourceAttributes":{"path":"/x","verb":"get"}}}"#,
            r#".authorization.k8s.io "" is invalid: spec.nonResourceAttributes: Invalid value: {"Path":"/x","Verb":"get"}: cannot be specified in combination with resourceAttributes"#,
        );
        let review = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"x","resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
        let done = subject_access(&Nobody, serde_json::from_str(review).unwrap()).unwrap().status.unwrap();
        assert_eq!((done.allowed, done.denied, done.reason.as_deref()), (false, None, Some("no")));
    }
}
