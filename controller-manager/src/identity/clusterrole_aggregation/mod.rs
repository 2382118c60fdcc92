//! Cluster role aggregation: a role with an aggregation rule has the rules of the roles it selects.

use crate::context::Context;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile, selector};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde::Serialize;
use std::sync::Arc;

struct Controller {
    roles: Informer<ClusterRole>,
    executor: Executor,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("ClusterRoleAggregator");
    let roles = context.informers.of::<ClusterRole>();
    let (to, known) = (queue.clone(), roles.clone());
    roles.on(move |delta| {
        let changed = delta.object();
        for role in known.store().list() {
            if role.aggregation_rule.is_some() {
                to.add(Key::of(&*role));
            }
        }
        if changed.aggregation_rule.is_some() && !delta.is_deleted() {
            to.add(Key::of(&**changed));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&roles);
    let controller = Controller {
        roles,
        executor: context.executor("clusterrole-aggregation-controller", barrier.clone()),
    };
    context.run("clusterrole-aggregation-controller", 5, controller, queue, barrier);
}

#[derive(Serialize)]
struct RulesPatch<'a> {
    rules: &'a [PolicyRule],
}

/// The rules `role` should have: those of each selected role, each once, in the roles' order by name.
fn rules(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Vec<PolicyRule> {
    let mut found: Vec<PolicyRule> = Vec::new();
    for wanted in role.aggregation_rule.iter().flat_map(|r| r.cluster_role_selectors.iter().flatten()) {
        for other in all {
            let same = other.metadata.name == role.metadata.name;
            if same || !selector::matches(Some(wanted), other.metadata.labels.as_ref()) {
                continue;
            }
            for rule in other.rules.iter().flatten() {
                if !found.contains(rule) {
                    found.push(rule.clone());
                }
            }
        }
    }
    found
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(role) = self.roles.store().get(key) else { return Ok(Next::Done) };
        if role.aggregation_rule.is_none() {
            return Ok(Next::Done);
        }
        let wanted = rules(&role, &self.roles.store().list());
        if role.rules.as_deref().unwrap_or(&[]) != wanted {
            let patch = RulesPatch { rules: &wanted };
            let effect = Effect::patch::<ClusterRole>("", key.name(), PatchKind::Merge, &patch);
            self.executor.apply(key, &effect).await?;
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    fn role(name: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let mut role = ClusterRole::default();
        role.metadata.name = Some(name.into());
        role.metadata.labels = Some([("to".into(), "admin".into())].into());
        let rule = |v: &&str| PolicyRule { verbs: vec![(*v).to_owned()], ..PolicyRule::default() };
        role.rules = Some(verbs.iter().map(rule).collect());
        Arc::new(role)
    }

    #[test]
    fn rules_are_gathered_once_each_without_the_role_itself() {
        let mut admin = ClusterRole::clone(&role("admin", &["own"]));
        admin.aggregation_rule = Some(AggregationRule {
            cluster_role_selectors: Some(vec![LabelSelector {
                match_labels: Some([("to".into(), "admin".into())].into()),
                match_expressions: None,
            }]),
        });
        let all = [Arc::new(admin.clone()), role("a", &["get", "list"]), role("b", &["list", "watch"])];
        let verbs: Vec<_> = rules(&admin, &all).into_iter().map(|r| r.verbs[0].clone()).collect();
        assert_eq!(verbs, ["get", "list", "watch"]);
    }
}
