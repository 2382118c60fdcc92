//! What a real apiserver of the same version answered to the same objects, line by line: `testdata/*.jsonl`.

use super::strategy_for;
use crate::alloc::{Allocators, IpRange, PortRange};
use crate::strategy::Context;
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::scheme::{self, Kind};
use gantry_types::{Document, Status, UserInfo};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Case {
    kind: String,
    name: String,
    #[serde(default)]
    subresource: String,
    object: Box<RawValue>,
    #[serde(default)]
    old: Option<Box<RawValue>>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

fn row(kind: &str) -> &'static Kind {
    let (group, kind) = if kind == "EventV1" { ("events.k8s.io", "Event") } else { ("", kind) };
    let fits = |k: &&Kind| k.kind == kind && (kind != "Event" || k.group == group);
    scheme::KINDS.iter().find(fits).expect("a kind of the scheme")
}

fn document(raw: &RawValue) -> Document {
    Document::from_json(raw.get().as_bytes()).expect("a JSON object")
}

/// The one version that is stored as another.
fn to_core_event(mut d: Document) -> Document {
    for (from, to) in [
        ("deprecatedCount", "count"),
        ("regarding", "involvedObject"),
        ("note", "message"),
        ("reportingController", "reportingComponent"),
        ("deprecatedSource", "source"),
    ] {
        if let Some(v) = d.map_mut().remove(from) {
            d.map_mut().insert(to.to_owned(), v);
        }
    }
    d.set_type("v1", "Event");
    d
}

fn causes(status: &Status) -> Vec<String> {
    let details = status.body().details.clone().unwrap_or_default();
    details.causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
}

/// What we say to a case: errors and warnings, each sorted.
fn answer(case: &Case) -> (Vec<String>, Vec<String>) {
    let kind = row(&case.kind);
    let strategy = strategy_for(kind).expect("a strategy");
    let user = UserInfo::default();
    let cx =
        Context { user: &user, now: Timestamp::UNIX_EPOCH, dry_run: true, subresource: &case.subresource };
    let mut object = document(&case.object);
    if case.kind == "EventV1" {
        object = to_core_event(object);
    }
    let range = IpRange::new("10.96.0.0".parse().expect("an address"), 16);
    let allocators = Allocators::new(vec![range], PortRange::default());
    // In the pipeline's order: defaults, the allocators of services, then the strategy.
    let found = strategy.default(object).and_then(|mut object| match &case.old {
        None => {
            if case.kind == "Service" {
                let mut service: Service = object.to_typed().map_err(Status::internal)?;
                allocators.on_create(&mut service, true)?.commit();
                object = Document::from_typed(&service).map_err(Status::internal)?;
            }
            strategy.create(&cx, object)
        }
        Some(old) => {
            let old = strategy.default(document(old))?;
            if case.kind == "Service" && case.subresource.is_empty() {
                let mut service: Service = object.to_typed().map_err(Status::internal)?;
                let old: Service = old.to_typed().map_err(Status::internal)?;
                allocators.on_update(&mut service, &old, true)?.commit();
                object = Document::from_typed(&service).map_err(Status::internal)?;
            }
            strategy.update(&cx, object, &old)
        }
    });
    let (mut errors, mut warnings) = match found {
        Ok(judged) => (judged.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), judged.warnings),
        Err(status) => (causes(&status), Vec::new()),
    };
    errors.sort();
    // Repeats show once in an answer.
    errors.dedup();
    if !errors.is_empty() {
        warnings.clear();
    }
    warnings.sort();
    (errors, warnings)
}

fn check(data: &[&str]) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in data.iter().flat_map(|file| file.lines()) {
        let mut case: Case = serde_json::from_str(line).expect("a case");
        count += 1;
        case.errors.dedup();
        case.warnings.sort();
        let (errors, warnings) = answer(&case);
        let mut report = |what: &str, want: &[String], got: &[String]| {
            let missing: Vec<_> = want.iter().filter(|w| !got.contains(w)).collect();
            let extra: Vec<_> = got.iter().filter(|g| !want.contains(g)).collect();
            if !(missing.is_empty() && extra.is_empty()) {
                wrong.push(format!(
                    "{} {:?} {what}\n  missing {missing:#?}\n  extra {extra:#?}",
                    case.kind, case.name
                ));
            }
        };
        report("errors", &case.errors, &errors);
        report("warnings", &case.warnings, &warnings);
    }
    assert!(wrong.is_empty(), "{} of {count} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn creates_are_refused_as_upstream_refuses_them() {
    check(&[
        include_str!("testdata/create.jsonl"),
        include_str!("testdata/workloads/create.jsonl"),
        include_str!("testdata/storage/create.jsonl"),
        include_str!("testdata/apiregistration/create.jsonl"),
    ]);
}

#[test]
fn updates_are_refused_as_upstream_refuses_them() {
    check(&[
        include_str!("testdata/update.jsonl"),
        include_str!("testdata/workloads/update.jsonl"),
        include_str!("testdata/storage/update.jsonl"),
        include_str!("testdata/apiregistration/update.jsonl"),
    ]);
}

#[test]
fn every_stored_kind_has_a_strategy() {
    for kind in scheme::KINDS {
        let stored = kind.storage != scheme::Storage::Virtual;
        assert_eq!(strategy_for(kind).is_some(), stored, "{} {}", kind.group, kind.kind);
        if let Some(strategy) = strategy_for(kind) {
            let stored = kind.stored().expect("a stored kind");
            let (version, name) = (stored.api_version(), stored.kind);
            let empty = format!("{{\"apiVersion\":\"{version}\",\"kind\":\"{name}\"}}");
            let cells = strategy.row(empty.as_bytes(), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
            assert_eq!(
                strategy.fields(empty.as_bytes()).len(),
                strategy.field_names().len(),
                "{}",
                kind.kind
            );
        }
    }
}

#[test]
fn selectable_fields_are_read_from_bodies() {
    let check = |kind: &str, body: &str, want: &[(&'static str, &str)]| {
        let fields = strategy_for(row(kind)).expect("a strategy").fields(body.as_bytes());
        assert_eq!(fields.iter().map(|(k, v)| (*k, v.as_str())).collect::<Vec<_>>(), want, "{kind}");
    };
    check("Job", r#"{"status":{"failed":1,"succeeded":2}}"#, &[("status.successful", "2")]);
    check("ReplicationController", r#"{"status":{"replicas":3}}"#, &[("status.replicas", "3")]);
}

#[derive(Deserialize)]
struct Shape {
    kind: String,
    object: Box<RawValue>,
    stored: Box<RawValue>,
}

/// A tree to compare by.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(untagged)]
enum Tree {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Tree>),
    Map(std::collections::BTreeMap<String, Tree>),
}

/// Where two trees differ, a line a place. Nulls of optional fields are no difference.
fn differences(path: &str, want: Option<&Tree>, got: Option<&Tree>, out: &mut Vec<String>) {
    match (want.filter(|t| **t != Tree::Null), got.filter(|t| **t != Tree::Null)) {
        (Some(Tree::Map(w)), Some(Tree::Map(g))) => {
            let keys: std::collections::BTreeSet<&String> = w.keys().chain(g.keys()).collect();
            for k in keys {
                differences(&format!("{path}.{k}"), w.get(k), g.get(k), out);
            }
        }
        (Some(Tree::List(w)), Some(Tree::List(g))) if w.len() == g.len() => {
            for (i, (w, g)) in w.iter().zip(g).enumerate() {
                differences(&format!("{path}[{i}]"), Some(w), Some(g), out);
            }
        }
        (w, g) if w == g => {}
        (w, g) => out.push(format!("{path}: want {w:?} got {g:?}")),
    }
}

#[test]
fn objects_are_stored_as_upstream_stores_them() {
    let mut wrong = Vec::new();
    let files = [
        include_str!("testdata/shape.jsonl"),
        include_str!("testdata/workloads/shape.jsonl"),
        include_str!("testdata/storage/shape.jsonl"),
        include_str!("testdata/apiregistration/shape.jsonl"),
    ];
    for line in files.iter().flat_map(|file| file.lines()) {
        let shape: Shape = serde_json::from_str(line).expect("a shape");
        let strategy = strategy_for(row(&shape.kind)).expect("a strategy");
        let user = UserInfo::default();
        let cx = Context { user: &user, now: Timestamp::UNIX_EPOCH, dry_run: true, subresource: "" };
        let mut object = strategy.default(document(&shape.object)).expect("sound");
        if shape.kind == "Service" {
            let range = IpRange::new("10.96.0.0".parse().expect("an address"), 16);
            let allocators = Allocators::new(vec![range], PortRange::default());
            let mut service: Service = object.to_typed().expect("a service");
            allocators.on_create(&mut service, true).expect("room").commit();
            object = Document::from_typed(&service).expect("an object");
        }
        let judged = strategy.create(&cx, object).expect("sound");
        assert_eq!(judged.errors, Vec::new(), "{}", shape.kind);
        let want: Tree = serde_json::from_str(shape.stored.get()).expect("a tree");
        let got: Tree = serde_json::from_slice(&judged.object.to_json()).expect("a tree");
        differences(&shape.kind, Some(&want), Some(&got), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
