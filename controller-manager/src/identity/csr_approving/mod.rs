//! The CSR approving controller: kubelets' client certificates are approved for those who may have them.

mod plan;
#[cfg(test)]
mod tests;

use super::kubelet_requests::ACCOUNT;
use crate::context::Context;
use gantry_client::{Client, Informer, Key, Queue};
use gantry_reconcile::effect::{Body, Target};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::Api;
use kube::api::PostParams;

struct Controller {
    requests: Informer<CertificateSigningRequest>,
    executor: Executor,
    client: Client,
}

/// Wires the controller to its informer and starts it.
pub fn start(context: &Context) {
    let queue = Queue::new("certificate_csrapproving");
    let requests = context.informers.of::<CertificateSigningRequest>();
    let to = queue.clone();
    requests.on(move |delta| to.add(Key::of(&**delta.object())));
    let barrier = Barrier::default();
    barrier.track(&requests);
    let client = context.credentials.client(ACCOUNT);
    let controller = Controller { requests, executor: context.executor(ACCOUNT, barrier.clone()), client };
    context.run("certificatesigningrequest-approving-controller", 5, controller, queue, barrier);
}

impl Controller {
    /// Whether who asked may make requests of this sort.
    async fn may(&self, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool, kube::Error> {
        let text = |s: &str| Some(s.to_owned());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: csr.spec.username.clone(),
                uid: csr.spec.uid.clone(),
                groups: csr.spec.groups.clone(),
                extra: csr.spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: text("certificates.k8s.io"),
                    resource: text("certificatesigningrequests"),
                    verb: text("create"),
                    subresource: text(subresource),
                    version: text("*"),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|s| s.allowed))
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(csr) = self.requests.store().get(key) else { return Ok(Next::Done) };
        let fitting = plan::recognize(&csr);
        for sort in &fitting {
            if !self.may(&csr, sort.subresource).await? {
                continue;
            }
            let approved = plan::approved(&csr, sort);
            let body = Body(serde_json::to_vec(&approved).map_err(kube::Error::SerdeError)?);
            let target = Target::of::<CertificateSigningRequest>("", key.name());
            self.executor.apply(key, &Effect::Update { target, subresource: "approval", body }).await?;
            return Ok(Next::Done);
        }
        if fitting.is_empty() {
            return Ok(Next::Done);
        }
        // Nothing tells when a role is granted: asked again, ever more slowly.
        tracing::debug!(%key, "recognized the request but subject access review was not approved");
        Ok(Next::After(plan::patience(&csr, crate::context::now())))
    }
}
