//! The bootstrap signer: `cluster-info` in `kube-public` carries a signature of each bootstrap token, by which
//! who has a token believes it.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use gantry_client::informer::Scope;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

pub(super) use plan::expiration;

struct Controller {
    maps: Informer<ConfigMap>,
    tokens: Informer<Secret>,
    executor: Executor,
}

/// The secrets that are bootstrap tokens.
pub(super) fn tokens(context: &Context) -> Informer<Secret> {
    let scope = Scope {
        namespace: "kube-system".into(),
        field_selector: Some("type=bootstrap.kubernetes.io/token".into()),
        ..Scope::default()
    };
    Informer::new(context.client.clone(), scope)
}

/// Wires the controller to its informers and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("bootstrap_signer_queue");
    let scope = Scope {
        namespace: "kube-public".into(),
        field_selector: Some("metadata.name=cluster-info".into()),
        ..Scope::default()
    };
    let maps = Informer::<ConfigMap>::new(context.client.clone(), scope);
    let tokens = tokens(context);
    let key = || Key::new("kube-public", "cluster-info");
    let to = queue.clone();
    maps.on(move |_| to.add(key()));
    let to = queue.clone();
    tokens.on(move |_| to.add(key()));
    maps.start(&context.stop);
    tokens.start(&context.stop);
    let barrier = Barrier::default();
    barrier.track(&maps);
    let executor = context.executor("bootstrap-signer", barrier.clone());
    let controller = Controller { maps, tokens, executor };
    context.run("bootstrap-signer-controller", 1, controller, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        self.maps.synced().await;
        self.tokens.synced().await;
        let Some(map) = self.maps.store().get(key) else { return Ok(Next::Done) };
        let tokens = self.tokens.store().list();
        if let Some(changed) = plan::sign(&map, &tokens, now()) {
            self.executor.apply(key, &Effect::update(&changed)).await?;
        }
        Ok(Next::Done)
    }
}
