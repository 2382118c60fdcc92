use crate::availability::{Address, Finding, check, conditions, resolve};
use crate::order::{self, Entry};
use crate::registration::{self, Action};
use gantry_types::k8s_openapi::api::core::v1::Service;
use gantry_types::k8s_openapi::api::discovery::v1::EndpointSlice;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, ServiceReference,
};
use serde_json::{Value, from_value, json};

fn reference() -> ServiceReference {
    from_value(json!({"namespace": "n", "name": "s", "port": 443})).unwrap()
}

fn service(spec: Value) -> Service {
    from_value(json!({"metadata": {"name": "s"}, "spec": spec})).unwrap()
}

fn slice(family: &str, port: Value, endpoints: Value) -> EndpointSlice {
    from_value(json!({"addressType": family, "ports": [port], "endpoints": endpoints})).unwrap()
}

#[test]
fn availability_is_told_in_upstream_s_words() {
    let port = json!({"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]});
    let named = |name: &str| json!({"name": name, "port": 8443});
    let ready = json!([{"addresses": ["10.0.0.1"]}]);
    let not_ready = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]);
    let check = |spec: Option<Value>, slices: Vec<EndpointSlice>, want: Option<(&str, &str)>| {
        let got = check(&reference(), spec.map(service).as_ref(), &slices).err();
        assert_eq!(got.as_ref().map(|f| (f.reason, f.message.as_str())), want);
    };
    check(None, vec![], Some(("ServiceNotFound", "service/s in \"n\" is not present")));
    check(
        Some(json!({"ports": [{"port": 80}]})),
        vec![],
        Some(("ServicePortError", "service/s in \"n\" is not listening on port 443")),
    );
    let absent = ("EndpointsNotFound", "cannot find endpointslices for service/s in \"n\"");
    check(Some(port.clone()), vec![], Some(absent));
    let missing = Some((
        "MissingEndpoints",
        "endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
    ));
    check(Some(port.clone()), vec![slice("IPv4", named("https"), not_ready)], missing);
    check(Some(port.clone()), vec![slice("IPv4", named("other"), ready.clone())], missing);
    check(Some(port), vec![slice("IPv4", named("https"), ready)], None);
    check(Some(json!({"type": "ExternalName", "externalName": "e"})), vec![], None);
}

#[test]
fn requests_go_to_ready_endpoints() {
    let named = json!({"name": "https", "port": 8443});
    let both = json!([
        {"addresses": ["10.0.0.2"]},
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
    ]);
    let four = slice("IPv4", named.clone(), both);
    let six = slice("IPv6", named, json!([{"addresses": ["fd00::1"]}]));
    let slices = [six, four];
    let check = |spec: Value, slices: &[EndpointSlice], want: Result<&[(&str, u16)], &str>| {
        let got = resolve(&reference(), Some(&service(spec)), slices);
        let want = want.map(|all| {
            all.iter().map(|(h, p)| Address { host: (*h).to_owned(), port: *p }).collect::<Vec<_>>()
        });
        assert_eq!(got, want.map_err(str::to_owned));
    };
    let ports = json!([{"name": "https", "port": 443}]);
    let of = |family: &str| json!({"ipFamilies": [family], "ports": ports});
    check(of("IPv4"), &slices, Ok(&[("10.0.0.1", 8443), ("10.0.0.2", 8443)]));
    check(of("IPv6"), &slices, Ok(&[("fd00::1", 8443)]));
    check(of("IPv6"), &slices[1..], Ok(&[("10.0.0.1", 8443), ("10.0.0.2", 8443)]));
    check(of("IPv4"), &[], Err("no endpoints available for service \"s\""));
    check(json!({"ports": []}), &slices, Err("no service port 443 found for service \"s\""));
    check(json!({"type": "ExternalName", "externalName": "e.test"}), &[], Ok(&[("e.test", 443)]));
}

#[test]
fn conditions_change_only_when_they_say_something_new() {
    let at = |s: &str| s.parse::<Timestamp>().unwrap();
    let now = at("2026-01-01T01:00:00Z");
    let with = |status: &str, reason: &str, message: &str| -> APIService {
        from_value(json!({"metadata": {}, "status": {"conditions": [
            {"type": "Other", "status": "True"},
            {"type": "Available", "status": status, "reason": reason, "message": message,
             "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}))
        .unwrap()
    };
    let check = |service: &APIService, found: &Finding, want: Option<(&str, &str)>| {
        let got = conditions(service, found, now);
        let last = got.as_ref().and_then(|all| all.last());
        let since = last.and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0.to_string());
        let pair = last.map(|c| c.status.as_str()).zip(since.as_deref());
        assert_eq!(pair, want);
    };
    let passed = Finding::passed();
    check(&APIService::default(), &passed, Some(("True", "2026-01-01T01:00:00Z")));
    check(&with("True", "Passed", "all checks passed"), &passed, None);
    check(&with("False", "X", ""), &passed, Some(("True", "2026-01-01T01:00:00Z")));
    check(&with("False", "X", ""), &Finding::failed("y"), Some(("False", "2026-01-01T00:00:00Z")));
}

#[test]
fn groups_and_versions_stand_in_order() {
    let entry = |group, version, group_priority, version_priority| Entry {
        group,
        version,
        group_priority,
        version_priority,
    };
    let entries = [
        entry("low", "v1", 10, 1),
        entry("b", "v1", 100, 5),
        entry("a", "v1beta1", 100, 5),
        entry("a", "v1", 50, 5),
        entry("a", "v2", 100, 1),
        entry("a", "odd", 100, 5),
    ];
    let got = order::groups(&entries);
    assert_eq!(got, [("a", vec!["v1", "v1beta1", "odd", "v2"]), ("b", vec!["v1"]), ("low", vec!["v1"])]);
    let mut names =
        ["foo1", "v1", "v11alpha2", "foo10", "v3beta1", "v10", "v2", "v1alpha1", "v12alpha1", "v10beta3"];
    names.sort_by(|a, b| order::versions(b, a));
    assert_eq!(
        names,
        ["v10", "v2", "v1", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10"]
    );
}

#[test]
fn start_registers_what_is_served() {
    let service = |name: &str, group: &str, version: &str, label: bool, priority: i32| -> APIService {
        let labels = if label { json!({registration::MANAGED: "onstart"}) } else { json!({}) };
        from_value(json!({"metadata": {"name": name, "uid": "u", "labels": labels},
            "spec": {"group": group, "version": version, "groupPriorityMinimum": priority, "versionPriority": 15}}))
        .unwrap()
    };
    let check = |existing: &[APIService], local: &[(&str, &str)], want: &[&str]| {
        let got = registration::plan(existing, local);
        let said: Vec<String> = got
            .iter()
            .map(|a| match a {
                Action::Create(s) => format!("+{}", s.metadata.name.as_deref().unwrap()),
                Action::Update(name, spec) => format!("={name} {}", spec.group_priority_minimum),
                Action::Delete(name, uid) => format!("-{name} {uid}"),
            })
            .collect();
        assert_eq!(said, want);
    };
    check(&[], &[("", "v1"), ("apiregistration.k8s.io", "v1"), ("apps", "v1")], &["+v1.", "+v1.apps"]);
    check(&[service("v1.apps", "apps", "v1", true, 17800)], &[("apps", "v1")], &[]);
    check(&[service("v1.apps", "apps", "v1", true, 1)], &[("apps", "v1")], &["=v1.apps 17800"]);
    check(&[service("v1.apps", "apps", "v1", false, 1)], &[("apps", "v1")], &[]);
    check(&[service("v0.apps", "apps", "v0", true, 1)], &[], &["-v0.apps u"]);
    check(&[service("v1.x.io", "x.io", "v1", false, 1)], &[], &[]);
}

#[test]
fn every_group_of_the_scheme_has_a_priority() {
    for (group, versions) in gantry_types::scheme::groups() {
        for version in versions {
            let known = registration::priority(group, version).is_some();
            assert_eq!(known, group != registration::OWN_GROUP, "{group}/{version}");
        }
    }
}
