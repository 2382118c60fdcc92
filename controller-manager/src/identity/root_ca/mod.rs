//! The root CA publisher: every namespace has `kube-root-ca.crt`.

use crate::context::Context;
use anyhow::Context as _;
use gantry_client::error::ApiError;
use gantry_client::{Informer, Key, Queue};
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::ObjectMeta;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
);

struct Controller {
    namespaces: Informer<Namespace>,
    maps: Informer<ConfigMap>,
    executor: Executor,
    bundle: String,
}

/// Wires the controller to its informers and starts it. The bundle is `--root-ca-file`, else what we trust
/// the apiserver by.
///
/// # Errors
/// Where the bundle cannot be read.
pub fn start(context: &Context) -> anyhow::Result<()> {
    let Some(path) = context.config.args.root_ca_file.clone() else {
        tracing::info!("--root-ca-file is not set, not publishing kube-root-ca.crt");
        return Ok(());
    };
    let bundle = std::fs::read_to_string(&path)
        .with_context(|| format!("error reading root-ca-file at {}", path.display()))?;
    let queue = Queue::new("root_ca_cert_publisher");
    let namespaces = context.informers.of::<Namespace>();
    // Only the maps of this one name: the others are none of our business, nor of our memory.
    let scope = gantry_client::informer::Scope {
        field_selector: Some(format!("metadata.name={NAME}")),
        ..Default::default()
    };
    let maps = Informer::<ConfigMap>::new(context.client.clone(), scope);
    let to = queue.clone();
    namespaces.on(move |delta| to.add(Key::of(&**delta.object())));
    let to = queue.clone();
    maps.on(move |delta| to.add(Key::new("", delta.object().metadata.namespace.as_deref().unwrap_or(""))));
    maps.start(&context.stop);
    let barrier = Barrier::default();
    barrier.track(&maps);
    let controller = Controller {
        namespaces,
        maps,
        executor: context.executor("root-ca-cert-publisher", barrier.clone()),
        bundle,
    };
    context.run("root-ca-certificate-publisher-controller", 1, controller, queue, barrier);
    Ok(())
}

/// What must be written, if anything.
fn plan(namespace: &Namespace, existing: Option<&ConfigMap>, bundle: &str) -> Option<Effect> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let data = || Some([("ca.crt".to_owned(), bundle.to_owned())].into());
    let described = || (DESCRIPTION.0.to_owned(), DESCRIPTION.1.to_owned());
    match existing {
        None => Some(Effect::create(&ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                namespace: namespace.metadata.name.clone(),
                annotations: Some([described()].into()),
                ..ObjectMeta::default()
            },
            data: data(),
            ..ConfigMap::default()
        })),
        Some(map) => {
            let annotated = map
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|a| a.get(DESCRIPTION.0).is_some_and(|d| d == DESCRIPTION.1));
            if map.data == data() && annotated {
                return None;
            }
            let mut changed = map.clone();
            changed.data = data();
            changed.metadata.annotations.get_or_insert_default().extend([described()]);
            Some(Effect::update(&changed))
        }
    }
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        self.maps.synced().await;
        let Some(namespace) = self.namespaces.store().get(key) else { return Ok(Next::Done) };
        let (begin, mut code) = (std::time::Instant::now(), 200);
        let existing = self.maps.store().get(&Key::new(key.name(), NAME));
        if let Some(effect) = plan(&namespace, existing.as_deref(), &self.bundle) {
            let outcome = self.executor.apply(key, &effect).await;
            if let Err(error) = &outcome {
                code = if let kube::Error::Api(status) = error { status.code } else { 500 };
            }
            crate::metrics::get().inspect(|m| m.root_ca(code, begin.elapsed()));
            match outcome {
                Err(error)
                    if error.is_already_exists()
                        || crate::workloads::replicaset::namespace_terminating(&error) => {}
                other => drop(other?),
            }
        } else {
            crate::metrics::get().inspect(|m| m.root_ca(code, begin.elapsed()));
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_changed_maps_are_written() {
        let namespace = Namespace::default();
        let Some(Effect::Create { body, .. }) = plan(&namespace, None, "PEM") else { panic!("must create") };
        let made: ConfigMap = serde_json::from_slice(&body.0).unwrap();
        assert_eq!(plan(&namespace, Some(&made), "PEM"), None);
        assert!(matches!(plan(&namespace, Some(&made), "NEW"), Some(Effect::Update { .. })));
        let mut bare = made.clone();
        bare.metadata.annotations = None;
        assert!(plan(&namespace, Some(&bare), "PEM").is_some());
    }
}
