//! Who reaches whom.

use gantry_e2e::{Cluster, http, wait_for};
use std::collections::BTreeSet;
use std::time::Duration;

const NODES: [&str; 3] = ["node-1", "node-2", "node-3"];
const NODE_PORT: u16 = 30090;

/// One pod a node that answers with its node's name, and a Service before them.
fn manifest() -> String {
    let pod = |node: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: on-{node}, labels: {{app: each}}}}\nspec:\n  \
             nodeName: {node}\n  terminationGracePeriodSeconds: 0\n  containers:\n    - name: c\n      \
             image: registry.gantry.internal/gantry/busybox:1\n      \
             command: [sh, -c, 'mkdir /www; echo {node} >/www/index.html; exec httpd -f -p 8080 -h /www']\n      \
             readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}\n---\n"
        )
    };
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: each}}\nspec:\n  type: NodePort\n  \
         selector: {{app: each}}\n  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]\n"
    );
    NODES.iter().map(|n| pod(n)).chain([service]).collect()
}

#[test]
fn pods_of_three_nodes_reach_each_other_and_every_service() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace("reach");
    let n = namespace.name.as_str();
    cluster.kctl_with(&["-n", n, "apply", "-f", "-"], Some(&manifest()));
    cluster.kctl(&["-n", n, "wait", "pod", "-l", "app=each", "--for=condition=Ready", "--timeout=60s"]);
    // A script inside the pod asks for many pages in one go; one answer a line.
    let ask = |node: &str, urls: &[String]| {
        let script =
            format!("for u in {}; do timeout 3 wget -q -O - $u || echo no: $u; done", urls.join(" "));
        let out = cluster.kctl(&["-n", n, "exec", &format!("on-{node}"), "--", "sh", "-c", &script]);
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let list = cluster.json(&["-n", n, "get", "pods", "-l", "app=each"]);
    let mut addresses = Vec::new();
    for pod in list["items"].as_array().expect("pods") {
        let text = |v: &serde_json::Value| v.as_str().expect("a string").to_owned();
        addresses.push((text(&pod["spec"]["nodeName"]), text(&pod["status"]["podIP"])));
    }
    addresses.sort();
    assert_eq!(addresses.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), NODES);

    let pods: Vec<String> = addresses.iter().map(|(_, ip)| format!("http://{ip}:8080/")).collect();
    let service = cluster.json(&["-n", n, "get", "service", "each"]);
    let cluster_ip = service["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    let all: BTreeSet<String> = NODES.iter().map(|n| (*n).to_owned()).collect();
    let spread = |answers: Vec<String>, what: &str| {
        assert_eq!(answers.into_iter().collect::<BTreeSet<_>>(), all, "{what}");
    };
    wait_for("the service's rules on every node", Duration::from_secs(10), || {
        (1..=3).all(|i| http(&format!("http://172.31.240.{i}:{NODE_PORT}/")).is_some_and(|(c, _)| c == 200))
    });
    for node in NODES {
        assert_eq!(ask(node, &pods), NODES, "pod addresses from {node}");
        // Chance spreads the connections; 40 miss one of three pods once in ten million times.
        spread(ask(node, &vec![format!("http://{cluster_ip}/"); 40]), "the cluster address");
        spread(ask(node, &vec!["http://each/".to_owned(); 40]), "the short name");
        spread(ask(node, &vec![format!("http://each.{n}.svc.cluster.local/"); 40]), "the full name");
        let ports: Vec<String> = (1..=3).map(|i| format!("http://172.31.240.{i}:{NODE_PORT}/")).collect();
        let answers = ask(node, &ports);
        assert!(answers.len() == 3 && answers.iter().all(|a| all.contains(a)), "node ports: {answers:?}");
        // The cluster's own: the API, and DNS over TCP.
        let script = "nc -w 3 kubernetes.default 443 -e true && nc -w 3 10.96.0.10 53 -e true && \
                      nslookup kubernetes.default.svc.cluster.local 10.96.0.10";
        let out = cluster.kctl(&["-n", n, "exec", &format!("on-{node}"), "--", "sh", "-c", script]);
        assert!(out.contains("10.96.0.1"), "{node}: {out}");
    }
    for i in 1..=3 {
        let url = format!("http://172.31.240.{i}:{NODE_PORT}/");
        let answers = (0..40).filter_map(|_| http(&url)).map(|(_, body)| body.trim().to_owned());
        spread(answers.collect(), &url);
    }
}
