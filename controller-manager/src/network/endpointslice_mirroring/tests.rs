use super::plan::{plan, should_mirror};
use gantry_reconcile::Effect;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::Arc;

fn endpoints(subsets: &str) -> Endpoints {
    let text = format!(
        r#"{{"metadata":{{"name":"db","namespace":"n","uid":"u","labels":{{"a":"b"}},"annotations":{{"x":"y","kubectl.kubernetes.io/last-applied-configuration":"z"}}}},"subsets":{subsets}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn made(effects: &[Effect]) -> Vec<Arc<EndpointSlice>> {
    let slices = effects.iter().enumerate().filter_map(|(n, effect)| {
        let (Effect::Create { body, .. } | Effect::Update { body, .. }) = effect else { return None };
        let mut slice: EndpointSlice = serde_json::from_slice(&body.0).unwrap();
        slice.metadata.name = Some(format!("db-{n}"));
        slice.metadata.uid = Some(format!("s{n}"));
        Some(Arc::new(slice))
    });
    slices.collect()
}

fn words(effects: &[Effect]) -> Vec<&'static str> {
    let word = |e: &Effect| match e {
        Effect::Create { .. } => "create",
        Effect::Update { .. } => "update",
        Effect::Delete { .. } => "delete",
        Effect::Patch { .. } => "patch",
    };
    effects.iter().map(word).collect()
}

#[test]
fn subsets_become_slices_by_family_and_ports() {
    let first = endpoints(
        r#"[{"addresses":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"notReadyAddresses":[{"ip":"10.0.0.2"}],"ports":[{"name":"p","port":80,"protocol":"TCP"}]}]"#,
    );
    let planned = plan(&first, &[], 1000);
    assert_eq!(words(&planned.effects), ["create", "create"]);
    let slices = made(&planned.effects);
    let four = &slices[0];
    assert_eq!((four.address_type.as_str(), four.endpoints.as_ref().unwrap().len()), ("IPv4", 2));
    let labels = four.metadata.labels.as_ref().unwrap();
    assert_eq!((labels["a"].as_str(), labels["kubernetes.io/service-name"].as_str()), ("b", "db"));
    let annotations = four.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["x"]);
    assert_eq!(four.metadata.owner_references.as_ref().unwrap()[0].kind, "Endpoints");
    assert!(plan(&first, &slices, 1000).effects.is_empty(), "nothing to do twice");
    let fewer =
        endpoints(r#"[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"name":"p","port":80,"protocol":"TCP"}]}]"#);
    assert_eq!(words(&plan(&fewer, &slices, 1000).effects), ["update", "delete"]);
    let other =
        endpoints(r#"[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"name":"p","port":81,"protocol":"TCP"}]}]"#);
    assert_eq!(words(&plan(&other, &slices[..1], 1000).effects), ["update"], "a slice is used again");
    assert_eq!(words(&plan(&endpoints("[]"), &slices, 1000).effects), ["delete", "delete"]);
}

#[test]
fn what_cannot_be_copied_is_counted() {
    let many =
        endpoints(r#"[{"addresses":[{"ip":"10.0.0.1"},{"ip":"10.0.0.2"},{"ip":"x"},{"ip":"10.0.0.3"}]}]"#);
    let planned = plan(&many, &[], 2);
    assert_eq!((planned.invalid, planned.skipped), (1, 1));
    assert_eq!(made(&planned.effects)[0].endpoints.as_ref().unwrap().len(), 2);
}

#[test]
fn some_endpoints_are_not_to_be_copied() {
    let mut plain = endpoints("[]");
    assert!(should_mirror(&plain));
    plain
        .metadata
        .labels
        .as_mut()
        .unwrap()
        .insert("endpointslice.kubernetes.io/skip-mirror".into(), "true".into());
    assert!(!should_mirror(&plain));
}
