//! `apps/v1` StatefulSet.

use crate::kinds::core::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::template::{self, amount, at_most_all, count_or_percent, not_negative, present};
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{claim_template, meta, pod_annotations, pod_spec, selector};
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetStatus,
    StatefulSetUpdateStrategy,
};
use gantry_types::k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use gantry_types::{Document, StatusResult};

/// Who a set selects, how it names its pods and what they claim never change.
pub struct StatefulSets;

/// What an update is not held to, because the stored object got away with it.
#[derive(Clone, Copy, Default)]
struct Tolerated {
    service_name: bool,
    template: bool,
    claims: bool,
}

/// Go's print of the internal type.
fn rolling_text(r: &RollingUpdateStatefulSetStrategy) -> String {
    let max = r.max_unavailable.as_ref().and_then(|v| serde_json::to_string(v).ok());
    let partition = r.partition.unwrap_or(0);
    format!("{{\"Partition\":{partition},\"MaxUnavailable\":{}}}", max.as_deref().unwrap_or("null"))
}

fn update_strategy(s: &StatefulSetUpdateStrategy, path: &Path) -> ErrorList {
    let rolling = s.rolling_update.as_ref();
    let at = path.child("rollingUpdate");
    match (text(&s.type_), rolling) {
        ("", _) => vec![Error::required(path, "")],
        ("OnDelete", Some(r)) => {
            vec![invalid_raw(&at, rolling_text(r), "only allowed for updateStrategy 'RollingUpdate'")]
        }
        ("RollingUpdate", Some(r)) => rolling_update(r, &at),
        ("OnDelete" | "RollingUpdate", None) => ErrorList::new(),
        (other, _) => {
            let rolling = rolling.map_or_else(|| "null".to_owned(), rolling_text);
            let value = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", go_quote(other));
            vec![invalid_raw(path, value, "must be 'RollingUpdate' or 'OnDelete'")]
        }
    }
}

fn rolling_update(r: &RollingUpdateStatefulSetStrategy, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    errs.extend(not_negative(r.partition.map(i64::from), &path.child("partition")));
    if let Some(max) = &r.max_unavailable {
        let at = path.child("maxUnavailable");
        errs.extend(count_or_percent(max, &at));
        if amount(max) == 0 {
            errs.push(Error::invalid(&at, max, "cannot be 0"));
        }
        errs.extend(at_most_all(max, &at));
    }
    errs
}

fn retention(s: &StatefulSetSpec, path: &Path) -> ErrorList {
    let Some(policy) = &s.persistent_volume_claim_retention_policy else { return ErrorList::new() };
    let each = [("whenDeleted", &policy.when_deleted), ("whenScaled", &policy.when_scaled)];
    each.into_iter()
        .filter(|(_, p)| !matches!(text(p), "Retain" | "Delete"))
        .map(|(field, p)| Error::not_supported(&path.child(field), text(p), &["Retain", "Delete"]))
        .collect()
}

fn claim_name(claim: &PersistentVolumeClaim) -> &str {
    text(&claim.metadata.name)
}

/// The template as pods will have it: the controller sets names, and a volume for each claim.
fn as_controlled(s: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = s.template.clone();
    let spec = template.spec.get_or_insert_default();
    (spec.subdomain, spec.hostname) = (None, None);
    let claims = list(&s.volume_claim_templates);
    if !claims.is_empty() {
        let mut volumes: Vec<Volume> = Vec::new();
        for (i, claim) in claims.iter().enumerate() {
            let name = claim_name(claim);
            // Of claims with one name, one volume.
            if claims[..i].iter().any(|c| claim_name(c) == name) {
                continue;
            }
            let source = PersistentVolumeClaimVolumeSource { claim_name: name.to_owned(), read_only: None };
            volumes.push(Volume {
                name: name.to_owned(),
                persistent_volume_claim: Some(source),
                ..Volume::default()
            });
        }
        let own = spec.volumes.take().unwrap_or_default();
        volumes.extend(own.into_iter().filter(|v| claims.iter().all(|c| claim_name(c) != v.name)));
        spec.volumes = Some(volumes);
    }
    template
}

fn validate_template(
    s: &StatefulSetSpec,
    options: &PodOptions,
    tolerated: Tolerated,
    path: &Path,
) -> ErrorList {
    let template = as_controlled(s);
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut errs = ErrorList::new();
    let labels = metadata.labels.clone().unwrap_or_default();
    let selector = present(&s.selector);
    let empty = selector.is_some_and(selector::is_empty);
    if !empty && !selector.is_some_and(|s| selector::matches(s, &labels)) {
        let why = "`selector` does not match template `labels`";
        errs.push(Error::invalid(&path.child("metadata").child("labels"), &metadata.labels, why));
    }
    if !tolerated.template {
        errs.extend(pod_spec::template(&template, options, path));
    }
    errs.extend(meta::labels(metadata.labels.as_ref(), &path.child("labels")));
    let at = path.child("annotations");
    errs.extend(meta::annotations(metadata.annotations.as_ref(), &at));
    errs.extend(pod_annotations::pod(&metadata, &template.spec.clone().unwrap_or_default(), options, &at));
    errs
}

fn validate_spec(s: &StatefulSetSpec, options: &PodOptions, tolerated: Tolerated) -> ErrorList {
    let path = Path::new("spec");
    let mut errs = ErrorList::new();
    let at = path.child("podManagementPolicy");
    match text(&s.pod_management_policy) {
        "" => errs.push(Error::required(&at, "")),
        "OrderedReady" | "Parallel" => {}
        other => errs.push(Error::invalid(&at, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    let update = s.update_strategy.clone().unwrap_or_default();
    errs.extend(update_strategy(&update, &path.child("updateStrategy")));
    errs.extend(retention(s, &path.child("persistentVolumeClaimRetentionPolicy")));
    if !tolerated.claims {
        for (i, claim) in list(&s.volume_claim_templates).iter().enumerate() {
            let at = path.child("volumeClaimTemplates").index(i).child("spec");
            errs.extend(claim_template::spec(&claim.spec.clone().unwrap_or_default(), &at));
        }
    }
    errs.extend(not_negative(s.replicas.map(i64::from), &path.child("replicas")));
    errs.extend(not_negative(s.min_ready_seconds.map(i64::from), &path.child("minReadySeconds")));
    let start = s.ordinals.as_ref().and_then(|o| o.start);
    errs.extend(not_negative(start.map(i64::from), &path.child("ordinals.start")));
    let service = text(&s.service_name);
    if !tolerated.service_name && !service.is_empty() {
        errs.extend(invalid_each(&path.child("serviceName"), service, names::dns1123_label(service)));
    }
    let at = path.child("selector");
    let mut readable = true;
    match present(&s.selector) {
        None => errs.push(Error::required(&at, "")),
        Some(s) => {
            let found = selector::label_selector(Some(s), selector::Options::default(), &at);
            readable = found.is_empty();
            errs.extend(found);
            if selector::is_empty(s) {
                let why = "empty selector is invalid for statefulset";
                errs.push(invalid_raw(&at, selector::go_json(Some(s)), why));
            }
            if !readable {
                errs.push(invalid_raw(&at, selector::go_json(Some(s)), ""));
            }
        }
    }
    let at = path.child("template");
    if readable {
        errs.extend(validate_template(s, options, tolerated, &at));
    }
    let spec = s.template.spec.clone().unwrap_or_default();
    let at = at.child("spec");
    if text(&spec.restart_policy) != "Always" {
        let policy = text(&spec.restart_policy);
        errs.push(Error::not_supported(&at.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let why = "activeDeadlineSeconds in StatefulSet is not Supported";
        errs.push(Error::forbidden(&at.child("activeDeadlineSeconds"), why));
    }
    errs
}

/// What may not change of the spec.
fn fixed(s: &StatefulSetSpec) -> StatefulSetSpec {
    StatefulSetSpec {
        selector: s.selector.clone(),
        service_name: s.service_name.clone(),
        pod_management_policy: s.pod_management_policy.clone(),
        volume_claim_templates: s.volume_claim_templates.clone(),
        ..StatefulSetSpec::default()
    }
}

fn validate_status(s: &StatefulSetStatus, old: &StatefulSetStatus) -> ErrorList {
    let path = Path::new("status");
    let counts = [
        ("replicas", Some(s.replicas)),
        ("readyReplicas", s.ready_replicas),
        ("currentReplicas", s.current_replicas),
        ("updatedReplicas", s.updated_replicas),
        ("availableReplicas", s.available_replicas),
    ];
    let mut errs = ErrorList::new();
    for (field, n) in counts {
        errs.extend(not_negative(n.map(i64::from), &path.child(field)));
    }
    errs.extend(not_negative(s.observed_generation, &path.child("observedGeneration")));
    let collisions = path.child("collisionCount");
    errs.extend(not_negative(s.collision_count.map(i64::from), &collisions));
    for (field, n) in &counts[1..] {
        let n = n.unwrap_or(0);
        if n > s.replicas {
            errs.push(Error::invalid(&path.child(field), &n, "cannot be greater than status.replicas"));
        }
    }
    let available = s.available_replicas.unwrap_or(0);
    if available > s.ready_replicas.unwrap_or(0) {
        let why = "cannot be greater than status.readyReplicas";
        errs.push(Error::invalid(&path.child("availableReplicas"), &available, why));
    }
    if template::decremented(s.collision_count, old.collision_count) {
        errs.push(Error::invalid(&collisions, &s.collision_count.unwrap_or(0), "cannot be decremented"));
    }
    errs
}

/// The number of unavailable pods is behind a gate that is off.
fn drop_disabled(s: &mut StatefulSetSpec, old: Option<&StatefulSetSpec>) {
    let rolling = |s: &StatefulSetSpec| {
        s.update_strategy.as_ref().and_then(|u| u.rolling_update.as_ref()?.max_unavailable.clone())
    };
    if old.and_then(rolling).is_none()
        && let Some(r) = s.update_strategy.as_mut().and_then(|u| u.rolling_update.as_mut())
    {
        r.max_unavailable = None;
    }
    template::drop_disabled(&mut s.template, old.map(|o| &o.template));
}

fn default_claim(claim: &mut PersistentVolumeClaim) {
    let spec = claim.spec.get_or_insert_default();
    spec.volume_mode.get_or_insert_with(|| "Filesystem".to_owned());
    let amounts = spec.resources.get_or_insert_default();
    pod_defaults::resource_list(&mut amounts.limits);
    pod_defaults::resource_list(&mut amounts.requests);
    let status = claim.status.get_or_insert_default();
    default_text(&mut status.phase, "Pending");
    pod_defaults::resource_list(&mut status.capacity);
    pod_defaults::resource_list(&mut status.allocated_resources);
}

impl Strategy for StatefulSets {
    type Kind = StatefulSet;

    fn read(&self, object: &mut Document) -> StatusResult<()> {
        template::mark_selector(object);
        // Claims in templates are claims, whatever they say.
        let claims = object.map_mut().get_mut("spec").and_then(|s| s.get_mut("volumeClaimTemplates"));
        for claim in claims.and_then(|c| c.as_array_mut()).into_iter().flatten() {
            if let Some(claim) = claim.as_object_mut() {
                claim.retain(|member, _| !matches!(member.as_str(), "apiVersion" | "kind"));
            }
        }
        Ok(())
    }

    fn default(&self, set: &mut StatefulSet) {
        set.status.get_or_insert_default().available_replicas.get_or_insert(0);
        let s = set.spec.get_or_insert_default();
        default_text(&mut s.pod_management_policy, "OrderedReady");
        let update = s.update_strategy.get_or_insert_default();
        if text(&update.type_).is_empty() {
            update.type_ = Some("RollingUpdate".to_owned());
            update.rolling_update.get_or_insert_default();
        }
        if text(&update.type_) == "RollingUpdate"
            && let Some(r) = &mut update.rolling_update
        {
            r.partition.get_or_insert(0);
        }
        let retention = s.persistent_volume_claim_retention_policy.get_or_insert_default();
        default_text(&mut retention.when_deleted, "Retain");
        default_text(&mut retention.when_scaled, "Retain");
        if let Some(ordinals) = &mut s.ordinals {
            ordinals.start.get_or_insert(0);
        }
        s.replicas.get_or_insert(1);
        s.revision_history_limit.get_or_insert(10);
        s.volume_claim_templates.iter_mut().flatten().for_each(default_claim);
        pod_defaults::template(&mut s.template);
    }

    fn prepare_create(&self, _cx: &Context<'_>, set: &mut StatefulSet) {
        set.status = None;
        set.metadata.generation = Some(1);
        if let Some(spec) = &mut set.spec {
            drop_disabled(spec, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, set: &mut StatefulSet, old: &StatefulSet) {
        if cx.subresource == "status" {
            set.spec.clone_from(&old.spec);
            return;
        }
        set.status.clone_from(&old.status);
        if let Some(spec) = &mut set.spec {
            drop_disabled(spec, old.spec.as_ref());
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, set: &StatefulSet) -> ErrorList {
        let mut errs = meta::object_meta(&set.metadata, true, meta::label_name);
        let spec = set.spec.clone().unwrap_or_default();
        errs.extend(validate_spec(&spec, &template::options(None), Tolerated::default()));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, set: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let metadata = meta::object_meta_update(&set.metadata, &old.metadata);
        if cx.subresource == "status" {
            let had = old.status.clone().unwrap_or_default();
            let mut errs = validate_status(&set.status.clone().unwrap_or_default(), &had);
            errs.extend(metadata);
            return errs;
        }
        let mut errs = metadata;
        let (spec, had) = (set.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        let options = template::options(Some(&had.template));
        let mut tolerated = Tolerated { service_name: true, template: false, claims: true };
        tolerated.template = !validate_spec(&had, &options, tolerated).is_empty();
        errs.extend(validate_spec(&spec, &options, tolerated));
        let spec = super::claim_growth::disregarded(set, spec, &had);
        if !equal::values(&fixed(&spec), &fixed(&had)) {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errs.push(Error::forbidden(&Path::new("spec"), why));
        }
        errs
    }

    fn warnings(&self, cx: &Context<'_>, set: &StatefulSet, old: Option<&StatefulSet>) -> Vec<String> {
        let mut out = Vec::new();
        let Some(spec) = set.spec.as_ref().filter(|_| cx.subresource != "status") else { return out };
        let path = Path::new("spec");
        if old.is_none_or(|old| self.spec_changed(set, old) == Some(true)) {
            out.extend(pod_warnings::on_template(&spec.template, &path.child("template")));
        }
        for (i, claim) in list(&spec.volume_claim_templates).iter().enumerate() {
            let at = path.child("volumeClaimTemplates").index(i);
            // Upstream's path differs on updates.
            let at = if old.is_none() { at } else { at.child("Spec") };
            out.extend(claim_template::warnings(&claim.spec.clone().unwrap_or_default(), &at));
        }
        if spec.revision_history_limit.is_some_and(|n| n < 0) {
            let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
            out.push(format!("{}: {why}", path.child("revisionHistoryLimit")));
        }
        out
    }

    fn spec_changed(&self, set: &StatefulSet, old: &StatefulSet) -> Option<bool> {
        Some(!equal::values(&set.spec, &old.spec))
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, set: &StatefulSet, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (set.spec.clone().unwrap_or_default(), set.status.clone().unwrap_or_default());
        let [names, images] = template::container_cells(Some(&spec.template));
        vec![
            print::name(&set.metadata),
            format!("{}/{}", status.ready_replicas.unwrap_or(0), spec.replicas.unwrap_or(0)).into(),
            print::age(set.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::label_name(name, prefix)
    }
}
