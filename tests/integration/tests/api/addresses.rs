//! Cluster addresses: taken by `IPAddress` objects, out of ServiceCIDRs.

use crate::{NS, named, names, world};
use gantry_testkit::{Backing, Http};
use serde_json::{Value, json};

const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

fn service(name: &str, ip: Option<&str>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

/// Whose the addresses are, by address.
async fn owners(admin: &Http) -> Vec<(String, String)> {
    let all = admin.get(ADDRESSES).await.expect(200);
    let one = |o: &Value| {
        let parent = &o["spec"]["parentRef"];
        let name = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (name(&o["metadata"]["name"]), name(&parent["name"]))
    };
    all["items"].as_array().map(|items| items.iter().map(one).collect()).unwrap_or_default()
}

async fn comes_and_goes(backing: Backing) {
    let (_cluster, admin) = world(backing).await;
    let services = format!("{NS}/services");
    let made = admin.post(&services, &service("a", None)).await.expect(201);
    let ip = made["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let object = admin.get(&format!("{ADDRESSES}/{ip}")).await.expect(200);
    assert_eq!(object["spec"]["parentRef"], json!({"resource": "services", "namespace": "t", "name": "a"}));
    assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    // Nobody else has it, by a service or by its object.
    admin.post(&services, &service("b", Some(&ip))).await.expect(422);
    let mut taken = named(&ip);
    taken["spec"] = json!({"parentRef": {"resource": "gateways", "name": "g"}});
    admin.post(ADDRESSES, &taken).await.expect(409);
    // What is refused leaves nothing behind.
    let before = owners(&admin).await;
    let mut bad = service("c", None);
    bad["spec"]["ports"][0]["port"] = json!(70000);
    admin.post(&services, &bad).await.expect(422);
    admin.post(&services, &service("a", None)).await.expect(409);
    admin.post(&format!("{services}?dryRun=All"), &service("d", None)).await.expect(201);
    assert_eq!(owners(&admin).await, before);
    // A service that needs no address gives it back, and one that goes as well.
    let external = json!({"spec": {"type": "ExternalName", "externalName": "x.y", "clusterIP": null, "clusterIPs": null}});
    admin.patch("merge", &format!("{services}/a"), &external).await.expect(200);
    admin.get(&format!("{ADDRESSES}/{ip}")).await.expect(404);
    admin.post(&services, &service("b", Some(&ip))).await.expect(201);
    admin.delete(&format!("{services}/b")).await.expect(200);
    admin.get(&format!("{ADDRESSES}/{ip}")).await.expect(404);
}

#[tokio::test]
async fn addresses_come_and_go_with_services() {
    comes_and_goes(Backing::Embedded).await;
}

#[tokio::test]
async fn further_ranges_serve_and_one_of_the_cluster_is_there() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    assert_eq!(names(&admin.get(RANGES).await.expect(200)), ["kubernetes"]);
    let services = format!("{NS}/services");
    admin.post(&services, &service("a", Some("10.50.0.3"))).await.expect(422);
    let mut range = named("more");
    range["spec"] = json!({"cidrs": ["10.50.0.0/28"]});
    admin.post(RANGES, &range).await.expect(201);
    // Allocation hears of it a moment later.
    let mut code = 0;
    for _ in 0..100 {
        code = admin.post(&services, &service("a", Some("10.50.0.3"))).await.status;
        if code == 201 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(code, 201);
    assert!(owners(&admin).await.contains(&("10.50.0.3".into(), "a".into())));
}
