//! The cleaner of legacy service account tokens (KEP-2799): secrets with tokens that end never, made by old
//! clusters for each account, are marked invalid when nobody used them for
//! `--legacy-service-account-token-clean-up-period` and no pod mounts them, and deleted as long after that.
//!
//! It looks at its start and once a day, straight at the server: nothing of this is worth a cache.

mod plan;
#[cfg(test)]
mod tests;

use crate::context::{Context, now};
use crate::references;
use gantry_client::{Informer, Key, Queue, error};
use gantry_reconcile::{Barrier, Effect, Executor, Next, PatchKind, Reconcile};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, ObjectMeta};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Where the apiserver says since when it tracks the use of tokens.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Controller {
    client: gantry_client::Client,
    accounts: Informer<ServiceAccount>,
    executor: Executor,
    period: SignedDuration,
}

/// Wires the controller and starts it.
///
/// # Errors
/// A period of nothing.
pub fn start(context: &Context) -> anyhow::Result<()> {
    let period = context.config.args.legacy_service_account_token_clean_up_period;
    anyhow::ensure!(!period.is_zero(), "invalid CleanUpPeriod: 0s");
    let queue = Queue::new("legacy_service_account_token_cleaner");
    queue.add(Key::new("kube-system", TRACKING));
    let barrier = Barrier::default();
    let controller = Controller {
        client: context.client.clone(),
        accounts: context.informers.of::<ServiceAccount>(),
        executor: context.executor("legacy-service-account-token-cleaner", barrier.clone()),
        period: SignedDuration::try_from(period)?,
    };
    context.run("legacy-serviceaccount-token-cleaner-controller", 1, controller, queue, barrier);
    Ok(())
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let tracking: Api<ConfigMap> = Api::namespaced(self.executor.client().clone(), key.namespace());
        let since = tracking.get_opt(key.name()).await?.and_then(|m| m.data?.remove("since"));
        match plan::tracked_enough(since.as_deref(), now(), self.period) {
            Ok(true) => self.sweep(key).await?,
            Ok(false) => {}
            Err(why) => tracing::error!(why, "cannot tell since when tokens are tracked"),
        }
        Ok(Next::After(DAY))
    }
}

impl Controller {
    async fn sweep(&self, key: &Key) -> Result<(), kube::Error> {
        let secrets: Api<Secret> = Api::all(self.client.clone());
        let only = ListParams::default().fields("type=kubernetes.io/service-account-token");
        let mut mounted: HashMap<String, BTreeSet<String>> = HashMap::new();
        for secret in secrets.list(&only).await?.items {
            let namespace = secret.metadata.namespace.clone().unwrap_or_default();
            let account = plan::account_of(&secret)
                .and_then(|name| self.accounts.store().get(&Key::new(&namespace, name)));
            if !plan::unused(&secret, account.as_deref(), now(), self.period) {
                continue;
            }
            let used = match mounted.entry(namespace) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => {
                    let names = self.mounted(new.key()).await?;
                    new.insert(names)
                }
            };
            if secret.metadata.name.as_ref().is_some_and(|name| used.contains(name)) {
                continue;
            }
            // One that cannot be changed does not hold up the others.
            if let Err(why) = self.carry_out(key, &secret).await {
                let secret = Key::of(&secret);
                tracing::error!(%secret, why = error::message(&why), "cannot clean up a service account token");
            }
        }
        Ok(())
    }

    /// The secrets pods of a namespace use.
    async fn mounted(&self, namespace: &str) -> Result<BTreeSet<String>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = pods.list(&ListParams::default()).await?.items;
        let specs = pods.iter().filter_map(|p| p.spec.as_ref());
        Ok(specs
            .flat_map(|s| references::of(s).all_secrets().map(str::to_owned).collect::<Vec<_>>())
            .collect())
    }

    async fn carry_out(&self, key: &Key, secret: &Secret) -> Result<(), kube::Error> {
        let name = Key::of(secret);
        match plan::verdict(secret, now(), self.period) {
            plan::Verdict::Keep => Ok(()),
            plan::Verdict::Mark(day) => {
                tracing::info!(secret = %name, day, "marking an unused service account token invalid");
                // The uid holds the patch to this very secret.
                let mark = Secret {
                    metadata: ObjectMeta {
                        uid: secret.metadata.uid.clone(),
                        labels: Some([(plan::INVALID_SINCE.to_owned(), day)].into()),
                        ..ObjectMeta::default()
                    },
                    ..Secret::default()
                };
                let patch = Effect::patch::<Secret>(name.namespace(), name.name(), PatchKind::Merge, &mark);
                self.executor.apply(key, &patch).await.map(|_| ())
            }
            plan::Verdict::Delete => {
                tracing::info!(secret = %name, "deleting an unused service account token");
                let mut delete = Effect::delete(secret);
                if let Effect::Delete { resource_version, .. } = &mut delete {
                    // Used meanwhile, it stays.
                    resource_version.clone_from(&secret.metadata.resource_version);
                }
                self.executor.delete(key, &delete).await
            }
        }
    }
}
