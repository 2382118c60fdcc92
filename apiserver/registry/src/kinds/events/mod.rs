//! Events, of the core group and of `events.k8s.io`: one stored kind, two versions, two strictnesses.

use crate::kinds::prelude::*;
use crate::kinds::{go_types, print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::Event;
use std::time::Duration;

/// How long events live when the operator does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// Both versions come here in the core form; `events.k8s.io` is held to today's rules.
pub struct Events {
    pub strict: bool,
    pub ttl: Duration,
}

impl Events {
    pub fn core(ttl: Duration) -> Self {
        Self { strict: false, ttl }
    }

    pub fn events_k8s_io(ttl: Duration) -> Self {
        Self { strict: true, ttl }
    }
}

fn legacy(e: &Event, controller_field: &str) -> ErrorList {
    let mut errs = ErrorList::new();
    let namespace = text(&e.metadata.namespace);
    let involved = text(&e.involved_object.namespace);
    let mismatch = if e.event_time.is_none() {
        if involved.is_empty() { !matches!(namespace, "" | "default") } else { namespace != involved }
    } else {
        involved.is_empty() && !matches!(namespace, "default" | "kube-system")
    };
    if mismatch {
        let at = Path::new("involvedObject").child("namespace");
        errs.push(Error::invalid(&at, involved, "does not match event.namespace"));
    }
    if e.event_time.is_some() {
        let controller = text(&e.reporting_component);
        let at = Path::new(controller_field);
        if controller.is_empty() {
            errs.push(Error::required(&at, ""));
        }
        errs.extend(invalid_each(&at, controller, names::qualified_name(controller)));
        for (field, value, max) in [
            ("reportingInstance", text(&e.reporting_instance), 128),
            ("action", text(&e.action), 128),
            ("reason", text(&e.reason), 128),
        ] {
            let at = Path::new(field);
            if value.is_empty() {
                errs.push(Error::required(&at, ""));
            }
            if value.len() > max {
                errs.push(Error::invalid(&at, "", format!("can have at most {max} characters")));
            }
        }
        if text(&e.message).len() > 1024 {
            errs.push(Error::invalid(&Path::new("message"), "", "can have at most 1024 characters"));
        }
    }
    errs.extend(invalid_each(&Path::new("namespace"), namespace, names::dns1123_subdomain(namespace)));
    errs
}

fn series(e: &Event) -> ErrorList {
    let mut errs = ErrorList::new();
    if let Some(s) = &e.series {
        if s.count.unwrap_or(0) < 2 {
            errs.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
        }
        if s.last_observed_time.is_none() {
            errs.push(Error::required(&Path::new("series.lastObservedTime"), ""));
        }
    }
    errs
}

fn strict_create(e: &Event) -> ErrorList {
    let mut errs = meta::object_meta(&e.metadata, true, meta::subdomain_name);
    errs.extend(series(e));
    if e.event_time.is_none() {
        errs.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = text(&e.type_);
    if !matches!(kind, "Normal" | "Warning") {
        errs.push(Error::invalid(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = e.source.clone().unwrap_or_default();
    for (field, set) in [
        ("firstTimestamp", e.first_timestamp.is_some()),
        ("lastTimestamp", e.last_timestamp.is_some()),
        ("count", e.count.unwrap_or(0) != 0),
        ("source", !text(&source.component).is_empty() || !text(&source.host).is_empty()),
    ] {
        if set {
            errs.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
        }
    }
    errs
}

fn strict_update(new: &Event, old: &Event) -> ErrorList {
    let mut errs = meta::object_meta_update(&new.metadata, &old.metadata);
    if new.series != old.series {
        errs.extend(series(new));
    }
    let changed = |field: &str, value: String| invalid_raw(&Path::new(field), value, meta::IMMUTABLE);
    if new.involved_object != old.involved_object {
        errs.push(changed("involvedObject", go_types::print("ObjectReference", &new.involved_object)));
    }
    let quote = gantry_types::field::go_quote;
    let mut string = |field: &str, new: &Option<String>, old: &Option<String>| {
        if text(new) != text(old) {
            errs.push(changed(field, quote(text(new))));
        }
    };
    string("reason", &new.reason, &old.reason);
    string("message", &new.message, &old.message);
    if new.source.clone().unwrap_or_default() != old.source.clone().unwrap_or_default() {
        errs.push(changed("source", go_types::print("EventSource", &new.source)));
    }
    for (field, n, o) in [
        ("firstTimestamp", &new.first_timestamp, &old.first_timestamp),
        ("lastTimestamp", &new.last_timestamp, &old.last_timestamp),
    ] {
        if n != o {
            errs.push(changed(field, serde_json::to_string(n).unwrap_or_default()));
        }
    }
    if new.count.unwrap_or(0) != old.count.unwrap_or(0) {
        errs.push(changed("count", new.count.unwrap_or(0).to_string()));
    }
    let mut string = |field: &str, new: &Option<String>, old: &Option<String>| {
        if text(new) != text(old) {
            errs.push(changed(field, quote(text(new))));
        }
    };
    string("reason", &new.reason, &old.reason);
    string("type", &new.type_, &old.type_);
    let micros = |t: &Option<MicroTime>| t.as_ref().map(|t| t.0.as_microsecond());
    if micros(&new.event_time) != micros(&old.event_time) {
        errs.push(changed("eventTime", serde_json::to_string(&new.event_time).unwrap_or_default()));
    }
    let mut string = |field: &str, new: &Option<String>, old: &Option<String>| {
        if text(new) != text(old) {
            errs.push(changed(field, quote(text(new))));
        }
    };
    string("action", &new.action, &old.action);
    if new.related != old.related {
        errs.push(changed("related", go_types::print("*ObjectReference", &new.related)));
    }
    let mut string = |field: &str, new: &Option<String>, old: &Option<String>| {
        if text(new) != text(old) {
            errs.push(changed(field, quote(text(new))));
        }
    };
    string("reportingController", &new.reporting_component, &old.reporting_component);
    string("reportingInstance", &new.reporting_instance, &old.reporting_instance);
    errs
}

impl Strategy for Events {
    type Kind = Event;

    fn default(&self, e: &mut Event) {
        // These show even when empty.
        e.source.get_or_insert_default();
        e.reporting_component.get_or_insert_default();
        e.reporting_instance.get_or_insert_default();
    }

    fn validate_create(&self, _cx: &Context<'_>, e: &Event) -> ErrorList {
        if !self.strict {
            return legacy(e, "reportingComponent");
        }
        let mut errs = legacy(e, "reportingController");
        errs.extend(strict_create(e));
        errs
    }

    fn validate_update(&self, _cx: &Context<'_>, e: &Event, old: &Event) -> ErrorList {
        if !self.strict {
            return legacy(e, "reportingComponent");
        }
        let mut errs = legacy(e, "reportingController");
        errs.extend(strict_update(e, old));
        errs
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl).filter(|t| !t.is_zero())
    }

    fn fields(&self, e: &Event) -> Vec<(&'static str, String)> {
        let o = &e.involved_object;
        let component = e.source.as_ref().map(|s| text(&s.component)).unwrap_or_default();
        let source = if component.is_empty() { text(&e.reporting_component) } else { component };
        let values = [
            text(&o.kind),
            text(&o.namespace),
            text(&o.name),
            text(&o.uid),
            text(&o.api_version),
            text(&o.resource_version),
            text(&o.field_path),
            text(&e.reason),
            text(&e.reporting_component),
            source,
            text(&e.type_),
        ];
        self.field_names().iter().copied().zip(values.map(str::to_owned)).collect()
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }

    fn row(&self, e: &Event, now: Timestamp) -> Vec<Cell> {
        let first = match &e.first_timestamp {
            Some(t) => print::age(Some(t), now),
            None => print::micro_age(e.event_time.as_ref(), now),
        };
        let mut last = match &e.last_timestamp {
            Some(t) => print::age(Some(t), now),
            None => first.clone(),
        };
        let mut count = e.count.unwrap_or(0);
        if let Some(s) = &e.series {
            last = print::micro_age(s.last_observed_time.as_ref(), now);
            count = s.count.unwrap_or(0);
        } else if count == 0 {
            count = 1;
        }
        let o = &e.involved_object;
        let kind = text(&o.kind).to_lowercase();
        let target = if text(&o.name).is_empty() { kind } else { format!("{kind}/{}", text(&o.name)) };
        let source = e.source.clone().unwrap_or_default();
        let or = |a: &Option<String>, b: &Option<String>| {
            if text(a).is_empty() { text(b).to_owned() } else { text(a).to_owned() }
        };
        let component = or(&source.component, &e.reporting_component);
        let instance = or(&source.host, &e.reporting_instance);
        vec![
            last.into(),
            text(&e.type_).into(),
            text(&e.reason).into(),
            target.into(),
            text(&o.field_path).into(),
            if instance.is_empty() { component } else { format!("{component}, {instance}") }.into(),
            text(&e.message).trim().into(),
            first.into(),
            count.into(),
            print::name(&e.metadata),
        ]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if self.strict { meta::subdomain_name(name, prefix) } else { names::path_segment_name(name) }
    }
}
