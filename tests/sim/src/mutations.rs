//! Planted bugs: each one way for a part to do wrong, put where the parts meet, so that the invariants can be
//! shown to notice.

use crate::actor::{Actor, Verb};
use crate::api::{Answered, Api, Asked};
use bytes::Bytes;
use gantry_storage::{Expect, Op, Txn, TxnOutcome};
use gantry_types::Document;
use gantry_types::scheme::Kind;
use gantry_watch_cache::WatchEvent;
use http::Method;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A controller is not told the revision of what it created, and so does not wait for its cache to show it.
    SkipBarrier,
    /// Deletions and patches name no uid: they hit whoever bears the name now.
    IgnoreUid,
    /// Updates name no revision: they undo what others wrote meanwhile.
    IgnoreRevision,
    /// The Job controller counts the pods it is counting once more.
    CountTwice,
    /// The Job controller lets ended pods go without having written them down.
    ForgetCount,
    /// The Deployment controller makes a new replica set one larger than it may.
    SurgeMore,
    /// The Deployment controller takes one pod more from a replica set than it may.
    TakeMore,
    /// Evictions are deletions.
    IgnoreBudget,
    /// The StatefulSet controller makes a set's second pod together with its first.
    OutOfOrder,
    /// The DaemonSet controller makes each pod twice.
    TwoDaemons,
    /// A pod that is bound is bound again, elsewhere.
    BindTwice,
    /// The scheduler puts every pod on one node.
    Overcommit,
    /// The garbage collector believes its deletions are done.
    LeaveOrphans,
    /// The ReplicaSet controller does not hear of deletions.
    LoseDeletions,
    /// The namespace controller finds every namespace empty.
    LeaveNamespaced,
}

impl Mutation {
    pub const ALL: &[Self] = &[
        Self::SkipBarrier,
        Self::IgnoreUid,
        Self::IgnoreRevision,
        Self::CountTwice,
        Self::ForgetCount,
        Self::SurgeMore,
        Self::TakeMore,
        Self::IgnoreBudget,
        Self::OutOfOrder,
        Self::TwoDaemons,
        Self::BindTwice,
        Self::Overcommit,
        Self::LeaveOrphans,
        Self::LoseDeletions,
        Self::LeaveNamespaced,
    ];

    /// The invariant that is to notice.
    pub fn broken(self) -> &'static str {
        match self {
            Self::SkipBarrier => "no_more_pods_than_wanted",
            Self::IgnoreUid => "only_the_object_meant",
            Self::IgnoreRevision => "no_lost_update",
            Self::CountTwice => "each_pod_counted_once",
            Self::ForgetCount => "no_pod_uncounted",
            Self::SurgeMore => "surge_within_bounds",
            Self::TakeMore => "enough_stay_available",
            Self::IgnoreBudget => "budgets_hold",
            Self::OutOfOrder => "stateful_pods_in_order",
            Self::TwoDaemons => "one_daemon_a_node",
            Self::BindTwice => "no_double_bind",
            Self::Overcommit => "no_overcommitted_node",
            Self::LeaveOrphans => "no_orphans",
            Self::LoseDeletions => "replica_sets_converge",
            Self::LeaveNamespaced => "nothing_in_a_gone_namespace",
        }
    }
}

/// What becomes of a request on its way.
pub enum Planted {
    /// These are asked instead, one after the other; the first answer counts.
    Ask(Vec<Asked>),
    Pretend(Answered),
}

fn edit(asked: &Asked, change: impl FnOnce(&mut Document)) -> Asked {
    let Ok(mut body) = Document::from_json(&asked.body) else { return asked.clone() };
    change(&mut body);
    Asked { body: body.to_json().into(), ..asked.clone() }
}

fn replicas(asked: &Asked, by: i64) -> Asked {
    edit(asked, |set| {
        let wanted: i64 = set.get_at(&["spec", "replicas"]).unwrap_or(1);
        set.set_at(&["spec", "replicas"], (wanted + by).max(0));
    })
}

fn done(body: &[u8]) -> Answered {
    Answered::Whole(200, Bytes::copy_from_slice(body))
}

impl Mutation {
    /// A request leaves its sender.
    pub fn plant(self, actor: &Actor, asked: Asked, api: &Api) -> Planted {
        let place = asked.place();
        let (who, what, verb) = (&*actor.name, place.resource.as_str(), actor.intent.verb);
        let status = place.subresource == "status";
        let changed = match self {
            Self::IgnoreUid if verb == Verb::Delete => edit(&asked, |o| _ = o.remove_at(&["preconditions"])),
            Self::IgnoreUid if verb == Verb::Patch => edit(&asked, |o| _ = o.remove_at(&["metadata", "uid"])),
            Self::IgnoreRevision if verb == Verb::Update => {
                edit(&asked, |o| _ = o.remove_at(&["metadata", "resourceVersion"]))
            }
            Self::CountTwice if who == "job-controller" && what == "jobs" && status => edit(&asked, |job| {
                let path = ["status", "uncountedTerminatedPods", "succeeded"];
                let more = job.get_at::<Vec<String>>(&path).map_or(0, |l| l.len() as i64);
                let counted: i64 = job.get_at(&["status", "succeeded"]).unwrap_or(0);
                job.set_at(&["status", "succeeded"], counted + more);
            }),
            Self::ForgetCount if who == "job-controller" && what == "jobs" && status => {
                edit(&asked, |job| _ = job.remove_at(&["status", "uncountedTerminatedPods"]))
            }
            Self::SurgeMore if who == "deployment-controller" && what == "replicasets" && !status => {
                if verb == Verb::Create { replicas(&asked, 1) } else { asked }
            }
            Self::TakeMore if who == "deployment-controller" && what == "replicasets" && !status => {
                let now = api.replicas_of(&place);
                let wanted =
                    Document::from_json(&asked.body).ok().and_then(|d| d.get_at(&["spec", "replicas"]));
                let less = matches!((now, wanted), (Some(now), Some(wanted)) if now > wanted);
                if verb == Verb::Update && less { replicas(&asked, -1) } else { asked }
            }
            Self::Overcommit if verb == Verb::Bind => {
                edit(&asked, |binding| binding.set_at(&["target", "name"], "node-0"))
            }
            Self::IgnoreBudget if verb == Verb::Evict => {
                let path = asked.path.trim_end_matches("/eviction").to_owned();
                Asked::new(Method::DELETE, path, "application/json", "")
            }
            Self::OutOfOrder if who == "statefulset-controller" && what == "pods" && verb == Verb::Create => {
                let twin = edit(&asked, |pod| {
                    let name = pod.name().to_owned();
                    if let Some(set) = name.strip_suffix("-0") {
                        let next = format!("{set}-1");
                        pod.set_meta_str("name", &next);
                        pod.set_at(&["spec", "hostname"], &next);
                        pod.set_at(&["metadata", "labels", "statefulset.kubernetes.io/pod-name"], &next);
                        pod.set_at(&["metadata", "labels", "apps.kubernetes.io/pod-index"], "1");
                    }
                });
                return Planted::Ask(if twin.body == asked.body { vec![asked] } else { vec![asked, twin] });
            }
            Self::TwoDaemons if who == "daemon-set-controller" && what == "pods" && verb == Verb::Create => {
                return Planted::Ask(vec![asked.clone(), asked]);
            }
            Self::LeaveOrphans if who == "generic-garbage-collector" && verb == Verb::Delete => {
                return Planted::Pretend(done(b"{}"));
            }
            Self::LeaveNamespaced
                if who == "namespace-controller"
                    && asked.method == Method::GET
                    && place.name.is_empty()
                    && !place.namespace.is_empty() =>
            {
                return Planted::Pretend(done(br#"{"metadata":{},"items":[]}"#));
            }
            _ => asked,
        };
        Planted::Ask(vec![changed])
    }

    /// A request has been served.
    pub fn follow_up(self, actor: &Actor, asked: &Asked, answer: &Answered, api: &Api) {
        let bound = actor.intent.verb == Verb::Bind && matches!(answer, Answered::Whole(201, _));
        if self == Self::BindTwice && bound {
            let place = asked.place();
            api.tamper("pods", &format!("{}/{}", place.namespace, place.name), |pod| {
                pod.set_at(&["spec", "nodeName"], "node-elsewhere");
            });
        }
    }

    /// An answer arrives.
    pub fn answer(self, actor: &Actor, answer: Answered) -> Answered {
        match answer {
            Answered::Whole(201, body) if self == Self::SkipBarrier && actor.intent.verb == Verb::Create => {
                let Ok(mut object) = Document::from_json(&body) else { return Answered::Whole(201, body) };
                object.remove_at(&["metadata", "resourceVersion"]);
                Answered::Whole(201, object.to_json().into())
            }
            other => other,
        }
    }

    /// Whether a watch does not tell of an event.
    pub fn loses(self, watcher: &str, kind: &Kind, event: &WatchEvent) -> bool {
        let WatchEvent::Change(change) = event else { return false };
        match self {
            Self::LoseDeletions => {
                kind.kind == "Pod"
                    && change.kind.as_str() == "DELETED"
                    && watcher.contains("replicaset-controller")
            }
            _ => false,
        }
    }
}

impl Api {
    /// Changes an object behind everybody's back.
    fn tamper(&self, resource: &str, key: &str, change: impl FnOnce(&mut Document)) {
        let key = format!("/registry/{resource}/{key}");
        let Some(kv) = self.store.peek(&key) else { return };
        let Ok(mut object) = Document::from_json(&kv.value) else { return };
        change(&mut object);
        let op = Op::Put { value: object.to_json().into(), ttl: None };
        let written = self.store.commit(Txn { key, expect: Expect::Unchanged(kv.mod_revision), op });
        debug_assert!(matches!(written, TxnOutcome::Committed { .. }), "nobody writes in between");
    }

    fn replicas_of(&self, place: &crate::api::Place) -> Option<i64> {
        let key = format!("/registry/{}/{}/{}", place.resource, place.namespace, place.name);
        Document::from_json(&self.store.peek(&key)?.value).ok()?.get_at(&["spec", "replicas"])
    }
}
