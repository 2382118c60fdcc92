//! Bad input is refused in Kubernetes' own words, end to end.

use gantry_e2e::Cluster;

#[test]
fn refusals_name_reason_field_and_cause() {
    let cluster = Cluster::get();
    let namespace = cluster.namespace("bad");
    let check = |manifest: &str, expected: &str| {
        let out = cluster.run(&cluster.kctl, &["-n", &namespace.name, "create", "-f", "-"], Some(manifest));
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(!out.status.success() && text.contains(expected), "{manifest}\n{text}");
    };
    check(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"A_b"}}"#,
        "metadata.name: Invalid value: \"A_b\"",
    );
    check(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"extra":1}"#,
        "unknown field \"extra\"",
    );
    check(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}"#,
        "spec.containers: Required value",
    );
    check(r#"{"apiVersion":"v1","kind":"Nope","metadata":{"name":"a"}}"#, "no matches for kind \"Nope\"");
}
