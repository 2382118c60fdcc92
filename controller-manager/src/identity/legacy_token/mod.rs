//! The service account token controller: secrets of type `kubernetes.io/service-account-token` are given a
//! token of the account they name, and go when it goes. New clusters need it only for secrets made by hand.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::Context;
use anyhow::Context as _;
use gantry_client::informer::Scope;
use gantry_client::{Delta, Informer, Key, Queue};
use gantry_pki::keys::PrivateKey;
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

const BY_ACCOUNT: &str = "account";

struct Controller {
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    executor: Executor,
    key: PrivateKey,
    root_ca: Option<String>,
}

/// Wires the controller to its informers and starts it, where there is a key to sign with.
///
/// # Errors
/// Where the key or the bundle cannot be read.
pub fn start(context: &Context) -> anyhow::Result<()> {
    let args = &context.config.args;
    let Some(path) = &args.service_account_private_key_file else {
        tracing::info!(
            "Controller is disabled because there is no private key: serviceaccount-token-controller"
        );
        return Ok(());
    };
    let text =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let key = PrivateKey::from_pem(&text(path)?)
        .context("error reading key for service account token controller")?;
    let root_ca = args.root_ca_file.as_deref().map(text).transpose()?;
    let queue = Queue::new("serviceaccount_tokens_secret");
    let scope =
        Scope { field_selector: Some("type=kubernetes.io/service-account-token".into()), ..Scope::default() };
    let secrets = Informer::<Secret>::new(context.client.clone(), scope);
    let accounts = context.informers.of::<ServiceAccount>();
    secrets.index(BY_ACCOUNT, |secret| plan::account_of(secret).map(|k| k.to_string()).into_iter().collect());
    let to = queue.clone();
    secrets.on(move |delta| to.add(Key::of(&**delta.object())));
    let (to, known) = (queue.clone(), secrets.clone());
    accounts.on(move |delta| {
        if !matches!(delta, Delta::Modified { .. }) {
            let account = Key::of(&**delta.object());
            known.store().by_index(BY_ACCOUNT, account.as_str()).iter().for_each(|s| to.add(Key::of(&**s)));
        }
    });
    secrets.start(&context.stop);
    let barrier = Barrier::default();
    barrier.track(&secrets);
    // As the daemon itself, like upstream: this is what makes tokens for the others.
    let executor = Executor::new(context.client.clone(), barrier.clone());
    let controller = Controller { secrets, accounts, executor, key, root_ca };
    let workers = args.concurrent_serviceaccount_token_syncs;
    context.run("serviceaccount-token-controller", workers, controller, queue, barrier);
    Ok(())
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        self.secrets.synced().await;
        let Some(secret) = self.secrets.store().get(key) else { return Ok(Next::Done) };
        let Some(named) = plan::account_of(&secret) else { return Ok(Next::Done) };
        let account = self.accounts.store().get(&named).filter(|a| plan::is_of(&secret, a));
        let Some(account) = account else {
            tracing::info!(%key, account = %named, "service account does not exist, deleting token");
            self.executor.delete(key, &Effect::delete(&*secret)).await?;
            return Ok(Next::Done);
        };
        let sign = |payload: &[u8]| gantry_pki::jws::sign(&self.key, payload);
        match plan::fill(&secret, &account, self.root_ca.as_deref(), &sign) {
            Ok(Some(filled)) => self.executor.apply(key, &Effect::update(&filled)).await.map(|_| Next::Done),
            Ok(None) => Ok(Next::Done),
            Err(error) => {
                tracing::error!(%key, %error, "cannot sign a service account token");
                Ok(Next::Done)
            }
        }
    }
}
