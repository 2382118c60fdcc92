//! What changed of the configuration a workload uses, and what follows.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodSpec;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Asks for it, on a Deployment, StatefulSet or DaemonSet.
pub const OPT_IN: &str = "gantry.io/roll-on-change";
/// On the workload: what its pods were last rolled out with.
pub(in crate::workloads) const SEEN: &str = "gantry.io/configuration-seen";
/// On the pod template: what it was rolled out for.
pub(super) const ROLLED: &str = "gantry.io/configuration";

/// A change is left to settle this long: several often come together.
const SETTLE: SignedDuration = SignedDuration::from_secs(3);
/// A configuration that never settles is rolled out this often.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// `ConfigMap/name` or `Secret/name`, with the digest of its content; empty where there is no such object.
pub(super) type Record = BTreeMap<String, String>;

/// A digest of content, short enough for an annotation.
pub(super) fn digest(content: &impl Serialize) -> String {
    // Maps of strings and bytes always serialize.
    let sum = Sha256::digest(serde_json::to_vec(content).unwrap_or_default());
    sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// What the pods of this spec see now.
pub(super) fn record(
    spec: &PodSpec,
    config_map: impl Fn(&str) -> Option<String>,
    secret: impl Fn(&str) -> Option<String>,
) -> Record {
    let references = crate::references::of(spec);
    let maps = references.config_maps.iter().map(|n| (format!("ConfigMap/{n}"), config_map(n)));
    let secrets = references.secrets.iter().map(|n| (format!("Secret/{n}"), secret(n)));
    maps.chain(secrets).map(|(name, found)| (name, found.unwrap_or_default())).collect()
}

/// A change that has not settled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pending {
    digest: String,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    Nothing,
    /// Not asked for any more: the record goes.
    Forget,
    /// Nothing that pods have seen changed.
    Record(Record),
    /// Until then it may change again.
    Wait(SignedDuration),
    Roll {
        record: Record,
        digest: String,
        /// What changed, for people.
        changed: Vec<String>,
    },
}

/// `seen`: the workload's [`SEEN`], as it stands.
///
/// Where there is none, the configuration of now is what the pods are taken to have. What the template newly refers
/// to comes with a roll-out of its own, and what is gone is left alone: new pods could not start without it.
pub(super) fn plan(
    asked: bool,
    seen: Option<&str>,
    current: Record,
    pending: &mut Option<Pending>,
    now: Timestamp,
) -> Plan {
    if !asked {
        *pending = None;
        return if seen.is_some() { Plan::Forget } else { Plan::Nothing };
    }
    let Some(seen) = seen.and_then(|text| serde_json::from_str::<Record>(text).ok()) else {
        return Plan::Record(current);
    };
    let (mut record, mut changed) = (Record::new(), Vec::new());
    for (name, found) in current {
        let kept = match seen.get(&name) {
            Some(had) if *had != found && found.is_empty() => had.clone(),
            Some(had) if *had != found => {
                changed.push(name.clone());
                found
            }
            _ => found,
        };
        record.insert(name, kept);
    }
    if changed.is_empty() {
        *pending = None;
        return if record == seen { Plan::Nothing } else { Plan::Record(record) };
    }
    let digest = digest(&record);
    let first = pending.as_ref().map_or(now, |p| p.first);
    let last = pending.as_ref().filter(|p| p.digest == digest).map_or(now, |p| p.last);
    let left = (SETTLE - now.duration_since(last)).min(PATIENCE - now.duration_since(first));
    if left.is_positive() {
        *pending = Some(Pending { digest, first, last });
        return Plan::Wait(left);
    }
    *pending = None;
    Plan::Roll { record, digest, changed }
}
