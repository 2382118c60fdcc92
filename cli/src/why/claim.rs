//! Why a claim stays pending, or does not go.

use super::finding::{Finding, Verdict, names};
use super::read::{Found, newest, told};
use gantry_machinery::selector::{NodeSelector, Selector};
use gantry_types::field::Path;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

pub struct Seen<'a> {
    pub claim: &'a PersistentVolumeClaim,
    pub events: &'a [Event],
    /// All there are; `None` where they may not be read.
    pub classes: Option<&'a [StorageClass]>,
    pub volumes: Option<&'a [PersistentVolume]>,
    pub nodes: Option<&'a [Node]>,
    pub drivers: Option<&'a [CSIDriver]>,
    /// The volume it names.
    pub volume: Option<&'a Found<PersistentVolume>>,
    /// Pods of its namespace that use it.
    pub users: &'a [&'a Pod],
}

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

/// Whether a pod uses a claim.
pub fn uses(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    let pod_name = text(&pod.metadata.name);
    volumes.iter().any(|v| {
        v.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name == claim)
            || v.ephemeral.is_some() && format!("{pod_name}-{}", v.name) == claim
    })
}

impl Seen<'_> {
    /// The class asked for: `None` where none is named.
    fn class_name(&self) -> Option<&str> {
        let beta = self.claim.metadata.annotations.as_ref().and_then(|a| a.get(BETA_CLASS));
        beta.map(String::as_str).or_else(|| self.claim.spec.as_ref()?.storage_class_name.as_deref())
    }

    fn user_names(&self) -> String {
        names(self.users.iter().map(|p| text(&p.metadata.name)))
    }
}

pub fn explain(seen: &Seen<'_>) -> Verdict {
    let status = seen.claim.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    if seen.claim.metadata.deletion_timestamp.is_some() {
        return Verdict::new("Terminating", vec![terminating(seen)]);
    }
    match phase {
        "Bound" => return Verdict::new("Bound", reach(seen).into_iter().collect()),
        "Lost" => {
            let volume = text(&seen.claim.spec.as_ref().and_then(|s| s.volume_name.clone())).to_owned();
            let finding = Finding::new(format!("its volume {volume} is gone"))
                .change(format!("make the volume {volume} anew with the same storage and a claimRef to this claim, or make the claim anew"));
            return Verdict::new("Lost", vec![finding]);
        }
        _ => {}
    }
    Verdict::new(phase, vec![pending(seen)])
}

fn terminating(seen: &Seen<'_>) -> Finding {
    let finalizers = seen.claim.metadata.finalizers.clone().unwrap_or_default();
    let out = Finding::new("it is being deleted").seen(format!("finalizers: {}", names(&finalizers)));
    if seen.users.is_empty() {
        return out.change("the controllers behind the finalizers must take them away: see whether they run");
    }
    Finding::new("pods still use it, and it goes when they have gone")
        .seen(format!("pods {}", seen.user_names()))
        .change("delete these pods, or scale their owner down")
}

/// A bound volume no node reaches.
fn reach(seen: &Seen<'_>) -> Option<Finding> {
    let volume = seen.volume?.there()?;
    let nodes = seen.nodes.filter(|n| !n.is_empty())?;
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let selector = NodeSelector::new(required, &Path::root());
    let fits = |n: &Node| selector.matches(text(&n.metadata.name), &n.metadata.labels);
    if nodes.iter().any(fits) {
        return None;
    }
    Some(
        Finding::new(format!("no node reaches its volume {}", text(&volume.metadata.name)))
            .seen(format!("none of {} nodes matches the volume's nodeAffinity", nodes.len()))
            .change("bring the node it is on back, or restore the data into a volume elsewhere"),
    )
}

fn named_volume(seen: &Seen<'_>, name: &str) -> Finding {
    let out = Finding::new(format!("it asks for the volume {name} by name"));
    match seen.volume {
        Some(Found::Gone) => out
            .seen("there is no such volume")
            .change(format!("make the volume {name}, or drop spec.volumeName")),
        Some(Found::There(volume)) => match obstacle(seen, volume, true) {
            Some(why) => out.seen(why).change("mend the volume, or make the claim anew to fit it"),
            None => {
                out.change("wait; where it lasts, the controller manager (persistentvolume-binder) must run")
            }
        },
        _ => out.change("see whether the volume is there and free"),
    }
}

fn pending(seen: &Seen<'_>) -> Finding {
    let wanted = seen.claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default();
    if !wanted.is_empty() {
        return named_volume(seen, wanted);
    }
    let class = match seen.class_name() {
        Some("") => {
            return unmatched(
                seen,
                "it asks for no class (\"\"), so only a volume made by hand will do",
                None,
            );
        }
        None => return unclassed(seen),
        Some(name) => name,
    };
    let Some(classes) = seen.classes else {
        return Finding::new(format!("it waits for a volume of the class {class}"))
            .seen(event(seen))
            .change("mend what the event names");
    };
    let Some(class) = classes.iter().find(|c| text(&c.metadata.name) == class) else {
        let known = names(classes.iter().map(|c| text(&c.metadata.name)));
        let known = if known.is_empty() { "none".to_owned() } else { known };
        let remedy = format!("make the StorageClass {class}, or make the claim anew with another");
        return unmatched(seen, &format!("its class {class} does not exist"), Some(remedy))
            .seen(format!("classes there are: {known}"));
    };
    let late = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    let chosen = seen.claim.metadata.annotations.as_ref().and_then(|a| a.get(SELECTED_NODE));
    if late && chosen.is_none() {
        return first_consumer(seen, class);
    }
    if class.provisioner == NO_PROVISIONER {
        let cause = format!(
            "the class {} makes no volumes, and no volume there is will do",
            text(&class.metadata.name)
        );
        return unmatched(seen, &cause, None);
    }
    provisioning(seen, class, chosen.map(String::as_str))
}

fn event(seen: &Seen<'_>) -> String {
    let failed = newest(seen.events, &["ProvisioningFailed", "FailedBinding", "VolumeMismatch"], "");
    let any = || {
        newest(
            seen.events,
            &["ExternalProvisioning", "WaitForPodScheduled", "WaitForFirstConsumer", "Provisioning"],
            "",
        )
    };
    failed.or_else(any).map(told).unwrap_or_default()
}

fn unclassed(seen: &Seen<'_>) -> Finding {
    let is_default = |c: &&StorageClass| {
        let notes = c.metadata.annotations.as_ref();
        DEFAULT.iter().any(|k| notes.and_then(|a| a.get(*k)).is_some_and(|v| v == "true"))
    };
    let default = seen.classes.and_then(|all| all.iter().find(is_default));
    match default {
        Some(class) => Finding::new("it names no class, and has not been given the default one yet")
            .seen(format!("the default class is {}", text(&class.metadata.name)))
            .change("wait; where it lasts, the controller manager (persistentvolume-binder) must run"),
        None => {
            let remedy =
                format!("mark a StorageClass as the default ({}: \"true\"), or name one", DEFAULT[0]);
            let cause = "it names no class, no class is the default, and no volume there is will do";
            unmatched(seen, cause, Some(remedy))
        }
    }
}

fn first_consumer(seen: &Seen<'_>, class: &StorageClass) -> Finding {
    let class = text(&class.metadata.name);
    let out = Finding::new("it waits for a pod that uses it to be scheduled")
        .seen(format!("the class {class} has volumeBindingMode WaitForFirstConsumer"));
    match seen.users {
        [] => out.seen("no pod uses it").change("start a pod that uses it; nothing is wrong until then"),
        [first, ..] => out
            .seen(format!("pods {}", seen.user_names()))
            .change(format!("the pod must find a node: kctl why pod {}", text(&first.metadata.name))),
    }
}

fn provisioning(seen: &Seen<'_>, class: &StorageClass, node: Option<&str>) -> Finding {
    let provisioner = &class.provisioner;
    let mut out = match newest(seen.events, &["ProvisioningFailed"], "") {
        Some(event) => Finding::new(format!("{provisioner} cannot make its volume"))
            .seen(told(event))
            .change("mend what the event names (class parameters, capacity, the driver)"),
        None => Finding::new(format!("{provisioner} has not made its volume yet"))
            .seen(event(seen))
            .change(format!("wait; where it lasts, the controller of {provisioner} must run")),
    };
    if let Some(node) = node {
        out = out.seen(format!("it is to be made for node {node}"));
    }
    let known = |d: &CSIDriver| text(&d.metadata.name) == provisioner;
    if !provisioner.starts_with("kubernetes.io/") && seen.drivers.is_some_and(|all| !all.iter().any(known)) {
        out = out.seen(format!(
            "no CSIDriver of the name {provisioner} is installed (a provisioner need not have one)"
        ));
    }
    out
}

fn size(
    list: Option<
        &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >,
) -> Option<Quantity> {
    Quantity::try_from(list?.get("storage")?).ok()
}

/// Why a volume will not do for the claim.
fn obstacle(seen: &Seen<'_>, volume: &PersistentVolume, by_name: bool) -> Option<String> {
    let claim = seen.claim.spec.clone().unwrap_or_default();
    let has = volume.spec.clone().unwrap_or_default();
    if let Some(to) = &has.claim_ref {
        let meta = &seen.claim.metadata;
        let ours = to.name == meta.name
            && to.namespace == meta.namespace
            && (to.uid.is_none() || to.uid == meta.uid);
        if !ours {
            return Some(format!("it is taken by the claim {}/{}", text(&to.namespace), text(&to.name)));
        }
    }
    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Available");
    if !matches!(phase, "Available" | "Bound" | "Pending") {
        return Some(format!("it is {phase}"));
    }
    let wanted = size(claim.resources.as_ref().and_then(|r| r.requests.as_ref()));
    let holds = size(has.capacity.as_ref());
    if let (Some(wanted), Some(holds)) = (&wanted, &holds)
        && holds < wanted
    {
        return Some(format!("it holds {holds}, less than {wanted}"));
    }
    let modes = has.access_modes.unwrap_or_default();
    let lacks: Vec<&String> = claim.access_modes.iter().flatten().filter(|m| !modes.contains(m)).collect();
    if !lacks.is_empty() {
        return Some(format!("it is not {} but {}", names(&lacks), names(&modes)));
    }
    let mode = |m: &Option<String>| m.clone().unwrap_or_else(|| "Filesystem".into());
    if mode(&claim.volume_mode) != mode(&has.volume_mode) {
        return Some(format!(
            "its volumeMode is {}, not {}",
            mode(&has.volume_mode),
            mode(&claim.volume_mode)
        ));
    }
    let class = seen.class_name().unwrap_or_default();
    if text(&has.storage_class_name) != class {
        return Some(format!("its class is {:?}, not {class:?}", text(&has.storage_class_name)));
    }
    if !by_name && let Some(selector) = &claim.selector {
        let selector = Selector::from_struct(Some(selector)).unwrap_or_else(|_| Selector::nothing());
        if !selector.matches(&volume.metadata.labels) {
            return Some(format!("its labels do not match the selector {selector}"));
        }
    }
    None
}

/// Nothing makes a volume: why those there are will not do.
fn unmatched(seen: &Seen<'_>, cause: &str, first: Option<String>) -> Finding {
    let mut out = Finding::new(cause).seen(event(seen));
    out.change.extend(first);
    let volumes = seen.volumes.unwrap_or_default();
    let mut fits = false;
    for volume in volumes.iter().take(8) {
        let name = text(&volume.metadata.name);
        match obstacle(seen, volume, false) {
            Some(why) => out = out.seen(format!("volume {name}: {why}")),
            None => {
                fits = true;
                out = out.seen(format!("volume {name} would do"));
            }
        }
    }
    if volumes.len() > 8 {
        out = out.seen(format!("and {} volumes more", volumes.len() - 8));
    } else if volumes.is_empty() && seen.volumes.is_some() {
        out = out.seen("there are no volumes");
    }
    if fits {
        out.change.clear();
        return out.change("wait; where it lasts, the controller manager (persistentvolume-binder) must run");
    }
    out.change("make a PersistentVolume that fits (class, size, access modes, labels)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Case {
        claim: Value,
        classes: Value,
        volumes: Value,
        pods: Value,
        event: (&'static str, &'static str),
    }

    impl Default for Case {
        fn default() -> Self {
            Self {
                claim: json!({}),
                classes: json!([]),
                volumes: json!([]),
                pods: json!([]),
                event: ("", ""),
            }
        }
    }

    fn claim(spec: Value, phase: &str) -> Value {
        let mut out = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}, "status": {"phase": phase}});
        for (k, v) in spec.as_object().unwrap() {
            out["spec"][k] = v.clone();
        }
        out
    }

    fn class(provisioner: &str, mode: &str) -> Value {
        json!([{"metadata": {"name": "fast"}, "provisioner": provisioner, "volumeBindingMode": mode}])
    }

    fn check(case: Case, state: &str, cause: &str, telling: &str) {
        let claim: PersistentVolumeClaim = serde_json::from_value(case.claim).unwrap();
        let classes: Vec<StorageClass> = serde_json::from_value(case.classes).unwrap();
        let volumes: Vec<PersistentVolume> = serde_json::from_value(case.volumes).unwrap();
        let pods: Vec<Pod> = serde_json::from_value(case.pods).unwrap();
        let users: Vec<&Pod> = pods.iter().filter(|p| uses(p, "c")).collect();
        let events: Vec<Event> = serde_json::from_value(
            json!([{"metadata": {}, "involvedObject": {}, "reason": case.event.0, "message": case.event.1}]),
        )
        .unwrap();
        let missing = Found::Gone;
        let got = explain(&Seen {
            claim: &claim,
            events: &events,
            classes: Some(&classes),
            volumes: Some(&volumes),
            nodes: None,
            drivers: Some(&[]),
            volume: Some(&missing),
            users: &users,
        });
        let found = got.findings.first().cloned().unwrap_or_default();
        assert_eq!((got.state.as_str(), found.cause.as_str()), (state, cause));
        let all = [found.evidence, found.change].concat().join("; ");
        assert!(all.contains(telling), "{cause}: {all}");
    }

    #[test]
    fn claims_that_stay_pending() {
        let of = |spec: Value| Case { claim: claim(spec, "Pending"), ..Case::default() };
        let fast = || json!({"storageClassName": "fast"});
        check(Case { claim: claim(json!({}), "Bound"), ..Case::default() }, "Bound", "", "");
        check(
            of(json!({})),
            "Pending",
            "it names no class, no class is the default, and no volume there is will do",
            "mark a StorageClass as the default",
        );
        check(of(fast()), "Pending", "its class fast does not exist", "make the StorageClass fast");
        check(
            Case { classes: class("x.y", "WaitForFirstConsumer"), ..of(fast()) },
            "Pending",
            "it waits for a pod that uses it to be scheduled",
            "no pod uses it",
        );
        let pod = json!([{"metadata": {"name": "p"}, "spec": {"containers": [],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}}]);
        check(
            Case { classes: class("x.y", "WaitForFirstConsumer"), pods: pod, ..of(fast()) },
            "Pending",
            "it waits for a pod that uses it to be scheduled",
            "kctl why pod p",
        );
        check(
            Case {
                classes: class("x.y", "Immediate"),
                event: ("ProvisioningFailed", "no space"),
                ..of(fast())
            },
            "Pending",
            "x.y cannot make its volume",
            "no space",
        );
        check(
            Case { classes: class("x.y", "Immediate"), ..of(fast()) },
            "Pending",
            "x.y has not made its volume yet",
            "no CSIDriver",
        );
        check(
            of(json!({"volumeName": "v"})),
            "Pending",
            "it asks for the volume v by name",
            "no such volume",
        );
        check(
            Case { claim: claim(json!({"volumeName": "v"}), "Lost"), ..Case::default() },
            "Lost",
            "its volume v is gone",
            "anew",
        );
    }

    #[test]
    fn volumes_that_will_not_do() {
        let volume = |more: Value| {
            let mut out = json!({"metadata": {"name": "v", "labels": {"a": "b"}}, "spec": {"capacity": {"storage": "5Gi"},
                "accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}, "status": {"phase": "Available"}});
            for (k, v) in more.as_object().unwrap() {
                out["spec"][k] = v.clone();
            }
            json!([out])
        };
        let cause = "the class fast makes no volumes, and no volume there is will do";
        let try_it = |more: Value, spec: Value, telling: &str| {
            let mut asked = claim(spec, "Pending");
            asked["spec"]["storageClassName"] = "fast".into();
            let case = Case {
                claim: asked,
                classes: class(NO_PROVISIONER, "Immediate"),
                volumes: volume(more),
                ..Case::default()
            };
            check(case, "Pending", cause, telling);
        };
        try_it(json!({"capacity": {"storage": "1Gi"}}), json!({}), "volume v: it holds 1Gi, less than 2Gi");
        try_it(
            json!({"accessModes": ["ReadOnlyMany"]}),
            json!({}),
            "it is not ReadWriteOnce but ReadOnlyMany",
        );
        try_it(json!({"volumeMode": "Block"}), json!({}), "its volumeMode is Block, not Filesystem");
        try_it(json!({"storageClassName": "slow"}), json!({}), "its class is \"slow\", not \"fast\"");
        try_it(
            json!({"claimRef": {"name": "x", "namespace": "y"}}),
            json!({}),
            "it is taken by the claim y/x",
        );
        try_it(
            json!({}),
            json!({"selector": {"matchLabels": {"a": "c"}}}),
            "its labels do not match the selector a=c",
        );
        try_it(json!({}), json!({}), "volume v would do");
    }
}
