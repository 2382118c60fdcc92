//! `ServiceAccount`: every pod runs as an account of its namespace and finds its token mounted.

use crate::{forbidden, is, resources, typed};
use async_trait::async_trait;
use gantry_auth::node::PodRefs;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Document, GroupResource, Status, StatusResult, names};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, EphemeralContainer,
    KeyToPath, LocalObjectReference, ObjectFieldSelector, ProjectedVolumeSource, ServiceAccount as Account,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use std::sync::Arc;
use std::time::Duration;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// A lifetime kubelets ask for and apiservers extend: an hour and a bit that marks it.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
/// How often an account is looked for.
const ATTEMPTS: u32 = 10;
/// How long between, for the default account, which a controller makes in a new namespace.
const UNTIL_MADE: Duration = Duration::from_millis(100);
/// How long between, for one made by the client a moment ago, which the cache is about to see.
const UNTIL_SEEN: Duration = Duration::from_millis(20);

pub struct ServiceAccount {
    reader: Arc<dyn ObjectReader>,
}

impl ServiceAccount {
    pub const NAME: &str = "ServiceAccount";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    fn lookup(&self, request: &Request<'_>, name: &str) -> StatusResult<Account> {
        match self.reader.get(&resources::SERVICE_ACCOUNTS, request.namespace, name) {
            Some(object) => typed(&object),
            None => {
                let missing = Status::not_found(&GroupResource::new("", "serviceaccount"), name);
                let why = format!("error looking up service account {}/{name}: {missing}", request.namespace);
                Err(forbidden(request, why))
            }
        }
    }

    /// The account, waiting a little for one that is new.
    async fn account(&self, request: &Request<'_>, name: &str) -> StatusResult<Account> {
        let pause = if name == "default" { UNTIL_MADE } else { UNTIL_SEEN };
        let mut found = self.lookup(request, name);
        for _ in 1..ATTEMPTS {
            if found.is_ok() {
                break;
            }
            tokio::time::sleep(pause).await;
            found = self.lookup(request, name);
        }
        found
    }
}

/// The pod's account: `serviceAccountName`, or its old name.
fn account_name(pod: &Document) -> &str {
    let at = |field| pod.str_at(&["spec", field]).filter(|name| !name.is_empty());
    at("serviceAccountName").or_else(|| at("serviceAccount")).unwrap_or_default()
}

fn is_mirror(pod: &Document) -> bool {
    pod.annotation("kubernetes.io/config.mirror").is_some()
}

/// The volume a pod finds its token, the cluster's authority and its namespace in.
fn token_volume(name: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        audience: None,
    };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: "metadata.namespace".to_owned(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    Volume {
        name: name.to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(0o644), sources: Some(sources) }),
        ..Volume::default()
    }
}

/// Mounts the token volume into every container that has nothing at its place yet.
fn mount_token(pod: &mut Document) {
    let mut volumes: Vec<Volume> = pod.get_at(&["spec", "volumes"]).unwrap_or_default();
    let existing = volumes.iter().find(|v| v.name.starts_with(VOLUME_PREFIX)).map(|v| v.name.clone());
    let name = existing.clone().unwrap_or_else(|| names::generate_name(VOLUME_PREFIX, &mut rand::rng()));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let path = ["spec", list];
        let mut containers: Vec<Container> = pod.get_at(&path).unwrap_or_default();
        let mut changed = false;
        for container in &mut containers {
            let mounts = container.volume_mounts.get_or_insert_default();
            if mounts.iter().all(|m| m.mount_path != MOUNT_PATH) {
                mounts.push(VolumeMount {
                    name: name.clone(),
                    read_only: Some(true),
                    mount_path: MOUNT_PATH.to_owned(),
                    ..VolumeMount::default()
                });
                changed = true;
            }
        }
        if changed {
            pod.set_at(&path, containers);
            needed = true;
        }
    }
    if existing.is_none() && needed {
        volumes.push(token_volume(&name));
        pod.set_at(&["spec", "volumes"], volumes);
    }
}

fn enforces(account: &Account) -> bool {
    let value = account.metadata.annotations.as_ref().and_then(|a| a.get(ENFORCE_MOUNTABLE));
    value.is_some_and(|v| matches!(&**v, "1" | "t" | "T" | "TRUE" | "true" | "True"))
}

/// The secret a container takes from that the account does not list, as upstream words it.
fn foreign_secret(word: &str, container: &Container, mountable: &[&str], account: &str) -> Option<String> {
    let refused = |how: String, secret: &str| {
        format!(
            "{word} {} with {how} referencing secret.secretName=\"{secret}\" is not allowed because service account \
             {account} does not reference that secret",
            container.name
        )
    };
    for env in container.env.iter().flatten() {
        let secret = env.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        if let Some(secret) = secret.filter(|s| !mountable.contains(&&*s.name)) {
            return Some(refused(format!("envVar {}", env.name), &secret.name));
        }
    }
    for from in container.env_from.iter().flatten() {
        if let Some(secret) = from.secret_ref.as_ref().filter(|s| !mountable.contains(&&*s.name)) {
            return Some(refused("envFrom".to_owned(), &secret.name));
        }
    }
    None
}

fn mountable(account: &Account) -> Vec<&str> {
    account.secrets.iter().flatten().filter_map(|s| s.name.as_deref()).collect()
}

/// What a pod refers to that its account does not list.
fn foreign_reference(account: &Account, pod: &Document) -> Option<String> {
    let own = account.metadata.name.as_deref().unwrap_or_default();
    let mountable = mountable(account);
    for volume in pod.get_at::<Vec<Volume>>(&["spec", "volumes"]).unwrap_or_default() {
        let secret = volume.secret.and_then(|s| s.secret_name);
        if let Some(secret) = secret.filter(|s| !mountable.contains(&&**s)) {
            return Some(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {own} does not \
                 reference that secret"
            ));
        }
    }
    for (word, list) in [("init container", "initContainers"), ("container", "containers")] {
        for container in pod.get_at::<Vec<Container>>(&["spec", list]).unwrap_or_default() {
            if let Some(why) = foreign_secret(word, &container, &mountable, own) {
                return Some(why);
            }
        }
    }
    let pulls: Vec<&str> = account.image_pull_secrets.iter().flatten().map(|s| &*s.name).collect();
    let wanted: Vec<LocalObjectReference> = pod.get_at(&["spec", "imagePullSecrets"]).unwrap_or_default();
    let (i, foreign) = wanted.iter().enumerate().find(|(_, s)| !pulls.contains(&&*s.name))?;
    Some(format!(
        "imagePullSecrets[{i}].name=\"{}\" is not allowed because service account {own} does not reference that \
         imagePullSecret",
        foreign.name
    ))
}

fn check_mirror(request: &Request<'_>, pod: &Document) -> StatusResult<()> {
    if !account_name(pod).is_empty() {
        return Err(forbidden(request, "a mirror pod may not reference service accounts"));
    }
    let refs = PodRefs::named(&pod.to_json()).map_err(Status::internal)?;
    if !refs.secrets.is_empty() {
        return Err(forbidden(request, "a mirror pod may not reference secrets"));
    }
    let volumes: Vec<Volume> = pod.get_at(&["spec", "volumes"]).unwrap_or_default();
    let mut sources = volumes.iter().filter_map(|v| v.projected.as_ref()?.sources.as_ref()).flatten();
    if sources.any(|s| s.service_account_token.is_some()) {
        return Err(forbidden(request, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        is(kind, &resources::PODS)
            && matches!(
                (operation, subresource),
                (Operation::Create, "") | (Operation::Update, "ephemeralcontainers")
            )
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        if request.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        if is_mirror(pod) {
            return check_mirror(request, pod);
        }
        let name = match account_name(pod) {
            "" => "default".to_owned(),
            name => name.to_owned(),
        };
        let account = self.account(request, &name).await?;
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        pod.set_at(&["spec", "serviceAccountName"], &name);
        // The old name of the field is always the same as the new one's value.
        pod.set_at(&["spec", "serviceAccount"], &name);
        let own = pod.get_at::<bool>(&["spec", "automountServiceAccountToken"]);
        if own.or(account.automount_service_account_token).unwrap_or(true) {
            mount_token(pod);
        }
        let pulls: Vec<LocalObjectReference> = pod.get_at(&["spec", "imagePullSecrets"]).unwrap_or_default();
        if let (true, Some(secrets)) =
            (pulls.is_empty(), account.image_pull_secrets.filter(|s| !s.is_empty()))
        {
            pod.set_at(&["spec", "imagePullSecrets"], secrets);
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        if request.operation == Operation::Create && is_mirror(pod) {
            return check_mirror(request, pod);
        }
        let name = account_name(pod);
        if name.is_empty() {
            let why = format!("no service account specified for pod {}/{}", request.namespace, pod.name());
            return Err(forbidden(request, why));
        }
        let account = self.account(request, name).await?;
        if !enforces(&account) {
            return Ok(());
        }
        if request.operation == Operation::Create {
            return foreign_reference(&account, pod).map_or(Ok(()), |why| Err(forbidden(request, why)));
        }
        let own = account.metadata.name.as_deref().unwrap_or_default();
        let added: Vec<EphemeralContainer> = pod.get_at(&["spec", "ephemeralContainers"]).unwrap_or_default();
        for container in added {
            let container = Container {
                name: container.name,
                env: container.env,
                env_from: container.env_from,
                ..Container::default()
            };
            if let Some(why) = foreign_secret("ephemeral container", &container, &mountable(&account), own) {
                return Err(forbidden(request, why));
            }
        }
        Ok(())
    }
}
