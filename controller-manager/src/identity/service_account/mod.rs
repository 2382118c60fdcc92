//! The service account controller: every namespace has its `default` account.

use crate::context::Context;
use gantry_client::error::ApiError;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::ObjectMeta;

struct Controller {
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    executor: Executor,
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("serviceaccount");
    let (namespaces, accounts) =
        (context.informers.of::<Namespace>(), context.informers.of::<ServiceAccount>());
    let to = queue.clone();
    namespaces.on(move |delta| to.add(Key::of(&**delta.object())));
    let to = queue.clone();
    accounts.on(move |delta| {
        let meta = &delta.object().metadata;
        if delta.is_deleted() && meta.name.as_deref() == Some("default") {
            to.add(Key::new("", meta.namespace.as_deref().unwrap_or("")));
        }
    });
    let barrier = Barrier::default();
    barrier.track(&accounts);
    let controller = Controller {
        namespaces,
        accounts,
        executor: context.executor("service-account-controller", barrier.clone()),
    };
    context.run("serviceaccount-controller", 1, controller, queue, barrier);
}

/// The account to create, where it is missing and the namespace is not going.
fn plan(namespace: &Namespace, exists: bool) -> Option<Effect> {
    let active = namespace.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Active");
    if exists || !active {
        return None;
    }
    Some(Effect::create(&ServiceAccount {
        metadata: ObjectMeta {
            name: Some("default".into()),
            namespace: namespace.metadata.name.clone(),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    }))
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(namespace) = self.namespaces.store().get(key) else { return Ok(Next::Done) };
        let exists = self.accounts.store().get(&Key::new(key.name(), "default")).is_some();
        if let Some(effect) = plan(&namespace, exists) {
            match self.executor.apply(key, &effect).await {
                Err(error)
                    if error.is_already_exists()
                        || crate::workloads::replicaset::namespace_terminating(&error) => {}
                other => drop(other?),
            }
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::NamespaceStatus;

    fn check(phase: &str, exists: bool, creates: bool) {
        let namespace = Namespace {
            status: Some(NamespaceStatus { phase: Some(phase.into()), conditions: None }),
            ..Namespace::default()
        };
        assert_eq!(plan(&namespace, exists).is_some(), creates, "{phase} {exists}");
    }

    #[test]
    fn active_namespaces_get_what_they_lack() {
        check("Active", false, true);
        check("Active", true, false);
        check("Terminating", false, false);
    }
}
