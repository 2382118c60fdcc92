//! The token cleaner: bootstrap tokens go when they have run out.

mod plan;
#[cfg(test)]
mod tests;

use super::bootstrap_signer::tokens;
use crate::context::{Context, now};
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::Secret;

struct Controller {
    tokens: Informer<Secret>,
    executor: Executor,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("token_cleaner");
    let tokens = tokens(context);
    let to = queue.clone();
    tokens.on(move |delta| to.add(Key::of(&**delta.object())));
    tokens.start(&context.stop);
    let barrier = Barrier::default();
    barrier.track(&tokens);
    let executor = context.executor("token-cleaner", barrier.clone());
    context.run("token-cleaner-controller", 1, Controller { tokens, executor }, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(secret) = self.tokens.store().get(key) else { return Ok(Next::Done) };
        match plan::plan(&secret, now()) {
            plan::Plan::Keep => Ok(Next::Done),
            plan::Plan::Later(wait) => Ok(Next::After(wait)),
            plan::Plan::Delete => {
                self.executor.delete(key, &Effect::delete(&*secret)).await?;
                Ok(Next::Done)
            }
        }
    }
}
