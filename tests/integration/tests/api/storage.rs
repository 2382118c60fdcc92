//! Claims and volumes: what admission adds, what may grow, and how they go.

use crate::{NS, text, world};
use gantry_testkit::Backing;
use serde_json::{Value, json};

const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const VOLUMES: &str = "/api/v1/persistentvolumes";

fn class(name: &str, grows: bool, default: bool) -> Value {
    let mark = json!({"storageclass.kubernetes.io/is-default-class": default.to_string()});
    json!({"metadata": {"name": name, "annotations": mark}, "provisioner": "p", "allowVolumeExpansion": grows})
}

fn claim(name: &str) -> Value {
    let requests = json!({"requests": {"storage": "1Gi"}});
    json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": requests}})
}

fn grown(to: &str) -> Value {
    json!({"spec": {"resources": {"requests": {"storage": to}}}})
}

#[tokio::test]
async fn a_claim_from_its_class_to_its_end() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let claims = format!("{NS}/persistentvolumeclaims");
    admin.post(CLASSES, &class("grows", true, true)).await.expect(201);
    admin.post(CLASSES, &class("stays", false, false)).await.expect(201);
    let made = admin.post(&claims, &claim("a")).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "grows");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    assert_eq!(made["status"], json!({"phase": "Pending"}));

    let one = format!("{claims}/a");
    // Only bound claims grow.
    let refused = admin.patch("merge", &one, &grown("2Gi")).await.expect(422);
    assert!(text(&refused["message"]).contains("spec: Forbidden: spec is immutable after creation"));
    let bound =
        json!({"spec": {"volumeName": "no"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
    let bound = admin.patch("merge", &format!("{one}/status"), &bound).await.expect(200);
    assert!(bound["spec"]["volumeName"].is_null(), "{bound}");
    let larger = admin.patch("merge", &one, &grown("2Gi")).await.expect(200);
    assert_eq!(larger["spec"]["resources"]["requests"]["storage"], "2Gi");
    admin.patch("merge", &one, &grown("1Gi")).await.expect(422);
    admin.patch("merge", &one, &json!({"spec": {"storageClassName": "stays"}})).await.expect(422);

    let mut other = claim("b");
    other["spec"]["storageClassName"] = json!("stays");
    admin.post(&claims, &other).await.expect(201);
    let status = json!({"status": {"phase": "Bound"}});
    admin.patch("merge", &format!("{claims}/b/status"), &status).await.expect(200);
    let refused = admin.patch("merge", &format!("{claims}/b"), &grown("2Gi")).await.expect(403);
    assert!(
        text(&refused["message"]).ends_with("the storageclass that provisions the pvc must support resize")
    );

    // Its finalizer holds it until somebody has seen that nothing uses it.
    admin.delete(&one).await.expect(200);
    let held = admin.get(&one).await.expect(200);
    assert!(!held["metadata"]["deletionTimestamp"].is_null());
    admin.patch("merge", &one, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    admin.get(&one).await.expect(404);
}

#[tokio::test]
async fn a_volume_keeps_its_source_and_dates_its_phases() {
    let (_cluster, admin) = world(Backing::Embedded).await;
    let volume = json!({"metadata": {"name": "v"}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
    let made = admin.post(VOLUMES, &volume).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
    assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(made["status"]["phase"], "Pending");
    assert!(made["status"]["lastPhaseTransitionTime"].is_string());
    let one = format!("{VOLUMES}/v");
    let dated = json!({"status": {"phase": "Available", "lastPhaseTransitionTime": "2020-01-01T00:00:00Z"}});
    let dated = admin.patch("merge", &format!("{one}/status"), &dated).await.expect(200);
    assert_eq!(dated["status"]["lastPhaseTransitionTime"], "2020-01-01T00:00:00Z");
    let next = admin
        .patch("merge", &format!("{one}/status"), &json!({"status": {"phase": "Bound"}}))
        .await
        .expect(200);
    assert_ne!(next["status"]["lastPhaseTransitionTime"], "2020-01-01T00:00:00Z");
    let moved = json!({"spec": {"hostPath": {"path": "/y"}}});
    let refused = admin.patch("merge", &one, &moved).await.expect(422);
    assert!(text(&refused["message"]).contains("spec.persistentvolumesource is immutable after creation"));
}
