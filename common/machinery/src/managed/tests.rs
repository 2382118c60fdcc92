//! Against what upstream 1.36 answered to the same requests, and the laws of the set algebra.

use super::*;
use crate::schema::builtin;
use gantry_types::Document;
use gantry_types::time::parse_rfc3339;
use proptest::prelude::*;

fn fixture(text: &str) -> impl Fn(&str) -> Document {
    let all: Value = serde_json::from_str(text).unwrap();
    move |key| Document::new(all[key].as_object().unwrap().clone())
}

fn fields(d: &Document) -> Value {
    d.map()["metadata"]["managedFields"].clone()
}

fn request<'r>(kind: (&str, &str, &str), api_version: &'r str, manager: &'r str, now: &str) -> Request<'r> {
    Request {
        schema: builtin().kind(kind.0, kind.1, kind.2).unwrap(),
        api_version,
        subresource: "",
        manager,
        now: parse_rfc3339(now).unwrap(),
        reset_fields: &["status"],
        versions: &OneVersion,
    }
}

/// The newest time in an object's entries.
fn last_time(d: &Document) -> String {
    let list = fields(d);
    list.as_array().unwrap().iter().map(|e| e["time"].as_str().unwrap().to_owned()).max().unwrap()
}

fn check_create(created: Document, kind: (&str, &str, &str)) {
    let mut new = created.clone();
    new.remove_at(&["metadata", "managedFields"]);
    let time = last_time(&created);
    let version = created.api_version().to_owned();
    update(None, &mut new, &request(kind, &version, "kubectl-create", &time));
    assert_eq!(fields(&new), fields(&created));
}

/// The short way for creations finds what the long way finds.
#[test]
fn both_ways_of_creation_agree() {
    let dep = fixture(include_str!("testdata/deployment.json"));
    for key in ["created", "forced", "given", "applied"] {
        let mut doc = dep(key);
        doc.remove_at(&["metadata", "managedFields"]);
        let rq = request(("apps", "v1", "Deployment"), "apps/v1", "m", "2026-11-20T13:54:06Z");
        let long = encode(super::update::updated(None, doc.map(), Vec::new(), &rq));
        update(None, &mut doc, &rq);
        assert_eq!(fields(&doc), long, "{key}");
    }
}

#[test]
fn a_creation_owns_what_upstream_says() {
    let dep = fixture(include_str!("testdata/deployment.json"));
    check_create(dep("created"), ("apps", "v1", "Deployment"));
    let svc = fixture(include_str!("testdata/service.json"));
    check_create(svc("created"), ("", "v1", "Service"));
}

/// What must be equal: all but what the store and the strategy set.
fn essence(mut d: Document) -> Value {
    for path in [&["metadata", "resourceVersion"][..], &["metadata", "generation"], &["status"]] {
        d.remove_at(path);
    }
    d.into_value()
}

#[test]
fn applies_do_what_upstream_did() {
    let dep = fixture(include_str!("testdata/deployment.json"));
    let kind = ("apps", "v1", "Deployment");
    let mut applied = dep("applied");
    let rq = request(kind, "apps/v1", "m2", "2026-11-20T13:54:06Z");
    let refused = apply(Some(&dep("created")), &applied, &rq, false).unwrap_err();
    assert_eq!(
        refused.message(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
    assert_eq!(refused.code(), 409);
    let cause = &refused.body().details.as_ref().unwrap().causes[0];
    assert_eq!(
        (&*cause.reason, &*cause.message, &*cause.field),
        ("FieldManagerConflict", "conflict with \"kubectl-create\" using apps/v1", ".spec.replicas")
    );

    let forced = dep("forced");
    let time = last_time(&forced);
    let rq = request(kind, "apps/v1", "m2", &time);
    let got = apply(Some(&dep("created")), &applied, &rq, true).unwrap();
    assert_eq!(fields(&got), fields(&forced));
    // Defaults come after the apply; take them from the answer, then all must be equal.
    let mut got_defaulted = got;
    merge_missing(got_defaulted.map_mut(), forced.map());
    assert_eq!(essence(got_defaulted), essence(forced.clone()));

    let given = dep("given");
    let time = last_time(&given);
    let rq = request(kind, "apps/v1", "m2", &time);
    let got = apply(Some(&forced), &dep("given_up"), &rq, false).unwrap();
    assert_eq!(fields(&got), fields(&given));
    assert!(!got.has(&["spec", "replicas"]), "given up and owned by nobody else");
    assert!(!got.has(&["metadata", "labels", "b"]));
    let mut got = got;
    merge_missing(got.map_mut(), given.map());
    assert_eq!(essence(got), essence(given));

    applied.set_at(&["spec", "nope"], 1);
    assert_eq!(
        apply(Some(&forced), &applied, &rq, false).unwrap_err().message(),
        "failed to create typed patch object (default/patch-dep; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema"
    );
}

/// Adds what only the other has.
fn merge_missing(a: &mut Map<String, Value>, b: &Map<String, Value>) {
    fn fill(a: &mut Value, b: &Value) {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => merge_missing(a, b),
            (Value::Array(a), Value::Array(b)) => a.iter_mut().zip(b).for_each(|(a, b)| fill(a, b)),
            _ => {}
        }
    }
    for (k, v) in b {
        match a.get_mut(k) {
            Some(slot) => fill(slot, v),
            None => {
                a.insert(k.clone(), v.clone());
            }
        }
    }
}

#[test]
fn kubectl_takes_over_what_it_applied_client_side() {
    let cm = fixture(include_str!("testdata/configmap.json"));
    let want = cm("ssa");
    let time = last_time(&want);
    let mut rq = request(("", "v1", "ConfigMap"), "v1", "kubectl", &time);
    let got = apply(Some(&cm("csa")), &cm("applied"), &rq, false).unwrap();
    assert_eq!(essence(got), essence(want));
    rq.manager = "someone";
    let refused = apply(Some(&cm("csa")), &cm("applied"), &rq, false).unwrap_err();
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.a"
    );
}

#[test]
fn ownership_can_be_cleared_and_shared() {
    let cm = fixture(include_str!("testdata/configmap.json"));
    let live = cm("ssa");
    let rq = request(("", "v1", "ConfigMap"), "v1", "x", "2026-11-20T14:00:00Z");
    let mut new = live.clone();
    new.set_at(&["metadata", "managedFields"], serde_json::json!([{}]));
    update(Some(&live), &mut new, &rq);
    assert!(!new.has(&["metadata", "managedFields"]));

    // The same value applied by another is shared, not a conflict.
    let mut applied = cm("applied");
    applied.remove_at(&["metadata", "annotations"]);
    let got = apply(Some(&live), &applied, &rq, false).unwrap();
    assert_eq!(fields(&got).as_array().unwrap().len(), 3);
    // And a plain write of it takes it from both.
    let mut new = got.clone();
    new.set_at(&["data", "a"], "other");
    update(Some(&got), &mut new, &Request { manager: "y", ..rq });
    let entries = fields(&new);
    let owners: Vec<&str> = decode(&entries)
        .unwrap()
        .iter()
        .filter(|e| e.set.has(&[Element::Field("data"), Element::Field("a")]))
        .map(|e| entries.as_array().unwrap().iter().find(|x| x["manager"] == *e.owner.manager).unwrap())
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    assert_eq!(owners, ["y"]);
}

#[test]
fn old_updaters_are_gathered() {
    let mut live: Option<Document> = None;
    for i in 0..15 {
        let mut new = live.clone().unwrap_or_default();
        new.set_type("v1", "ConfigMap");
        new.set_at(&["metadata", "uid"], "u");
        new.set_at(&["data", &format!("k{i}")], "v");
        let (manager, now) = (format!("m{i:02}"), format!("2026-11-20T14:00:{i:02}Z"));
        update(live.as_ref(), &mut new, &request(("", "v1", "ConfigMap"), "v1", &manager, &now));
        live = Some(new);
    }
    let entries = fields(&live.unwrap());
    let names: Vec<&str> =
        entries.as_array().unwrap().iter().map(|e| e["manager"].as_str().unwrap()).collect();
    assert_eq!(names, ["ancient-changes", "m06", "m07", "m08", "m09", "m10", "m11", "m12", "m13", "m14"]);
}

#[test]
fn a_write_of_nothing_keeps_its_times() {
    let cm = fixture(include_str!("testdata/configmap.json"));
    let old = cm("ssa");
    let mut new = old.clone();
    let mut list = fields(&new);
    list[0]["time"] = "2030-01-01T00:00:00Z".into();
    new.set_at(&["metadata", "managedFields"], &list);
    keep_times(&old, &mut new);
    assert_eq!(new, old);
    new.set_at(&["metadata", "managedFields"], &list);
    new.set_at(&["data", "a"], "else");
    keep_times(&old, &mut new);
    assert_eq!(fields(&new)[0]["time"], "2030-01-01T00:00:00Z");
}

#[test]
fn field_sets_print_upstreams_bytes() {
    let text = r#"{"f:a":{".":{},"f:b":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:x":{}},"k:{\"port\":443,\"protocol\":\"TCP\"}":{},"v:1":{},"v:\"a\\u003cb\"":{},"i:3":{}}}"#;
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(Set::parse(&value).unwrap().to_json(), text);
}

fn any_set() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(0u8..4, 1..4), 0..12)
}

fn build(paths: &[Vec<u8>]) -> Set<'static> {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    let mut out = Set::default();
    for p in paths {
        out.insert(&p.iter().map(|i| Element::Field(NAMES[usize::from(*i)])).collect::<Vec<_>>());
    }
    out
}

fn listed(s: &Set<'_>) -> Vec<String> {
    let mut out = Vec::new();
    s.each(|p| out.push(print_path(p)));
    out.sort();
    out
}

proptest! {
    #[test]
    fn sets_obey_the_laws(a in any_set(), b in any_set()) {
        let (a, b) = (build(&a), build(&b));
        let (la, lb) = (listed(&a), listed(&b));
        let union = a.union(&b);
        prop_assert_eq!(&union, &b.union(&a));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert_eq!(a.intersects(&b), !a.intersection(&b).is_empty());
        let want: Vec<String> = la.iter().filter(|p| !lb.contains(p)).cloned().collect();
        prop_assert_eq!(listed(&a.difference(&b)), want);
        let want: Vec<String> = la
            .iter()
            .filter(|p| !lb.iter().any(|q| *p == q || p.starts_with(&format!("{q}."))))
            .cloned()
            .collect();
        prop_assert_eq!(listed(&a.recursive_difference(&b)), want);
        let tree = union.to_value();
        prop_assert_eq!(Set::parse(&tree).unwrap(), union.clone());
        let json: Value = serde_json::from_str(&union.to_json()).unwrap();
        prop_assert_eq!(Set::parse(&json).unwrap(), union);
    }
}
