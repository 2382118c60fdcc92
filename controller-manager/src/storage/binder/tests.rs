use super::matching::find;
use super::plan::{ClaimView, Plan, Write, claim, volume};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use std::sync::Arc;

const BOUND: &str = "pv.kubernetes.io/bound-by-controller";
const SETTLED: &str = "pv.kubernetes.io/bind-completed";

/// The words of a line: `key=value` each.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
}

/// The annotations a line's `notes` stand for: `b` bound by the controller, `c` bind completed, `p` made by an
/// outside provisioner, `n` a node selected.
fn notes(line: &str) -> serde_json::Value {
    let mut out = serde_json::Map::new();
    for note in word(line, "notes").unwrap_or_default().chars() {
        let (key, value) = match note {
            'b' => (BOUND, "yes"),
            'c' => (SETTLED, "yes"),
            'p' => ("pv.kubernetes.io/provisioned-by", "gantry.io/x"),
            'i' => ("pv.kubernetes.io/provisioned-by", "kubernetes.io/x"),
            _ => ("volume.kubernetes.io/selected-node", "m"),
        };
        out.insert(key.to_owned(), value.into());
    }
    out.into()
}

fn split(modes: Option<&str>) -> Vec<&str> {
    modes.unwrap_or("RWO").split(',').collect()
}

/// `name [size=] [class=] [modes=] [phase=] [claim=<name>[/<uid>]] [mode=] [policy=] [label=] [notes=]`
fn pv(line: &str) -> PersistentVolume {
    let name = line.split_whitespace().next().unwrap();
    let held = word(line, "claim").map(|c| {
        let (name, uid) = c.split_once('/').map_or((c, None), |(n, u)| (n, Some(u)));
        serde_json::json!({"namespace": "n", "name": name, "uid": uid})
    });
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": name, "annotations": notes(line), "labels": {"l": word(line, "label").unwrap_or("-")}},
        "spec": {
            "capacity": {"storage": word(line, "size").unwrap_or("1Gi")},
            "storageClassName": word(line, "class"),
            "accessModes": split(word(line, "modes")),
            "volumeMode": word(line, "mode").unwrap_or("Filesystem"),
            "persistentVolumeReclaimPolicy": word(line, "policy").unwrap_or("Retain"),
            "claimRef": held,
        },
        "status": {"phase": word(line, "phase").unwrap_or("Available")},
    }))
    .unwrap()
}

/// `name [size=] [class=] [modes=] [phase=] [volume=] [mode=] [label=] [notes=]`; its uid is `u`.
fn pvc(line: &str) -> PersistentVolumeClaim {
    let name = line.split_whitespace().next().unwrap();
    let selector = word(line, "label").map(|l| serde_json::json!({"matchLabels": {"l": l}}));
    serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "n", "name": name, "uid": "u", "annotations": notes(line)},
        "spec": {
            "resources": {"requests": {"storage": word(line, "size").unwrap_or("1Gi")}},
            "storageClassName": word(line, "class").map(|c| if c == "''" { "" } else { c }),
            "accessModes": split(word(line, "modes")),
            "volumeMode": word(line, "mode").unwrap_or("Filesystem"),
            "volumeName": word(line, "volume"),
            "selector": selector,
        },
        "status": {"phase": word(line, "phase").unwrap_or("Pending")},
    }))
    .unwrap()
}

fn class(line: &str) -> StorageClass {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": line.split_whitespace().next()},
        "provisioner": word(line, "by").unwrap_or("gantry.io/x"),
        "volumeBindingMode": word(line, "binding").unwrap_or("Immediate"),
    }))
    .unwrap()
}

fn holder(v: &PersistentVolume) -> String {
    let r = v.spec.as_ref().unwrap().claim_ref.as_ref();
    let uid = |r: &k8s_openapi::api::core::v1::ObjectReference| r.uid.clone().unwrap_or("-".into());
    r.map_or("nobody".into(), |r| format!("{}/{}", r.name.clone().unwrap(), uid(r)))
}

fn marks(annotations: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let has = |key: &str| annotations.is_some_and(|a| a.contains_key(key));
    let all = [
        (BOUND, 'b'),
        (SETTLED, 'c'),
        ("volume.kubernetes.io/storage-provisioner", 's'),
        ("volume.beta.kubernetes.io/storage-provisioner", 't'),
    ];
    all.iter().filter(|(key, _)| has(key)).map(|(_, c)| *c).collect()
}

/// A plan in a line.
fn show(plan: &Plan) -> String {
    let write = match &plan.write {
        None => "-".to_owned(),
        Some(Write::Volume(v)) => format!("volume {} {}", holder(v), marks(v.metadata.annotations.as_ref())),
        Some(Write::VolumeStatus(v)) => {
            format!("phase {}", v.status.as_ref().unwrap().phase.as_ref().unwrap())
        }
        Some(Write::Claim(c)) => {
            let s = c.spec.as_ref().unwrap();
            let text = |t: &Option<String>| t.clone().unwrap_or("-".into());
            let marks = marks(c.metadata.annotations.as_ref());
            format!("claim {} {} {marks}", text(&s.volume_name), text(&s.storage_class_name))
        }
        Some(Write::ClaimStatus(c)) => {
            let s = c.status.as_ref().unwrap();
            let size = s.capacity.as_ref().map_or("-", |c| c["storage"].0.as_str());
            format!("status {} {size}", s.phase.as_ref().unwrap())
        }
    };
    let told: Vec<String> = plan.tell.iter().map(|t| format!("{}: {}", t.reason, t.message)).collect();
    let next = if plan.claim_next { " next" } else { "" };
    format!("{} | {}{next}", write.trim(), told.join("; ")).trim_end_matches(" | ").trim().to_owned()
}

struct World<'a> {
    volumes: &'a [&'a str],
    class: Option<&'a str>,
    default: Option<&'a str>,
    waiting: &'a [&'a str],
}

const EMPTY: World<'_> = World { volumes: &[], class: None, default: None, waiting: &[] };

fn check(line: &str, world: World<'_>, want: &str) {
    let claimed = pvc(line);
    let volumes: Vec<_> = world.volumes.iter().map(|v| Arc::new(pv(v))).collect();
    let named = claimed.spec.as_ref().unwrap().volume_name.clone();
    let named = volumes.iter().find(|v| v.metadata.name == named);
    let class = world.class.map(class);
    let waiting: Vec<String> = world.waiting.iter().map(|w| (*w).to_owned()).collect();
    let plan = claim(&ClaimView {
        claim: &claimed,
        candidates: &volumes,
        named: named.map(|v| &**v),
        class: class.as_ref(),
        default_class: world.default,
        waiting: &waiting,
        provisioning: true,
    });
    assert_eq!(show(&plan), want, "{line} {:?}", world.volumes);
}

#[test]
fn the_smallest_fitting_volume_is_found() {
    let check = |line: &str, volumes: &[&str], delayed: bool, want: Option<&str>| {
        let volumes: Vec<_> = volumes.iter().map(|v| Arc::new(pv(v))).collect();
        let found = find(&pvc(line), &volumes, delayed).and_then(|v| v.metadata.name.clone());
        assert_eq!(found.as_deref(), want, "{line}");
    };
    check("c size=2Gi", &["a size=1Gi", "b size=5Gi", "c size=3Gi"], false, Some("c"));
    check("c", &["a modes=RWO,ROX", "b size=9Gi"], false, Some("b"));
    check("c modes=RWX", &["a", "b modes=RWO,RWX"], false, Some("b"));
    check("c", &["a mode=Block", "b class=x", "d phase=Pending", "e claim=other"], false, None);
    check("c label=x", &["a label=y", "b label=x size=3Gi"], false, Some("b"));
    check("c class=x", &["a", "b class=x"], false, Some("b"));
    check("c", &["a size=1Gi", "b size=9Gi claim=c"], false, Some("b"));
    check("c", &["a size=1Gi", "b size=9Gi claim=c/other"], false, Some("a"));
    check("c", &["a"], true, None);
    check("c", &["a", "b claim=c phase=Pending class=y"], true, Some("b"));
}

#[test]
fn binding_goes_step_by_step() {
    let w = |volume| World { volumes: volume, ..EMPTY };
    check("c", w(&["a"]), "volume c/u b");
    check("c", w(&["a claim=c/u notes=b"]), "phase Bound");
    check("c", w(&["a claim=c/u notes=b phase=Bound"]), "claim a - bc");
    check("c volume=a notes=bc", w(&["a claim=c/u phase=Bound size=3Gi"]), "status Bound 3Gi");
    // Reserved by a user, either way.
    check("c", w(&["a claim=c"]), "volume c/u");
    check("c volume=a", w(&["a"]), "volume c/u b");
    check("c volume=a", w(&["a claim=c/u phase=Bound"]), "claim a - c");
}

#[test]
fn open_claims_say_what_they_wait_for() {
    let why = "FailedBinding: no persistent volumes available for this claim and no storage class is set";
    check("c", EMPTY, &format!("- | {why}"));
    check("c class=''", World { default: Some("d"), ..EMPTY }, &format!("- | {why}"));
    check("c phase=Lost", EMPTY, "status Pending -");
    check("c", World { default: Some("d"), ..EMPTY }, "claim - d");
    check("c class=x", EMPTY, "- | ProvisioningFailed: storageclass.storage.k8s.io \"x\" not found");
    check("c class=x", World { class: Some("x"), ..EMPTY }, "claim - x st");
    check(
        "c class=x",
        World { class: Some("x by=kubernetes.io/no-provisioner"), ..EMPTY },
        "- | ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner",
    );
    let delayed = World { class: Some("x binding=WaitForFirstConsumer"), ..EMPTY };
    check(
        "c class=x",
        World { ..delayed },
        "- | WaitForFirstConsumer: waiting for first consumer to be created before binding",
    );
    check(
        "c class=x",
        World { waiting: &["p"], ..delayed },
        "- | WaitForPodScheduled: waiting for pod p to be scheduled",
    );
    check(
        "c class=x",
        World { waiting: &["p", "q"], ..delayed },
        "- | WaitForPodScheduled: waiting for pods p,q to be scheduled",
    );
    check("c class=x notes=n", World { ..delayed }, "claim - x st");
}

#[test]
fn a_marked_claim_waits_for_its_provisioner() {
    let class = class("x");
    let mut waiting = pvc("c class=x");
    let annotations = waiting.metadata.annotations.get_or_insert_default();
    annotations.insert("volume.kubernetes.io/storage-provisioner".into(), "gantry.io/x".into());
    let view = ClaimView {
        claim: &waiting,
        candidates: &[],
        named: None,
        class: Some(&class),
        default_class: None,
        waiting: &[],
        provisioning: true,
    };
    assert_eq!(
        show(&claim(&view)),
        "- | ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'gantry.io/x' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    assert_eq!(show(&claim(&ClaimView { provisioning: false, ..view })), "-");
}

#[test]
fn claims_that_ask_for_a_volume_get_it_or_a_reason() {
    let w = |volume| World { volumes: volume, ..EMPTY };
    check("c volume=a", EMPTY, "-");
    check("c volume=a phase=Bound", EMPTY, "status Pending -");
    let no = "- | VolumeMismatch: Cannot bind to requested volume \"a\":";
    check("c volume=a size=2Gi", w(&["a"]), &format!("{no} requested PV is too small"));
    check("c volume=a", w(&["a class=x"]), &format!("{no} storageClassName does not match"));
    check("c volume=a", w(&["a mode=Block"]), &format!("{no} incompatible volumeMode"));
    check("c volume=a modes=RWX", w(&["a"]), &format!("{no} incompatible accessMode"));
    check(
        "c volume=a",
        w(&["a claim=d/v"]),
        "- | FailedBinding: volume \"a\" already bound to a different claim.",
    );
}

#[test]
fn settled_claims_are_kept_or_lost() {
    let w = |volume| World { volumes: volume, ..EMPTY };
    check(
        "c notes=bc phase=Bound",
        EMPTY,
        "status Lost - | ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
    );
    check(
        "c volume=a notes=bc phase=Bound",
        EMPTY,
        "status Lost - | ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
    );
    check("c volume=a notes=bc phase=Lost", EMPTY, "-");
    check(
        "c volume=a notes=bc phase=Bound",
        w(&["a claim=c/other phase=Bound"]),
        "status Lost - | ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
    );
    check("c volume=a notes=bc phase=Bound", w(&["a phase=Available"]), "volume c/u b");
}

#[test]
fn volumes_follow_their_claims() {
    let check = |line: &str, claim: Option<&str>, want: &str| {
        let claim = claim.map(pvc);
        assert_eq!(show(&volume(&pv(line), claim.as_ref())), want, "{line} {claim:?}");
    };
    check("a phase=Pending", None, "phase Available");
    check("a", None, "-");
    check("a claim=c phase=Pending", None, "phase Available");
    check("a claim=c/u phase=Bound", Some("c"), "- |  next");
    check("a claim=c/u", Some("c volume=a"), "phase Bound");
    check("a claim=c/u phase=Bound", Some("c volume=a"), "-");
    check(
        "a claim=c/u mode=Block",
        Some("c"),
        "- | VolumeMismatch: Cannot bind PersistentVolume to requested PersistentVolumeClaim \"c\" due to incompatible volumeMode.; VolumeMismatch: Cannot bind PersistentVolume \"a\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
    );
    // Bound elsewhere: freed, kept reserved, or given up.
    check("a claim=c/u notes=b phase=Bound", Some("c volume=z"), "volume nobody");
    check("a claim=c/u phase=Bound", Some("c volume=z"), "volume c/-");
    check("a claim=c/u notes=p policy=Delete phase=Bound", Some("c volume=z"), "phase Released");
    // The claim is gone.
    check("a claim=c/u phase=Bound", None, "phase Released");
    check("a claim=c/u phase=Released", None, "-");
    check("a claim=c/u phase=Released policy=Delete notes=p", None, "-");
    check("a claim=c/u phase=Failed policy=Delete", None, "-");
    let no = "phase Failed | VolumeFailedDelete: error getting deleter volume plugin for volume \"a\": no deletable volume plugin matched";
    check("a claim=c/u phase=Released policy=Delete", None, no);
    check("a phase=Released policy=Delete notes=i", None, "volume nobody");
    check(
        "a claim=c/u phase=Released policy=Recycle",
        None,
        "phase Failed | VolumeFailedRecycle: No recycler plugin found for the volume!",
    );
    check(
        "a claim=c/u phase=Released policy=Odd",
        None,
        "phase Failed | VolumeUnknownReclaimPolicy: Volume has unrecognized PersistentVolumeReclaimPolicy",
    );
}

#[test]
fn volumes_of_old_plugins_are_marked_for_who_looks_after_them() {
    use super::heritage;
    let check = |maker: &str, policy: &str, had: &[&str], want: Option<(Option<&str>, &[&str])>| {
        let mut v = pv(&format!("a policy={policy}"));
        let annotations = v.metadata.annotations.get_or_insert_default();
        annotations.insert(heritage::PROVISIONED_BY.into(), maker.into());
        v.metadata.finalizers = Some(had.iter().map(|f| (*f).to_owned()).collect());
        let got = heritage::volume(&v).map(|v| {
            let to = v.metadata.annotations.and_then(|a| a.get(heritage::MIGRATED_TO).cloned());
            (to, v.metadata.finalizers.unwrap_or_default())
        });
        let want = want.map(|(to, f)| (to.map(str::to_owned), f.iter().map(|f| (*f).to_owned()).collect()));
        assert_eq!(got, want, "{maker} {policy}");
    };
    let (ours, theirs) =
        ("kubernetes.io/pv-controller", "external-provisioner.volume.kubernetes.io/finalizer");
    check("gantry.io/x", "Delete", &[theirs], None);
    check("kubernetes.io/x", "Delete", &[theirs], Some((None, &[ours])));
    check("kubernetes.io/x", "Delete", &[ours], None);
    check("kubernetes.io/x", "Retain", &["f", ours], Some((None, &["f"])));
    check(
        "kubernetes.io/gce-pd",
        "Delete",
        &[ours, theirs],
        Some((Some("pd.csi.storage.gke.io"), &[theirs])),
    );

    let mut c = pvc("c");
    c.metadata
        .annotations
        .get_or_insert_default()
        .insert(heritage::PROVISIONER[1].into(), "kubernetes.io/cinder".into());
    let marked = heritage::claim(&c).unwrap();
    assert_eq!(
        marked.metadata.annotations.as_ref().unwrap()[heritage::MIGRATED_TO],
        "cinder.csi.openstack.org"
    );
    assert_eq!(heritage::claim(&marked), None);
    assert_eq!(heritage::claim(&pvc("c")), None);
}

#[test]
fn who_cannot_delete_says_so() {
    let check = |edit: fn(&mut PersistentVolume), want: &str| {
        let mut v = pv("a claim=c/u phase=Released policy=Delete");
        edit(&mut v);
        assert_eq!(show(&volume(&v, None)), want);
    };
    check(
        |v| v.spec.as_mut().unwrap().host_path = serde_json::from_str(r#"{"path":"/data"}"#).unwrap(),
        "phase Failed | VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /data",
    );
    check(
        |v| {
            v.metadata.finalizers = Some(vec!["kubernetes.io/pv-controller".into()]);
            let annotations = v.metadata.annotations.get_or_insert_default();
            annotations.insert("pv.kubernetes.io/provisioned-by".into(), "kubernetes.io/x".into());
        },
        "phase Failed | VolumeFailedDelete: no volume plugin matched name: kubernetes.io/x",
    );
    check(
        |v| {
            v.spec.as_mut().unwrap().csi =
                serde_json::from_str(r#"{"driver":"d","volumeHandle":"h"}"#).unwrap()
        },
        "-",
    );
}
