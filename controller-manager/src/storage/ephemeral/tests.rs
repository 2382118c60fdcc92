use super::plan::missing;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

fn pod() -> Pod {
    serde_json::from_str(
        r#"{"metadata":{"namespace":"n","name":"p","uid":"u"},"spec":{"containers":[],"volumes":[
            {"name":"plain","emptyDir":{}},
            {"name":"own","ephemeral":{"volumeClaimTemplate":{
                "metadata":{"labels":{"a":"b"},"annotations":{"c":"d"}},
                "spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"s"}}}}]}}"#,
    )
    .unwrap()
}

#[test]
fn each_ephemeral_volume_gets_its_claim() {
    let pod = pod();
    let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
    assert_eq!(missing(&pod, &volumes[0], None), Ok(None));
    let claim = missing(&pod, &volumes[1], None).unwrap().unwrap();
    let want: PersistentVolumeClaim = serde_json::from_str(
        r#"{"metadata":{"namespace":"n","name":"p-own","labels":{"a":"b"},"annotations":{"c":"d"},
            "ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u","controller":true,
            "blockOwnerDeletion":true}]},"spec":{"accessModes":["ReadWriteOnce"],"storageClassName":"s"}}"#,
    )
    .unwrap();
    assert_eq!(claim, want);
    assert_eq!(missing(&pod, &volumes[1], Some(&claim)), Ok(None));
    let foreign = PersistentVolumeClaim {
        metadata: kube::api::ObjectMeta { owner_references: None, ..claim.metadata.clone() },
        ..claim
    };
    assert_eq!(
        missing(&pod, &volumes[1], Some(&foreign)),
        Err("PVC n/p-own was not created for pod n/p (pod is not owner)".to_owned())
    );
}
