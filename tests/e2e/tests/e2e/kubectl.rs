//! Stock kubectl does the tour, every version on this machine.

use gantry_e2e::Cluster;
use std::path::PathBuf;

fn ok(cluster: &Cluster, kubectl: &PathBuf, args: &[&str], input: Option<&str>) -> String {
    let out = cluster.run(kubectl, args, input);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{} {args:?}: {text}{}",
        kubectl.display(),
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

#[test]
fn the_tour_works_with_every_client() {
    let cluster = Cluster::get();
    let mut clients = cluster.kubectls();
    clients.push(cluster.kctl.clone());
    for (i, kubectl) in clients.iter().enumerate() {
        let namespace = cluster.namespace(&format!("tour-{i}"));
        let n = namespace.name.as_str();
        let run = |args: &[&str]| ok(&cluster, kubectl, &[&["-n", n], args].concat(), None);
        let manifest = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 1\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{name: c, image: registry.gantry.internal/gantry/busybox:1, command: [sh, -c, 'echo hello; sleep 3600']}]\n";
        ok(&cluster, kubectl, &["-n", n, "apply", "-f", "-"], Some(manifest));
        ok(
            &cluster,
            kubectl,
            &["-n", n, "apply", "--server-side", "--force-conflicts", "-f", "-"],
            Some(manifest),
        );
        run(&["rollout", "status", "deployment/d", "--timeout=60s"]);
        assert!(run(&["get", "deployment", "d"]).contains("1/1"));
        assert!(run(&["get", "pods", "-o", "wide"]).contains("Running"));
        assert!(run(&["describe", "deployment", "d"]).contains("ScalingReplicaSet"));
        assert!(run(&["logs", "deployment/d"]).contains("hello"));
        assert_eq!(run(&["exec", "deployment/d", "--", "echo", "inside"]), "inside\n");
        run(&["scale", "deployment/d", "--replicas=2"]);
        run(&["rollout", "status", "deployment/d", "--timeout=60s"]);
        run(&["patch", "deployment", "d", "-p", r#"{"metadata":{"labels":{"patched":"yes"}}}"#]);
        run(&["wait", "deployment/d", "--for=condition=Available", "--timeout=30s"]);
        assert!(
            run(&["get", "deployment", "d", "-o", "jsonpath={.metadata.labels.patched}"]).contains("yes")
        );
        assert!(ok(&cluster, kubectl, &["explain", "deployment.spec.replicas"], None).contains("replicas"));
        assert_eq!(run(&["auth", "can-i", "create", "pods"]).trim(), "yes");
        run(&["delete", "deployment", "d"]);
    }
}
