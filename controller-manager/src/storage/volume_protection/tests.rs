use super::plan::protect;
use k8s_openapi::api::core::v1::PersistentVolume;

#[test]
fn volumes_are_held_while_bound() {
    let check = |meta: &str, phase: &str, want: Option<&[&str]>| {
        let volume: PersistentVolume = serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"v"{meta}}},"status":{{"phase":"{phase}"}}}}"#
        ))
        .unwrap();
        let got = protect(&volume).map(|v| v.metadata.finalizers.unwrap_or_default());
        assert_eq!(got, want.map(|w| w.iter().map(|f| (*f).to_owned()).collect()), "{meta} {phase}");
    };
    let held = r#","finalizers":["kubernetes.io/pv-protection","x"]"#;
    let going = r#","deletionTimestamp":"2026-01-01T00:00:00Z""#;
    check("", "Pending", Some(&["kubernetes.io/pv-protection"]));
    check(held, "Bound", None);
    check(going, "Available", None);
    check(&format!("{going}{held}"), "Bound", None);
    check(&format!("{going}{held}"), "Released", Some(&["x"]));
    check(&format!("{going}{held}"), "Failed", Some(&["x"]));
}
