use crate::cluster::Cluster;
use crate::zone::{Answer, Zone};
use hickory_proto::rr::{Name, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Default)]
struct Fake {
    services: Vec<Arc<Service>>,
    slices: Vec<Arc<EndpointSlice>>,
}

impl Cluster for Fake {
    fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        let of = |s: &&Arc<Service>| {
            s.metadata.namespace.as_deref() == Some(namespace) && s.metadata.name.as_deref() == Some(name)
        };
        self.services.iter().find(of).cloned()
    }
    fn slices(&self, namespace: &str, service: &str) -> Vec<Arc<EndpointSlice>> {
        self.slices
            .iter()
            .filter(|s| crate::cluster::service_of(s) == Some((namespace, service)))
            .cloned()
            .collect()
    }
    fn namespace(&self, name: &str) -> bool {
        name == "shop"
    }
    fn services_with_ip(&self, ip: IpAddr) -> Vec<Arc<Service>> {
        let ip = Some(ip.to_string());
        self.services
            .iter()
            .filter(|s| s.spec.as_ref().and_then(|s| s.cluster_ip.clone()) == ip)
            .cloned()
            .collect()
    }
    fn slices_with_ip(&self, ip: IpAddr) -> Vec<Arc<EndpointSlice>> {
        let ip = ip.to_string();
        let of = |s: &&Arc<EndpointSlice>| s.endpoints.iter().flatten().any(|e| e.addresses.contains(&ip));
        self.slices.iter().filter(of).cloned().collect()
    }
}

fn zone() -> Zone<Fake> {
    let service = |name: &str, spec: serde_json::Value| {
        serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec}))
            .unwrap()
    };
    let slice = json!({
        "metadata": {"namespace": "shop", "name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.7"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.0.8"], "conditions": {"ready": true}},
            {"addresses": ["10.244.0.9"], "conditions": {"ready": false}}]});
    let cluster = Fake {
        services: vec![
            service(
                "web",
                json!({"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [{"name": "http", "port": 80}]}),
            ),
            service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]})),
            service("away", json!({"type": "ExternalName", "externalName": "example.org"})),
        ],
        slices: vec![serde_json::from_value(slice).unwrap()],
    };
    Zone { cluster: Arc::new(cluster), domain: Name::from_utf8("cluster.local.").unwrap(), ttl: 5 }
}

/// Prints the data of an answer, sorted, or its kind.
fn check(name: &str, kind: RecordType, expected: &str) {
    let text = match zone().answer(&Name::from_utf8(name).unwrap(), kind) {
        Answer::Records(list) => {
            let mut data: Vec<String> = list.iter().map(|r| r.data.to_string()).collect();
            data.sort();
            data.join(", ")
        }
        other => format!("{other:?}"),
    };
    assert_eq!(text, expected, "{name} {kind}");
}

#[test]
fn names_of_the_specification() {
    use RecordType::{A, AAAA, PTR, SRV, TXT};
    check("web.shop.svc.cluster.local.", A, "10.96.0.20");
    check("WEB.Shop.svc.cluster.local.", A, "10.96.0.20");
    check("web.shop.svc.cluster.local.", AAAA, "NoData");
    check("nope.shop.svc.cluster.local.", A, "NoName");
    check("shop.svc.cluster.local.", A, "NoData");
    check("gone.svc.cluster.local.", A, "NoName");
    check("db.shop.svc.cluster.local.", A, "10.244.0.7, 10.244.0.8");
    check("db-0.db.shop.svc.cluster.local.", A, "10.244.0.7");
    check("10-244-0-8.db.shop.svc.cluster.local.", A, "10.244.0.8");
    check("10-244-0-9.db.shop.svc.cluster.local.", A, "NoName");
    check("_http._tcp.web.shop.svc.cluster.local.", SRV, "0 100 80 web.shop.svc.cluster.local.");
    check("_http._udp.web.shop.svc.cluster.local.", SRV, "NoName");
    check(
        "_sql._tcp.db.shop.svc.cluster.local.",
        SRV,
        "0 100 5432 10-244-0-8.db.shop.svc.cluster.local., 0 100 5432 db-0.db.shop.svc.cluster.local.",
    );
    check("away.shop.svc.cluster.local.", A, "example.org.");
    check("10-244-3-4.shop.pod.cluster.local.", A, "10.244.3.4");
    check("x.shop.pod.cluster.local.", A, "NoName");
    check("20.0.96.10.in-addr.arpa.", PTR, "web.shop.svc.cluster.local.");
    check("7.0.244.10.in-addr.arpa.", PTR, "db-0.db.shop.svc.cluster.local.");
    check("1.2.3.4.in-addr.arpa.", PTR, "Elsewhere");
    check("dns-version.cluster.local.", TXT, "1.1.0");
    check("example.org.", A, "Elsewhere");
}
