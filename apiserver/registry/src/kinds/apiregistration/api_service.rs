//! `apiregistration.k8s.io/v1` APIService.

use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::validate::meta;
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition, APIServiceSpec, APIServiceStatus, ServiceReference,
};

/// Says who serves a group version: this server, or a service of the cluster.
pub struct ApiServices;

/// The port of a backing service that names none.
const HTTPS: i32 = 443;
const AVAILABLE: &str = "Available";

/// Any path segment: that it also says group and version is checked with the spec at hand.
fn segment(name: &str, _prefix: bool) -> Vec<String> {
    names::path_segment_name(name)
}

/// The name must repeat version and group.
fn names_its_spec(metadata: &ObjectMeta, spec: &APIServiceSpec) -> ErrorList {
    let required = format!("{}.{}", text(&spec.version), text(&spec.group));
    let path = Path::new("metadata");
    let mut errs = ErrorList::new();
    for (field, name) in [("generateName", &metadata.generate_name), ("name", &metadata.name)] {
        let name = text(name);
        if !name.is_empty() && name != required && names::path_segment_name(name).is_empty() {
            let why = format!("must be `spec.version+\".\"+spec.group`: {}", go_quote(&required));
            errs.push(Error::invalid(&path.child(field), name, why));
        }
    }
    errs
}

fn validate_service(service: &ServiceReference, spec: &APIServiceSpec, path: &Path) -> ErrorList {
    let at = path.child("service");
    let mut errs = ErrorList::new();
    for (field, value) in [("namespace", &service.namespace), ("name", &service.name)] {
        if text(value).is_empty() {
            errs.push(Error::required(&at.child(field), ""));
        }
    }
    let port = service.port.unwrap_or(0);
    let wrong = names::port_number(port.into());
    if !wrong.is_empty() {
        let why = format!("port is not valid: {}", wrong.join(", "));
        errs.push(Error::invalid(&at.child("port"), &port, why));
    }
    if flag(spec.insecure_skip_tls_verify) && has_bundle(spec) {
        let why = "may not be true if caBundle is present";
        errs.push(Error::invalid(&path.child("insecureSkipTLSVerify"), &true, why));
    }
    errs
}

fn has_bundle(spec: &APIServiceSpec) -> bool {
    spec.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
}

fn validate(service: &APIService) -> ErrorList {
    let default = APIServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&default);
    let mut errs = meta::object_meta_plain(&service.metadata, false, segment);
    errs.extend(names_its_spec(&service.metadata, spec));
    let path = Path::new("spec");
    let (group, version) = (text(&spec.group), text(&spec.version));
    if group.is_empty() {
        if version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errs.push(Error::required(&path.child("group"), why));
        }
    } else {
        errs.extend(invalid_each(&path.child("group"), group, names::dns1123_subdomain(group)));
    }
    errs.extend(invalid_each(&path.child("version"), version, names::dns1035_label(version)));
    for (field, n, most) in [
        ("groupPriorityMinimum", spec.group_priority_minimum, 20000),
        ("versionPriority", spec.version_priority, 1000),
    ] {
        if n <= 0 || n > most {
            let why = format!("must be positive and less than {most}");
            errs.push(Error::invalid(&path.child(field), &n, why));
        }
    }
    let Some(remote) = &spec.service else {
        if let Some(bundle) = spec.ca_bundle.as_ref().filter(|bundle| !bundle.0.is_empty()) {
            let size = format!("{} bytes", bundle.0.len());
            let why = "local APIServices may not have a caBundle";
            errs.push(Error::invalid(&path.child("caBundle"), &size, why));
        }
        if flag(spec.insecure_skip_tls_verify) {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errs.push(Error::invalid(&path.child("insecureSkipTLSVerify"), &true, why));
        }
        return errs;
    };
    errs.extend(validate_service(remote, spec, &path));
    errs
}

fn validate_status(status: Option<&APIServiceStatus>) -> ErrorList {
    let path = Path::new("status").child("conditions");
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let known = |c: &APIServiceCondition| matches!(c.status.as_str(), "True" | "False" | "Unknown");
    conditions
        .iter()
        .enumerate()
        .filter(|(_, c)| !known(c))
        .map(|(i, c)| {
            let at = path.index(i).child("status");
            Error::not_supported(&at, &c.status, &["True", "False", "Unknown"])
        })
        .collect()
}

fn available_cell(service: &APIService) -> String {
    let conditions = service.status.iter().flat_map(|s| s.conditions.iter().flatten());
    match conditions.into_iter().find(|c| c.type_ == AVAILABLE) {
        None => "Unknown".into(),
        Some(c) if c.status == "True" || text(&c.reason).is_empty() => c.status.clone(),
        Some(c) => format!("{} ({})", c.status, text(&c.reason)),
    }
}

impl Strategy for ApiServices {
    type Kind = APIService;

    fn default(&self, service: &mut APIService) {
        service.status.get_or_insert_default();
        let spec = service.spec.get_or_insert_default();
        if let Some(remote) = &mut spec.service {
            remote.port.get_or_insert(HTTPS);
        }
    }

    fn prepare_create(&self, cx: &Context<'_>, service: &mut APIService) {
        let local = service.spec.as_ref().is_none_or(|s| s.service.is_none());
        let condition = APIServiceCondition {
            type_: AVAILABLE.into(),
            status: "True".into(),
            last_transition_time: Some(Time(cx.now)),
            reason: Some("Local".into()),
            message: Some("Local APIServices are always available".into()),
        };
        service.status = Some(APIServiceStatus { conditions: local.then(|| vec![condition]) });
    }

    fn prepare_update(&self, cx: &Context<'_>, service: &mut APIService, old: &APIService) {
        if cx.subresource == "status" {
            service.spec.clone_from(&old.spec);
            let (new, old) = (&mut service.metadata, &old.metadata);
            new.labels.clone_from(&old.labels);
            new.annotations.clone_from(&old.annotations);
            new.finalizers.clone_from(&old.finalizers);
            new.owner_references.clone_from(&old.owner_references);
        } else {
            service.status.clone_from(&old.status);
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, service: &APIService) -> ErrorList {
        validate(service)
    }

    fn validate_update(&self, cx: &Context<'_>, service: &APIService, old: &APIService) -> ErrorList {
        let mut errs = meta::object_meta_update_plain(&service.metadata, &old.metadata);
        errs.extend(match cx.subresource {
            "status" => validate_status(service.status.as_ref()),
            _ => validate(service),
        });
        errs
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec", "metadata"] } else { &["status"] }
    }

    fn row(&self, service: &APIService, now: Timestamp) -> Vec<Cell> {
        let remote = service.spec.as_ref().and_then(|s| s.service.as_ref());
        let place = remote
            .map_or_else(|| "Local".to_owned(), |s| format!("{}/{}", text(&s.namespace), text(&s.name)));
        vec![
            print::name(&service.metadata),
            place.into(),
            available_cell(service).into(),
            print::age(service.metadata.creation_timestamp.as_ref(), now).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        segment(name, prefix)
    }
}
