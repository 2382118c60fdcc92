use super::*;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde_json::json;

fn service(name: &str, ip: &str, more: serde_json::Value) -> Service {
    let mut spec = json!({"clusterIP": ip, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]});
    for (k, v) in more.as_object().into_iter().flatten() {
        spec[k] = v.clone();
    }
    serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name}, "spec": spec})).unwrap()
}

/// `10.0.0.1@a`: an address on a node; a trailing `!` not ready, `~` terminating but serving.
fn slice(name: &str, endpoints: &[&str]) -> EndpointSlice {
    let list: Vec<_> = endpoints
        .iter()
        .map(|text| {
            let (ip, node) = text.trim_end_matches(['!', '~']).split_once('@').unwrap();
            let (ready, terminating) = (!text.ends_with(['!', '~']), text.ends_with('~'));
            json!({"addresses": [ip], "nodeName": node,
                   "conditions": {"ready": ready, "serving": ready || terminating, "terminating": terminating}})
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": list}))
    .unwrap()
}

fn options() -> Options {
    Options { cluster_cidr: Some("10.244.0.0/16".into()), ..Options::default() }
}

/// Builds for node `a` and prints endpoints as `cluster|external`.
fn check(more: serde_json::Value, endpoints: &[&str], expected: &str) {
    let map = service_map(&[service("s", "10.96.0.9", more)], &[slice("s", endpoints)], "a");
    let port = map.values().next().unwrap();
    let list = |set: &std::collections::BTreeSet<Endpoint>| {
        set.iter().map(|e| format!("{}:{}", e.ip, e.port)).collect::<Vec<_>>().join(",")
    };
    assert_eq!(format!("{}|{}", list(&port.cluster), list(&port.external)), expected);
}

#[test]
fn traffic_policies_and_conditions_choose_endpoints() {
    let both = &["10.0.0.1@a", "10.0.0.2@b"];
    check(json!({}), both, "10.0.0.1:8080,10.0.0.2:8080|10.0.0.1:8080,10.0.0.2:8080");
    check(json!({"internalTrafficPolicy": "Local"}), both, "10.0.0.1:8080|10.0.0.1:8080,10.0.0.2:8080");
    check(json!({"externalTrafficPolicy": "Local"}), both, "10.0.0.1:8080,10.0.0.2:8080|10.0.0.1:8080");
    check(json!({}), &["10.0.0.1@a!", "10.0.0.2@b"], "10.0.0.2:8080|10.0.0.2:8080");
    check(json!({}), &["10.0.0.1@a~", "10.0.0.2@b!"], "10.0.0.1:8080|10.0.0.1:8080");
    check(json!({}), &["10.0.0.1@a~", "10.0.0.2@b"], "10.0.0.2:8080|10.0.0.2:8080");
}

#[test]
fn services_that_are_not_ours_are_left_out() {
    let headless = service("h", "None", json!({}));
    let external = service("e", "", json!({"type": "ExternalName", "externalName": "x.y"}));
    assert!(service_map(&[headless, external], &[], "a").is_empty());
}

#[test]
fn no_endpoint_rejects_and_no_local_endpoint_drops() {
    let node_port = json!({"type": "NodePort", "ports": [{"name": "http", "port": 80, "nodePort": 30080}]});
    let verdicts = |spec: &serde_json::Value, endpoints: &[&str]| {
        let map = service_map(&[service("s", "10.96.0.9", spec.clone())], &[slice("s", endpoints)], "a");
        let r = ruleset(&map, &options());
        let get = |m| r.maps[m].values().next().cloned().unwrap_or_default();
        (get(rules::NO_ENDPOINT_SERVICES), get(rules::NO_ENDPOINT_NODE_PORTS))
    };
    assert_eq!(verdicts(&node_port, &[]), ("goto reject-chain".into(), "goto reject-chain".into()));
    let mut local = node_port;
    local["externalTrafficPolicy"] = "Local".into();
    assert_eq!(verdicts(&local, &["10.0.0.2@b"]), (String::new(), "drop".into()));
}

#[test]
fn one_endpoint_change_touches_one_service() {
    let services: Vec<Service> =
        (0..50).map(|i| service(&format!("s{i}"), &format!("10.96.1.{i}"), json!({}))).collect();
    let mut slices: Vec<EndpointSlice> =
        (0..50).map(|i| slice(&format!("s{i}"), &["10.0.0.1@a", "10.0.0.2@b"])).collect();
    let before = ruleset(&service_map(&services, &slices, "a"), &options());
    slices[7] = slice("s7", &["10.0.0.1@a", "10.0.0.3@b"]);
    let after = ruleset(&service_map(&services, &slices, "a"), &options());
    let text = diff(&before, &after);
    assert!(text.lines().count() < 12, "{text}");
    assert!(text.lines().all(|l| l.contains("-n-s7-")), "{text}");
    assert_eq!(diff(&after, &after), "");
}

#[test]
fn udp_connections_to_what_went_are_stale() {
    let udp = |endpoints: &[&str]| {
        let s =
            service("d", "10.96.0.10", json!({"ports": [{"name": "http", "port": 53, "protocol": "UDP"}]}));
        service_map(&[s], &[slice("d", endpoints)], "a")
    };
    let stale = staleness(&udp(&["10.0.0.1@a"]), &udp(&["10.0.0.2@a"]));
    assert_eq!(stale.endpoints, [("10.96.0.10".parse().unwrap(), "10.0.0.1".parse().unwrap())]);
    let stale = staleness(&udp(&[]), &udp(&["10.0.0.2@a"]));
    assert_eq!(stale.addresses, ["10.96.0.10".parse::<std::net::Ipv4Addr>().unwrap()]);
}

/// Applies a transaction to a model of the table, refusing what the kernel would refuse.
fn apply(model: &mut Ruleset, text: &str) {
    for line in text.lines() {
        let line = line.replacen("ip kube-proxy ", "", 1);
        let (verb, rest) = line.split_once(' ').unwrap();
        let (what, rest) = rest.split_once(' ').unwrap();
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match (verb, what) {
            ("add", "chain") => drop(model.chains.entry(name.into()).or_default()),
            ("flush", "chain") => model.chains.get_mut(name).expect("flush of a chain").clear(),
            ("delete", "chain") => {
                assert_eq!(model.chains.remove(name), Some(vec![]), "deleting a chain that is in use");
                assert!(!model.chains.values().flatten().any(|r| r.ends_with(name)), "{name} is referenced");
            }
            ("add", "rule") => model.chains.get_mut(name).expect("rule in a chain").push(rest.into()),
            ("add", "set") => {
                let seconds = rest.rsplit("timeout ").next().unwrap().trim_end_matches("s; }");
                model.affinity_sets.insert(name.into(), seconds.parse().unwrap());
            }
            ("delete", "set") => drop(model.affinity_sets.remove(name).expect("set")),
            (verb, "element") => {
                let map = model.maps.iter_mut().find(|(k, _)| **k == name).expect("map").1;
                for e in rest.trim_start_matches("{ ").trim_end_matches(" }").split(", ") {
                    match (verb, e.split_once(" : ")) {
                        ("add", Some((k, v))) => {
                            assert!(map.insert(k.into(), v.into()).is_none(), "{k} twice")
                        }
                        ("delete", None) => assert!(map.remove(e).is_some(), "{e} is not there"),
                        other => panic!("{other:?}"),
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever the states before and after, the transaction leads from one to the other.
    #[test]
    fn transactions_lead_from_any_state_to_any_other(
        states in proptest::collection::vec(proptest::collection::vec((0u8..4, 0u8..5, any::<bool>(), any::<bool>()), 0..5), 1..5)
    ) {
        let mut model = ruleset(&ServiceMap::new(), &options());
        let mut before = model.clone();
        for state in states {
            let mut services = Vec::new();
            let mut slices = Vec::new();
            for (i, (_, endpoints, sticky, external)) in state.iter().enumerate() {
                let mut more = json!({});
                if *sticky { more["sessionAffinity"] = "ClientIP".into(); }
                if *external {
                    more["ports"] = json!([{"name": "http", "port": 80, "nodePort": 30000 + i}]);
                }
                services.push(service(&format!("s{i}"), &format!("10.96.2.{i}"), more));
                let list: Vec<String> = (0..*endpoints).map(|e| format!("10.0.{i}.{e}@a")).collect();
                slices.push(slice(&format!("s{i}"), &list.iter().map(String::as_str).collect::<Vec<_>>()));
            }
            let after = ruleset(&service_map(&services, &slices, "a"), &options());
            apply(&mut model, &diff(&before, &after));
            prop_assert_eq!(&model, &after);
            before = after;
        }
    }
}
