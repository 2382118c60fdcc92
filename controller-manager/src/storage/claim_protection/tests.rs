use super::plan::{Due, FINALIZER, due, uses, with_finalizer};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

fn claim(meta: &str) -> PersistentVolumeClaim {
    serde_json::from_str(&format!(r#"{{"metadata":{{"namespace":"n","name":"c","uid":"cu"{meta}}}}}"#))
        .unwrap()
}

#[test]
fn finalizers_are_added_and_removed_in_time() {
    let check = |meta: &str, want: Due| assert_eq!(due(&claim(meta).metadata, FINALIZER), want, "{meta}");
    let held = r#","finalizers":["x","kubernetes.io/pvc-protection"]"#;
    let going = r#","deletionTimestamp":"2026-01-01T00:00:00Z""#;
    check("", Due::Add);
    check(held, Due::Nothing);
    check(going, Due::Nothing);
    check(&format!("{going}{held}"), Due::RemoveWhenUnused);

    let mut meta = claim(held).metadata;
    with_finalizer(&mut meta, FINALIZER, false);
    assert_eq!(meta.finalizers, Some(vec!["x".to_owned()]));
    with_finalizer(&mut meta, FINALIZER, true);
    assert_eq!(meta.finalizers, Some(vec!["x".to_owned(), FINALIZER.to_owned()]));
}

#[test]
fn a_pod_on_a_node_holds_its_claims() {
    let check = |meta: &str, spec: &str, owner: &str, want: bool| {
        let pod: Pod = serde_json::from_str(&format!(
            r#"{{"metadata":{{"namespace":"n","name":"p","uid":"pu"{meta}}},"spec":{{"containers":[]{spec}}}}}"#
        ))
        .unwrap();
        let mut c = claim(&format!(
            r#","ownerReferences":[{{"apiVersion":"v1","kind":"Pod","name":"p","uid":"{owner}","controller":true}}]"#
        ));
        if spec.contains("ephemeral") {
            c.metadata.name = Some("p-v".into());
        }
        assert_eq!(uses(&pod, &c), want, "{meta} {spec} {owner}");
    };
    let plain = r#","volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c"}}]"#;
    let other = r#","nodeName":"m","volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"d"}}]"#;
    let own = r#","nodeName":"m","volumes":[{"name":"v","ephemeral":{}}]"#;
    let shut = r#","deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":0"#;
    check("", plain, "x", false);
    check("", &format!(r#","nodeName":"m"{plain}"#), "x", true);
    check(shut, &format!(r#","nodeName":"m"{plain}"#), "x", true);
    check("", other, "x", false);
    check("", own, "pu", true);
    check("", own, "x", false);
    check(shut, own, "pu", false);
}
