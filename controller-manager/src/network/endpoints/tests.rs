use super::plan::plan;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use serde::de::DeserializeOwned;
use std::sync::Arc;

fn json<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn service(spec: &str) -> Service {
    json(&format!(
        r#"{{"metadata":{{"name":"web","namespace":"n","labels":{{"tier":"front"}}}},"spec":{spec}}}"#
    ))
}

/// `name ip flags`: ready, going, failed.
fn pod(line: &str) -> Arc<Pod> {
    let fields: Vec<&str> = line.split(' ').collect();
    let has = |flag: &str| fields[2..].contains(&flag);
    let deleted = if has("going") { r#","deletionTimestamp":"2026-01-01T00:00:00Z""# } else { "" };
    let phase = if has("failed") { "Failed" } else { "Running" };
    let ready = if has("ready") { "True" } else { "False" };
    Arc::new(json(&format!(
        r#"{{"metadata":{{"name":"{0}","namespace":"n","uid":"u-{0}"{deleted}}},"spec":{{"nodeName":"node","containers":[{{"name":"c","ports":[{{"name":"http","containerPort":8080}}]}}]}},"status":{{"phase":"{phase}","podIPs":[{{"ip":"{1}"}}],"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#,
        fields[0], fields[1]
    )))
}

fn print(endpoints: &Endpoints) -> Vec<String> {
    let lines = endpoints.subsets.iter().flatten().map(|s| {
        let ips = |l: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
            l.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>().join(",")
        };
        let ports: Vec<_> = s.ports.iter().flatten().map(|p| p.port.to_string()).collect();
        format!("{}|{}|{}", ips(&s.addresses), ips(&s.not_ready_addresses), ports.join(","))
    });
    lines.collect()
}

const PLAIN: &str = r#"{"clusterIP":"10.0.0.1","ports":[{"port":80,"targetPort":"http"}]}"#;

fn check(spec: &str, pods: &[&str], want: &[&str]) {
    let pods: Vec<_> = pods.iter().map(|p| pod(p)).collect();
    let service = service(spec);
    let made = plan(&service, &pods, None).expect("something to write");
    assert_eq!(print(&made), want, "{spec}");
    assert!(plan(&service, &pods, Some(&made)).is_none(), "what was written is right");
}

#[test]
fn endpoints_follow_pods() {
    let pods = ["a 1.1.1.1 ready", "b 1.1.1.2", "c 1.1.1.3 ready going", "d 1.1.1.4 ready failed"];
    check(PLAIN, &pods, &["1.1.1.1|1.1.1.2|8080"]);
    check(PLAIN, &[], &[]);
    let publishing = r#"{"clusterIP":"None","publishNotReadyAddresses":true,"ports":[{"port":80},{"name":"x","port":81}]}"#;
    check(publishing, &pods, &["1.1.1.1,1.1.1.2,1.1.1.3||80,81"]);
    check(r#"{"clusterIP":"None"}"#, &pods, &["1.1.1.1|1.1.1.2|"]);
    check(r#"{"clusterIP":"10.0.0.1"}"#, &pods, &[]);
    check(r#"{"clusterIP":"10.0.0.1","ports":[{"port":80,"targetPort":"other"}]}"#, &pods, &[]);
}

#[test]
fn labels_are_the_services_and_the_controllers() {
    let headless = r#"{"clusterIP":"None","ports":[{"port":80}]}"#;
    let made = plan(&service(headless), &[], None).unwrap();
    let labels = made.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["tier"], "front");
    assert_eq!(labels["endpoints.kubernetes.io/managed-by"], "endpoint-controller");
    assert!(labels.contains_key("service.kubernetes.io/headless"));
    let changed = plan(&service(PLAIN), &[], Some(&made)).unwrap();
    assert!(!changed.metadata.labels.unwrap().contains_key("service.kubernetes.io/headless"));
}

#[test]
fn too_many_are_cut_and_said_to_be() {
    let lines: Vec<String> = (0..1100)
        .map(|n| {
            format!("p{n} 10.0.{}.{} {}", n / 256, n % 256, if n % 2 == 0 { "ready" } else { "waiting" })
        })
        .collect();
    let pods: Vec<_> = lines.iter().map(|l| pod(l)).collect();
    let made = plan(&service(PLAIN), &pods, None).unwrap();
    let subset = &made.subsets.as_ref().unwrap()[0];
    assert_eq!(subset.addresses.as_ref().unwrap().len(), 550);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 450);
    let annotations = made.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["endpoints.kubernetes.io/over-capacity"], "truncated");
    assert!(plan(&service(PLAIN), &pods, Some(&made)).is_none());
}
