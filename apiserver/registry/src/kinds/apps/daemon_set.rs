//! `apps/v1` DaemonSet.

use crate::kinds::core::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::print;
use crate::kinds::template::{self, amount, at_most_all, count_or_percent, not_negative, present};
use crate::kinds::validate::options::PodOptions;
use crate::kinds::validate::{meta, pod_spec, selector};
use gantry_types::field::go_quote;
use gantry_types::k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use gantry_types::{Document, Status, StatusResult};

use std::collections::BTreeMap;
use std::num::IntErrorKind;

/// The selector never changes; an annotation counts the templates there have been.
pub struct DaemonSets;

const GENERATION: &str = "deprecated.daemonset.template.generation";

/// Which template the set has; 0 before its first.
fn template_generation(metadata: &ObjectMeta) -> i64 {
    let text = metadata.annotations.as_ref().and_then(|a| a.get(GENERATION));
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

fn set_template_generation(metadata: &mut ObjectMeta, generation: i64) {
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(GENERATION.to_owned(), generation.to_string());
}

fn rolling_update(r: &RollingUpdateDaemonSet, path: &Path) -> ErrorList {
    let zero = IntOrString::Int(0);
    let unavailable = r.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = r.max_surge.as_ref().unwrap_or(&zero);
    let (unavailable_at, surge_at) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let mut errs = count_or_percent(unavailable, &unavailable_at);
    errs.extend(count_or_percent(surge, &surge_at));
    errs.extend(at_most_all(unavailable, &unavailable_at));
    errs.extend(at_most_all(surge, &surge_at));
    match (amount(unavailable) != 0, amount(surge) != 0) {
        (true, true) => {
            errs.push(Error::invalid(&surge_at, surge, "may not be set when maxUnavailable is non-zero"));
        }
        (false, false) => errs.push(Error::required(&unavailable_at, "cannot be 0 when maxSurge is 0")),
        _ => {}
    }
    errs
}

fn update_strategy(s: &DaemonSetUpdateStrategy, path: &Path) -> ErrorList {
    let at = path.child("rollingUpdate");
    match (text(&s.type_), &s.rolling_update) {
        ("OnDelete", _) => ErrorList::new(),
        ("RollingUpdate", None) => vec![Error::required(&at, "")],
        ("RollingUpdate", Some(r)) => rolling_update(r, &at),
        (other, rolling) => {
            // The whole strategy is the bad value, printed as Go's internal type.
            let show = |v: &Option<IntOrString>| {
                v.as_ref().map_or("0".to_owned(), |v| serde_json::to_string(v).unwrap_or_default())
            };
            let rolling = rolling.as_ref().map_or("null".to_owned(), |r| {
                format!(
                    "{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}",
                    show(&r.max_unavailable),
                    show(&r.max_surge)
                )
            });
            let mut e = Error::not_supported(path, other, &["RollingUpdate", "OnDelete"]);
            e.value = Some(format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", go_quote(other)));
            vec![e]
        }
    }
}

fn validate_spec(s: &DaemonSetSpec, options: &PodOptions, invalid_values: bool) -> ErrorList {
    let path = Path::new("spec");
    let at = path.child("selector");
    let selector = present(&s.selector);
    let allowed = selector::Options { allow_invalid_values: invalid_values };
    let mut errs = selector::label_selector(selector, allowed, &at);
    let readable = selector::label_selector(selector, selector::Options::default(), &at).is_empty();
    let labels = s.template.metadata.as_ref().and_then(|m| m.labels.clone());
    let selects =
        selector.is_some_and(|s| selector::matches(s, labels.as_ref().unwrap_or(&Default::default())));
    let template_at = path.child("template");
    if readable && !selects {
        let why = "`selector` does not match template `labels`";
        errs.push(Error::invalid(&template_at.child("metadata").child("labels"), &labels, why));
    }
    if selector.is_some_and(selector::is_empty) {
        let why = "empty selector is invalid for daemonset";
        errs.push(invalid_raw(&at, selector::go_json(selector), why));
    }
    errs.extend(pod_spec::template(&s.template, options, &template_at));
    let spec = s.template.spec.clone().unwrap_or_default();
    let at = template_at.child("spec");
    if text(&spec.restart_policy) != "Always" {
        let policy = text(&spec.restart_policy);
        errs.push(Error::not_supported(&at.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let why = "activeDeadlineSeconds in DaemonSet is not Supported";
        errs.push(Error::forbidden(&at.child("activeDeadlineSeconds"), why));
    }
    errs.extend(not_negative(s.min_ready_seconds.map(i64::from), &path.child("minReadySeconds")));
    let update = s.update_strategy.clone().unwrap_or_default();
    errs.extend(update_strategy(&update, &path.child("updateStrategy")));
    let history = s.revision_history_limit.map(i64::from);
    errs.extend(not_negative(history, &path.child("revisionHistoryLimit")));
    errs
}

fn validate_status(s: &DaemonSetStatus, old: &DaemonSetStatus) -> ErrorList {
    let path = Path::new("status");
    let collisions = path.child("collisionCount");
    let mut errs = ErrorList::new();
    for (field, n) in [
        ("currentNumberScheduled", Some(s.current_number_scheduled)),
        ("numberMisscheduled", Some(s.number_misscheduled)),
        ("desiredNumberScheduled", Some(s.desired_number_scheduled)),
        ("numberReady", Some(s.number_ready)),
        ("updatedNumberScheduled", s.updated_number_scheduled),
        ("numberAvailable", s.number_available),
        ("numberUnavailable", s.number_unavailable),
        ("collisionCount", s.collision_count),
    ] {
        errs.extend(not_negative(n.map(i64::from), &path.child(field)));
    }
    errs.extend(not_negative(s.observed_generation, &path.child("observedGeneration")));
    if template::decremented(s.collision_count, old.collision_count) {
        errs.push(Error::invalid(&collisions, &s.collision_count.unwrap_or(0), "cannot be decremented"));
    }
    errs
}

fn same_template(a: &DaemonSet, b: &DaemonSet) -> bool {
    equal::values(&a.spec.as_ref().map(|s| &s.template), &b.spec.as_ref().map(|s| &s.template))
}

impl Strategy for DaemonSets {
    type Kind = DaemonSet;

    fn read(&self, object: &mut Document) -> StatusResult<()> {
        template::mark_selector(object);
        let annotations: BTreeMap<String, String> =
            object.get_at(&["metadata", "annotations"]).unwrap_or_default();
        let Some(text) = annotations.get(GENERATION) else { return Ok(()) };
        let Err(error) = text.parse::<i64>() else { return Ok(()) };
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Err(Status::bad_request(format!(
            "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strconv.ParseInt: parsing {}: {why}",
            go_quote(text)
        )))
    }

    fn default(&self, set: &mut DaemonSet) {
        set.status.get_or_insert_default();
        let generation = template_generation(&set.metadata);
        set_template_generation(&mut set.metadata, generation);
        let s = set.spec.get_or_insert_default();
        let update = s.update_strategy.get_or_insert_default();
        default_text(&mut update.type_, "RollingUpdate");
        if text(&update.type_) == "RollingUpdate" {
            let r = update.rolling_update.get_or_insert_default();
            r.max_unavailable.get_or_insert(IntOrString::Int(1));
            r.max_surge.get_or_insert(IntOrString::Int(0));
        }
        s.revision_history_limit.get_or_insert(10);
        pod_defaults::template(&mut s.template);
    }

    fn prepare_create(&self, _cx: &Context<'_>, set: &mut DaemonSet) {
        set.status = None;
        set.metadata.generation = Some(1);
        let generation = template_generation(&set.metadata).max(1);
        set_template_generation(&mut set.metadata, generation);
        if let Some(spec) = &mut set.spec {
            template::drop_disabled(&mut spec.template, None);
        }
    }

    fn prepare_update(&self, cx: &Context<'_>, set: &mut DaemonSet, old: &DaemonSet) {
        let generation = template_generation(&old.metadata);
        if cx.subresource == "status" {
            set.spec.clone_from(&old.spec);
            set_template_generation(&mut set.metadata, generation);
            return;
        }
        set.status.clone_from(&old.status);
        if let Some(spec) = &mut set.spec {
            template::drop_disabled(&mut spec.template, old.spec.as_ref().map(|s| &s.template));
        }
        let changed = i64::from(!same_template(set, old));
        set_template_generation(&mut set.metadata, generation + changed);
    }

    fn validate_create(&self, _cx: &Context<'_>, set: &DaemonSet) -> ErrorList {
        let mut errs = meta::object_meta(&set.metadata, true, meta::subdomain_name);
        errs.extend(validate_spec(&set.spec.clone().unwrap_or_default(), &template::options(None), false));
        errs
    }

    fn validate_update(&self, cx: &Context<'_>, set: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errs = meta::object_meta_update(&set.metadata, &old.metadata);
        if cx.subresource == "status" {
            let had = old.status.clone().unwrap_or_default();
            errs.extend(validate_status(&set.status.clone().unwrap_or_default(), &had));
            return errs;
        }
        let (spec, had) = (set.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
        errs.extend(super::selector_kept(Some(&spec.selector), Some(&had.selector)));
        let invalid_values = selector::has_invalid_values(Some(&had.selector));
        errs.extend(validate_spec(&spec, &template::options(Some(&had.template)), invalid_values));
        errs
    }

    fn warnings(&self, cx: &Context<'_>, set: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        let unchanged = |old: &DaemonSet| cx.subresource == "status" || same_template(set, old);
        match &set.spec {
            Some(s) if !old.is_some_and(unchanged) => {
                pod_warnings::on_template(&s.template, &Path::new("spec").child("template"))
            }
            _ => Vec::new(),
        }
    }

    fn spec_changed(&self, set: &DaemonSet, old: &DaemonSet) -> Option<bool> {
        Some(!equal::values(&set.spec, &old.spec))
    }

    fn reset_fields(&self, subresource: &str) -> &'static [&'static str] {
        if subresource == "status" { &["spec"] } else { &["status"] }
    }

    fn row(&self, set: &DaemonSet, now: Timestamp) -> Vec<Cell> {
        let (spec, status) = (set.spec.clone().unwrap_or_default(), set.status.clone().unwrap_or_default());
        let [names, images] = template::container_cells(Some(&spec.template));
        let nodes = spec.template.spec.as_ref().and_then(|s| s.node_selector.as_ref());
        vec![
            print::name(&set.metadata),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or(0).into(),
            status.number_available.unwrap_or(0).into(),
            print::labels(nodes).into(),
            print::age(set.metadata.creation_timestamp.as_ref(), now).into(),
            names,
            images,
            print::selector(Some(&spec.selector)).into(),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
