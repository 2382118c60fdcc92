//! API objects that pods refer to: each watched alone, for as long as some pod refers to it.

use async_trait::async_trait;
use gantry_client::error::ApiError;
use gantry_client::informer::{Informer, Scope};
use gantry_client::{Delta, Key};
use gantry_kubelet_core::pods;
use gantry_kubelet_volumes::{Claimed, FetchError, Source, Token, claim};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Watched<K: 'static> {
    informer: Informer<K>,
    users: BTreeSet<String>,
    stop: CancellationToken,
}

type Table<K> = Mutex<HashMap<Key, Watched<K>>>;
type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// Configuration, secrets, tokens, services and claims.
pub struct Objects {
    client: Option<kube::Client>,
    config_maps: Table<ConfigMap>,
    secrets: Table<Secret>,
    services: Option<Informer<Service>>,
    tokens: Mutex<HashMap<(String, String, i64), (Token, Timestamp)>>,
    stop: CancellationToken,
    wake: Mutex<Option<Wake>>,
}

impl Objects {
    pub fn new(client: Option<kube::Client>, stop: &CancellationToken) -> Self {
        let services = client.clone().map(|c| Informer::<Service>::new(c, Scope::default()));
        if let Some(s) = &services {
            s.start(stop);
        }
        Self {
            client,
            config_maps: Mutex::default(),
            secrets: Mutex::default(),
            services,
            tokens: Mutex::default(),
            stop: stop.clone(),
            wake: Mutex::default(),
        }
    }

    /// Called with a pod's UID when something it refers to changed.
    pub fn on_change(&self, wake: Wake) {
        *self.wake.lock() = Some(wake);
    }

    fn client(&self) -> Result<kube::Client, FetchError> {
        self.client.clone().ok_or_else(|| FetchError::Other("no kubeClient defined".into()))
    }

    /// Begins to watch what the pod refers to.
    pub fn register(self: &Arc<Self>, pod: &Pod) {
        let ns = pods::namespace(pod);
        let (maps, secrets) = references(pod);
        for name in maps {
            self.watch(&self.config_maps, ns, &name, pods::uid(pod), |o| &o.config_maps);
        }
        for name in secrets {
            self.watch(&self.secrets, ns, &name, pods::uid(pod), |o| &o.secrets);
        }
    }

    fn watch<K: gantry_client::informer::Kind>(
        self: &Arc<Self>,
        table: &Table<K>,
        ns: &str,
        name: &str,
        uid: &str,
        of: fn(&Self) -> &Table<K>,
    ) {
        let Some(client) = self.client.clone() else { return };
        let key = Key::new(ns, name);
        let mut table = table.lock();
        if let Some(w) = table.get_mut(&key) {
            w.users.insert(uid.to_owned());
            return;
        }
        let scope = Scope {
            namespace: ns.to_owned(),
            field_selector: Some(format!("metadata.name={name}")),
            ..Scope::default()
        };
        let informer = Informer::<K>::new(client, scope);
        let (me, at) = (Arc::downgrade(self), key.clone());
        informer.on(move |_: &Delta<K>| {
            let Some(me) = me.upgrade() else { return };
            let users = of(&me).lock().get(&at).map(|w| w.users.clone()).unwrap_or_default();
            if let Some(wake) = me.wake.lock().clone() {
                users.iter().for_each(|uid| wake(uid));
            }
        });
        let stop = self.stop.child_token();
        informer.start(&stop);
        table.insert(key, Watched { informer, users: BTreeSet::from([uid.to_owned()]), stop });
    }

    /// Ends what only this pod needed.
    pub fn unregister(&self, uid: &str) {
        release(&self.config_maps, uid);
        release(&self.secrets, uid);
        self.tokens.lock().retain(|(u, _, _), _| u != uid);
    }

    /// Services whose variables the pod's containers get.
    pub async fn services(&self, pod: &Pod) -> Vec<Arc<Service>> {
        let Some(informer) = &self.services else { return Vec::new() };
        informer.synced().await;
        let links = pods::spec(pod).enable_service_links != Some(false);
        let ns = pods::namespace(pod);
        let mut out: Vec<Arc<Service>> = if links { informer.store().list_namespace(ns) } else { Vec::new() };
        if (ns != "default" || !links)
            && let Some(master) = informer.store().get(&Key::new("default", "kubernetes"))
        {
            out.push(master);
        }
        out
    }

    /// The runtime's handler for a runtime class.
    ///
    /// # Errors
    /// Where there is no such class.
    pub async fn runtime_handler(&self, pod: &Pod) -> Result<String, FetchError> {
        let Some(name) = pods::spec(pod).runtime_class_name.as_deref().filter(|n| !n.is_empty()) else {
            return Ok(String::new());
        };
        let api: Api<RuntimeClass> = Api::all(self.client()?);
        api.get(name).await.map(|c| c.handler).map_err(|e| fetch_error(&e, "runtimeclass", name))
    }

    async fn get<K>(&self, table: &Table<K>, ns: &str, name: &str, word: &str) -> Result<Arc<K>, FetchError>
    where
        K: gantry_client::informer::Kind + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug,
    {
        let informer = table.lock().get(&Key::new(ns, name)).map(|w| w.informer.clone());
        if let Some(i) = informer.filter(Informer::has_synced) {
            return i.store().get(&Key::new(ns, name)).ok_or_else(|| not_found(word, name));
        }
        let api: Api<K> = Api::namespaced(self.client()?, ns);
        api.get(name).await.map(Arc::new).map_err(|e| fetch_error(&e, word, name))
    }
}

fn release<K: 'static>(table: &Table<K>, uid: &str) {
    table.lock().retain(|_, w| {
        w.users.remove(uid);
        if w.users.is_empty() {
            w.stop.cancel();
        }
        !w.users.is_empty()
    });
}

fn not_found(word: &str, name: &str) -> FetchError {
    FetchError::NotFound(format!("{word} {name:?} not found"))
}

fn fetch_error(e: &kube::Error, word: &str, name: &str) -> FetchError {
    if e.is_not_found() { not_found(word, name) } else { FetchError::Other(gantry_client::error::message(e)) }
}

/// Names of the config maps and secrets a pod refers to.
fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let spec = pods::spec(pod);
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for v in spec.volumes.iter().flatten() {
        maps.extend(v.config_map.iter().map(|c| c.name.clone()));
        secrets.extend(v.secret.iter().filter_map(|s| s.secret_name.clone()));
        for s in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            maps.extend(s.config_map.iter().map(|c| c.name.clone()));
            secrets.extend(s.secret.iter().map(|c| c.name.clone()));
        }
    }
    let ephemeral = pods::ephemeral_containers(pod).iter().map(pods::ordinary);
    for c in pods::init_containers(pod).iter().chain(pods::containers(pod)).cloned().chain(ephemeral) {
        for e in c.env_from.iter().flatten() {
            maps.extend(e.config_map_ref.iter().map(|r| r.name.clone()));
            secrets.extend(e.secret_ref.iter().map(|r| r.name.clone()));
        }
        for from in c.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
            maps.extend(from.config_map_key_ref.iter().map(|r| r.name.clone()));
            secrets.extend(from.secret_key_ref.iter().map(|r| r.name.clone()));
        }
    }
    secrets.extend(spec.image_pull_secrets.iter().flatten().map(|s| s.name.clone()));
    maps.remove("");
    secrets.remove("");
    (maps, secrets)
}

#[async_trait]
impl Source for Objects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>, FetchError> {
        self.get(&self.config_maps, namespace, name, "configmap").await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, FetchError> {
        self.get(&self.secrets, namespace, name, "secret").await
    }

    async fn token(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, FetchError> {
        let key = (pods::uid(pod).to_owned(), audience.to_owned(), seconds);
        let now = Timestamp::now();
        let cached = self.tokens.lock().get(&key).cloned();
        if let Some((token, _)) = cached.as_ref().filter(|(t, _)| now < t.refresh_at) {
            return Ok(token.clone());
        }
        let account = pods::spec(pod).service_account_name.clone().unwrap_or_else(|| "default".into());
        let api: Api<k8s_openapi::api::core::v1::ServiceAccount> =
            Api::namespaced(self.client()?, pods::namespace(pod));
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: (!audience.is_empty()).then(|| vec![audience.to_owned()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".into()),
                    kind: Some("Pod".into()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..Default::default()
        };
        let answer = match api.create_token_request(&account, &PostParams::default(), &request).await {
            Ok(a) => a,
            Err(e) => {
                // A token that is due for renewal but not over still serves.
                if let Some((mut token, _)) = cached.filter(|(_, expires)| now < *expires) {
                    token.refresh_at = now + SignedDuration::from_secs(60);
                    return Ok(token);
                }
                let why = gantry_client::error::message(&e);
                return Err(FetchError::Other(format!("failed to fetch token: {why}")));
            }
        };
        let status = answer.status.unwrap_or_default();
        let expires = status.expiration_timestamp.map_or(now, |t| t.0);
        // Renewed at four fifths of its life, and within a day in any case.
        let life = expires.duration_since(now).as_secs().max(0);
        let renew = (life * 4 / 5).clamp(1, 24 * 3600);
        let token = Token {
            token: status.token.unwrap_or_default(),
            refresh_at: now + SignedDuration::from_secs(renew),
        };
        self.tokens.lock().insert(key, (token.clone(), expires));
        Ok(token)
    }

    async fn claimed(&self, namespace: &str, name: &str) -> Result<Claimed, FetchError> {
        let client = self.client()?;
        let text = |e: &kube::Error| gantry_client::error::message(e);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let found = claims
            .get(name)
            .await
            .map_err(|e| FetchError::Other(format!("failed to fetch PVC from API server: {}", text(&e))))?;
        let volume = claim::judge(&found).map_err(FetchError::Other)?.to_owned();
        let volumes: Api<PersistentVolume> = Api::all(client);
        let got = volumes.get(&volume).await.map_err(|e| {
            FetchError::Other(format!("failed to fetch PV {volume} from API server: {}", text(&e)))
        })?;
        claim::pair(found, got).map_err(FetchError::Other)
    }
}
