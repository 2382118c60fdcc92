use super::plan::{Plan, Snapshot, plan};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Pod, PodCondition, PodIP, PodSpec, PodStatus, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use std::sync::Arc;

fn service() -> Service {
    Service {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("n".into()),
            uid: Some("s".into()),
            labels: Some([("tier".into(), "front".into())].into()),
            ..Default::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("10.0.0.1".into()),
            ip_families: Some(vec!["IPv4".into()]),
            ports: Some(vec![ServicePort {
                port: 80,
                target_port: Some(IntOrString::String("http".into())),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        status: None,
    }
}

/// `name ip port [ready] [going] [failed]`
fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let has = |word| words.contains(&word);
    let port = ContainerPort {
        name: Some("http".into()),
        container_port: words[2].parse().unwrap(),
        ..Default::default()
    };
    Arc::new(Pod {
        metadata: ObjectMeta {
            name: Some(words[0].into()),
            namespace: Some("n".into()),
            uid: Some(words[0].into()),
            deletion_timestamp: has("going").then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..Default::default()
        },
        spec: Some(PodSpec {
            node_name: Some("node".into()),
            containers: vec![Container { ports: Some(vec![port]), ..Default::default() }],
            ..Default::default()
        }),
        status: Some(PodStatus {
            phase: Some(if has("failed") { "Failed" } else { "Running" }.into()),
            pod_ips: Some(vec![PodIP { ip: words[1].into() }]),
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: if has("ready") { "True" } else { "False" }.into(),
                ..Default::default()
            }]),
            ..Default::default()
        }),
    })
}

fn run(service: &Service, pods: &[&str], slices: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let pods: Vec<_> = pods.iter().map(|p| pod(p)).collect();
    let shares = [("z1".to_owned(), 0.5), ("z2".to_owned(), 0.5)].into();
    plan(&Snapshot { service, pods: &pods, slices, zones: &|_| Some("z1".into()), shares: &shares, max })
}

/// As if the server had stored what the plan creates.
fn stored(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
    let slices = plan.create.iter().enumerate().map(|(n, slice)| {
        let mut slice = slice.clone();
        slice.metadata.name = Some(format!("web-{n}"));
        slice.metadata.uid = Some(format!("u{n}"));
        Arc::new(slice)
    });
    slices.collect()
}

fn describe(slice: &EndpointSlice) -> Vec<String> {
    let ports: Vec<_> = slice.ports.iter().flatten().map(|p| p.port.unwrap().to_string()).collect();
    let endpoints = slice.endpoints.iter().flatten().map(|e| {
        let c = e.conditions.as_ref().unwrap();
        let flags = [(c.ready, 'r'), (c.serving, 's'), (c.terminating, 't')];
        let flags: String = flags.iter().filter(|(f, _)| *f == Some(true)).map(|(_, c)| *c).collect();
        format!("{}:{}/{flags}", e.addresses[0], ports.join("+"))
    });
    endpoints.collect()
}

#[test]
fn conditions_follow_the_pod() {
    let pods = ["a 1.1.1.1 80 ready", "b 1.1.1.2 80", "c 1.1.1.3 80 ready going", "d 1.1.1.4 80 failed"];
    let found = run(&service(), &pods, &[], 100);
    assert_eq!(found.create.len(), 1);
    assert_eq!(describe(&found.create[0]), ["1.1.1.1:80/rs", "1.1.1.2:80/", "1.1.1.3:80/st"]);
    let slice = &found.create[0];
    let labels = slice.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslice-controller.k8s.io");
    assert_eq!(labels["tier"], "front");
    assert!(!labels.contains_key("service.kubernetes.io/headless"));
    assert_eq!(slice.endpoints.as_ref().unwrap()[0].zone.as_deref(), Some("z1"));
    assert_eq!(slice.endpoints.as_ref().unwrap()[0].node_name.as_deref(), Some("node"));
    let mut publishing = service();
    publishing.spec.as_mut().unwrap().publish_not_ready_addresses = Some(true);
    assert_eq!(describe(&run(&publishing, &pods, &[], 100).create[0])[1], "1.1.1.2:80/r");
}

#[test]
fn nothing_changes_when_nothing_did_and_empty_services_keep_one_slice() {
    let pods = ["a 1.1.1.1 80 ready", "b 1.1.1.2 80 ready"];
    let slices = stored(&run(&service(), &pods, &[], 100));
    assert!(run(&service(), &pods, &slices, 100).is_empty());
    let empty = stored(&run(&service(), &[], &[], 100));
    assert_eq!(empty.len(), 1);
    assert!(run(&service(), &[], &empty, 100).is_empty());
    let filled = run(&service(), &pods, &empty, 100);
    assert_eq!((filled.create.len(), filled.update.len(), filled.delete.len()), (0, 1, 0));
    assert_eq!(filled.update[0].metadata.name.as_deref(), Some("web-0"));
}

#[test]
fn slices_are_filled_and_split_at_the_limit() {
    let lines: Vec<String> = (0..5).map(|n| format!("p{n} 1.1.1.{n} 80 ready")).collect();
    let pods: Vec<&str> = lines.iter().map(String::as_str).collect();
    let first = run(&service(), &pods, &[], 2);
    assert_eq!(
        first.create.iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect::<Vec<_>>(),
        [2, 2, 1]
    );
    let slices = stored(&first);
    let more: Vec<&str> = pods.iter().copied().chain(["new 1.1.1.9 80 ready"]).collect();
    let second = run(&service(), &more, &slices, 2);
    assert_eq!((second.create.len(), second.update.len()), (0, 1));
    assert_eq!(second.update[0].endpoints.as_ref().unwrap().len(), 2);
}

#[test]
fn other_ports_need_other_slices_and_families_are_kept_apart() {
    let found = run(&service(), &["a 1.1.1.1 80 ready", "b 1.1.1.2 8080 ready"], &[], 100);
    assert_eq!(found.create.len(), 2);
    let mut dual = service();
    dual.spec.as_mut().unwrap().ip_families = Some(vec!["IPv4".into(), "IPv6".into()]);
    let found = run(&dual, &["a 1.1.1.1 80 ready"], &[], 100);
    let kinds: Vec<_> =
        found.create.iter().map(|s| (s.address_type.as_str(), s.endpoints.as_ref().unwrap().len())).collect();
    assert_eq!(kinds, [("IPv4", 1), ("IPv6", 0)]);
}

#[test]
fn traffic_distribution_gives_hints() {
    let mut near = service();
    near.spec.as_mut().unwrap().traffic_distribution = Some("PreferSameNode".into());
    let found = run(&near, &["a 1.1.1.1 80 ready"], &[], 100);
    let hints = found.create[0].endpoints.as_ref().unwrap()[0].hints.clone().unwrap();
    assert_eq!(hints.for_zones.unwrap()[0].name, "z1");
    assert_eq!(hints.for_nodes.unwrap()[0].name, "node");
}

#[test]
fn topology_spreads_endpoints_and_keeps_them_so() {
    let mut spread = service();
    spread.metadata.annotations =
        Some([("service.kubernetes.io/topology-mode".into(), "Auto".into())].into());
    let pods = ["a 1.1.1.1 80 ready", "b 1.1.1.2 80 ready"];
    let found = run(&spread, &pods, &[], 100);
    let zones = |plan: &Plan| -> Vec<String> {
        let hints = plan.create[0].endpoints.iter().flatten().filter_map(|e| e.hints.clone());
        hints.map(|h| h.for_zones.unwrap()[0].name.clone()).collect()
    };
    assert_eq!(zones(&found), ["z2", "z1"]);
    assert!(run(&spread, &pods, &stored(&found), 100).is_empty());
    let alone = run(&spread, &pods[..1], &[], 100);
    assert!(zones(&alone).is_empty());
    assert!(matches!(alone.told.as_slice(), [super::hints::Told::Disabled(_)]));
}
