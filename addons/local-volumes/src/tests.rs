use crate::config::Config;
use crate::folder;
use crate::plan::{End, Judgement, end, is_ours, judge, released, without_node};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use std::collections::BTreeMap;

fn config() -> Config {
    Config { kubeconfig: None, node_name: "m".into(), path: "/v".into() }
}

fn labels() -> BTreeMap<String, String> {
    [("kubernetes.io/hostname".to_owned(), "host-m".to_owned())].into()
}

const ASKED: &str = r#""volume.kubernetes.io/storage-provisioner":"gantry.io/local-volumes""#;
const HERE: &str = r#""volume.kubernetes.io/selected-node":"m""#;

fn claim(annotations: &str, spec: &str) -> PersistentVolumeClaim {
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"namespace":"n","name":"c","uid":"u","resourceVersion":"7","annotations":{{{annotations}}}}},
            "spec":{{"accessModes":["ReadWriteOnce"],"storageClassName":"local","resources":{{"requests":{{"storage":"1Gi"}}}}{spec}}}}}"#
    ))
    .unwrap()
}

fn class(rest: &str) -> StorageClass {
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"local"}},"provisioner":"gantry.io/local-volumes","reclaimPolicy":"Delete"{rest}}}"#
    ))
    .unwrap()
}

#[test]
fn claims_placed_here_are_ours() {
    let check = |annotations: &str, spec: &str, want: bool| {
        assert_eq!(is_ours(&claim(annotations, spec), "m"), want, "{annotations} {spec}");
    };
    check(&format!("{ASKED},{HERE}"), "", true);
    check(&format!("{},{HERE}", ASKED.replace("volume.k", "volume.beta.k")), "", true);
    check(ASKED, "", false);
    check(HERE, "", false);
    check(&format!("{ASKED},{}", HERE.replace("\"m\"", "\"o\"")), "", false);
    check(&format!("{ASKED},{HERE}"), r#","volumeName":"v""#, false);
    assert!(!is_ours(&without_node(&claim(&format!("{ASKED},{HERE}"), "")), "m"));
}

#[test]
fn a_volume_is_a_folder_of_this_node() {
    let Judgement::Make(made) = judge(&config(), &claim("", ""), &class(""), &labels()) else { panic!() };
    let want: PersistentVolume = serde_json::from_str(
        r#"{"metadata":{"name":"pvc-u","annotations":{"pv.kubernetes.io/provisioned-by":"gantry.io/local-volumes"},
                "finalizers":["external-provisioner.volume.kubernetes.io/finalizer"]},
            "spec":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"volumeMode":"Filesystem",
                "claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","namespace":"n","name":"c","uid":"u","resourceVersion":"7"},
                "local":{"path":"/v/pvc-u"},"storageClassName":"local","persistentVolumeReclaimPolicy":"Delete",
                "nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[
                    {"key":"kubernetes.io/hostname","operator":"In","values":["host-m"]}]}]}}}}"#,
    )
    .unwrap();
    assert_eq!(*made, want);
}

#[test]
fn what_a_folder_cannot_be_is_refused() {
    let check = |spec: &str, rest: &str, why: &str| {
        let want = format!("failed to provision volume with StorageClass \"local\": {why}");
        assert_eq!(judge(&config(), &claim("", spec), &class(rest), &labels()), Judgement::Refuse(want));
    };
    check(r#","volumeMode":"Block""#, "", "block devices are not supported");
    check(r#","selector":{}"#, "", "claim.Spec.Selector is not supported");
    check(r#","dataSource":{"kind":"a","name":"b"}"#, "", "data sources are not supported");
    check("", r#","parameters":{"a":"b"}"#, "parameters are not supported");
    let mut many = claim("", "");
    many.spec.as_mut().unwrap().access_modes = Some(vec!["ReadWriteMany".into()]);
    let Judgement::Refuse(why) = judge(&config(), &many, &class(""), &labels()) else { panic!() };
    assert!(why.ends_with("access mode ReadWriteMany is not supported: a folder is on one node"), "{why}");
    let zone = |z: &str| {
        format!(
            r#","allowedTopologies":[{{"matchLabelExpressions":[{{"key":"kubernetes.io/hostname","values":["{z}"]}}]}}]"#
        )
    };
    assert_eq!(
        judge(&config(), &claim("", ""), &class(&zone("x")), &labels()),
        Judgement::ElsewhereThan("m".into())
    );
    assert!(matches!(
        judge(&config(), &claim("", ""), &class(&zone("host-m")), &labels()),
        Judgement::Make(_)
    ));
}

/// `policy phase [going] [held] [foreign] [elsewhere] [outside]`
fn volume(line: &str) -> PersistentVolume {
    let words: Vec<&str> = line.split(' ').collect();
    let has = |w: &str| words.contains(&w);
    let Judgement::Make(mut v) = judge(&config(), &claim("", ""), &class(""), &labels()) else { panic!() };
    let spec = v.spec.as_mut().unwrap();
    spec.persistent_volume_reclaim_policy = Some(words[0].into());
    if has("elsewhere") {
        spec.node_affinity = None;
    }
    if has("outside") {
        spec.local.as_mut().unwrap().path = "/v/../etc".into();
    }
    if has("foreign") {
        v.metadata.annotations = None;
    }
    if !has("held") {
        v.metadata.finalizers = None;
    }
    if has("going") {
        v.metadata.deletion_timestamp = serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
    }
    v.status = serde_json::from_str(&format!(r#"{{"phase":"{}"}}"#, words[1])).unwrap();
    *v
}

#[test]
fn released_volumes_go_with_their_folders() {
    let remove = || End::Remove { folder: "pvc-u".into() };
    let check = |line: &str, want: End| assert_eq!(end(&config(), &labels(), &volume(line)), want, "{line}");
    check("Delete Bound held", End::None);
    check("Delete Pending held", End::None);
    check("Delete Released held", remove());
    check("Delete Failed held", remove());
    check("Delete Released held going", remove());
    check("Delete Released going", End::None);
    check("Delete Bound held going", End::None);
    check("Delete Available held going", remove());
    check("Delete Released held foreign", End::None);
    check("Delete Released held elsewhere", End::None);
    check("Delete Released held outside", End::None);
    check("Retain Released held", End::None);
    check("Retain Released held going", End::LetGo);
    assert_eq!(released(&volume("Delete Released held")).unwrap().metadata.finalizers, Some(vec![]));
    assert_eq!(released(&volume("Delete Released")), None);
}

#[test]
fn folders_come_and_go_and_stay_below_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("volumes");
    folder::make(&root, "pvc-a").unwrap();
    folder::make(&root, "pvc-a").unwrap();
    std::fs::write(root.join("pvc-a/f"), "x").unwrap();
    std::fs::write(dir.path().join("kept"), "x").unwrap();
    std::os::unix::fs::symlink(dir.path(), root.join("pvc-a/up")).unwrap();
    folder::remove(&root, "pvc-a").unwrap();
    folder::remove(&root, "pvc-a").unwrap();
    assert!(!root.join("pvc-a").exists() && dir.path().join("kept").exists());
    for bad in ["", ".", "..", "a/b", "/etc"] {
        assert!(folder::make(&root, bad).is_err() && folder::remove(&root, bad).is_err(), "{bad}");
    }
    std::os::unix::fs::symlink(dir.path(), root.join("pvc-l")).unwrap();
    assert!(folder::make(&root, "pvc-l").is_err());
}
