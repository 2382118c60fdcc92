//! The ReplicationController controller: the replica set's, in the words of the older kind.

use super::replicaset::{Names, Replicated, start_for};
use crate::context::Context;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec,
    ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::borrow::Cow;

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let names = Names {
        queue: "replicationmanager",
        controller: "replicationcontroller-controller",
        account: "replication-controller",
        component: "replication-controller",
        workers: context.config.args.concurrent_rc_syncs,
    };
    start_for::<ReplicationController>(context, &names);
}

fn selector(spec: &ReplicationControllerSpec) -> LabelSelector {
    LabelSelector { match_labels: spec.selector.clone(), match_expressions: None }
}

impl Replicated for ReplicationController {
    /// The API has no field for it.
    const COUNTS_TERMINATING: bool = false;

    fn selector(&self) -> Option<Cow<'_, LabelSelector>> {
        // An empty selector would select every pod; the server fills it from the template.
        let spec = self.spec.as_ref().filter(|s| s.selector.as_ref().is_some_and(|l| !l.is_empty()));
        spec.map(|s| Cow::Owned(selector(s)))
    }

    fn as_set(&self) -> Cow<'_, ReplicaSet> {
        let spec = self.spec.as_ref().map(|s| ReplicaSetSpec {
            min_ready_seconds: s.min_ready_seconds,
            replicas: s.replicas,
            selector: selector(s),
            template: s.template.clone(),
        });
        let status = self.status.as_ref().map(|s| ReplicaSetStatus {
            available_replicas: s.available_replicas,
            conditions: s.conditions.as_ref().map(|list| list.iter().map(to_set_condition).collect()),
            fully_labeled_replicas: s.fully_labeled_replicas,
            observed_generation: s.observed_generation,
            ready_replicas: s.ready_replicas,
            replicas: s.replicas,
            terminating_replicas: None,
        });
        Cow::Owned(ReplicaSet { metadata: self.metadata.clone(), spec, status })
    }

    fn with_status(&self, status: ReplicaSetStatus) -> Self {
        let status = ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|list| list.into_iter().map(from_set_condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        };
        Self { status: Some(status), ..self.clone() }
    }
}

fn to_set_condition(condition: &ReplicationControllerCondition) -> ReplicaSetCondition {
    ReplicaSetCondition {
        last_transition_time: condition.last_transition_time.clone(),
        message: condition.message.clone(),
        reason: condition.reason.clone(),
        status: condition.status.clone(),
        type_: condition.type_.clone(),
    }
}

fn from_set_condition(condition: ReplicaSetCondition) -> ReplicationControllerCondition {
    ReplicationControllerCondition {
        last_transition_time: condition.last_transition_time,
        message: condition.message,
        reason: condition.reason,
        status: condition.status,
        type_: condition.type_,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::api::ObjectMeta;

    #[test]
    fn reads_as_a_replica_set_and_takes_its_status() {
        let controller = ReplicationController {
            metadata: ObjectMeta { name: Some("web".into()), ..ObjectMeta::default() },
            spec: Some(ReplicationControllerSpec {
                replicas: Some(3),
                min_ready_seconds: Some(7),
                selector: Some([("app".into(), "web".into())].into()),
                ..ReplicationControllerSpec::default()
            }),
            status: None,
        };
        let set = controller.as_set().into_owned();
        let spec = set.spec.as_ref().unwrap();
        assert_eq!((spec.replicas, spec.min_ready_seconds), (Some(3), Some(7)));
        assert_eq!(spec.selector.match_labels.as_ref().unwrap()["app"], "web");
        let status = ReplicaSetStatus {
            replicas: 2,
            ready_replicas: Some(1),
            observed_generation: Some(4),
            conditions: Some(vec![ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some("FailedCreate".into()),
                message: Some("quota".into()),
                last_transition_time: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
            }]),
            ..ReplicaSetStatus::default()
        };
        let changed = controller.with_status(status.clone());
        assert_eq!(changed.as_set().status.as_ref(), Some(&status));
        assert_eq!(changed.spec, controller.spec);
    }
}
