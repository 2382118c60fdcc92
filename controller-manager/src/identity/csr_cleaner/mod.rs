//! The CSR cleaner: requests go when they are done with, or nobody took them up.

mod plan;
#[cfg(test)]
mod tests;

use super::kubelet_requests::{ACCOUNT, issued};
use crate::context::{Context, now};
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use std::time::Duration;

struct Controller {
    requests: Informer<CertificateSigningRequest>,
    executor: Executor,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("csrcleaner");
    let requests = context.informers.of::<CertificateSigningRequest>();
    let to = queue.clone();
    requests.on(move |delta| to.add(Key::of(&**delta.object())));
    let barrier = Barrier::default();
    barrier.track(&requests);
    let executor = context.executor(ACCOUNT, barrier.clone());
    let controller = Controller { requests, executor };
    context.run("certificatesigningrequest-cleaner-controller", 1, controller, queue, barrier);
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(csr) = self.requests.store().get(key) else { return Ok(Next::Done) };
        let ends = std::str::from_utf8(issued(&csr))
            .ok()
            .filter(|pem| !pem.is_empty())
            .and_then(|pem| gantry_pki::verify::facts(pem).ok())
            .map(|facts| facts.not_after);
        let Some(due) = plan::due(&csr, ends) else { return Ok(Next::Done) };
        let left = due.as_second() - now().as_second();
        if left >= 0 {
            return Ok(Next::After(Duration::from_secs(left.unsigned_abs() + 1)));
        }
        self.executor.delete(key, &Effect::delete(&*csr)).await?;
        Ok(Next::Done)
    }
}
