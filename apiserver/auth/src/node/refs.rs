//! What a pod and a volume refer to, read from their bodies without the rest.

use serde::Deserialize;

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretName {
    #[serde(default)]
    secret_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretRef {
    secret_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyRefs {
    secret_key_ref: Option<Named>,
    config_map_key_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Env {
    value_from: Option<KeyRefs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvFrom {
    secret_ref: Option<Named>,
    config_map_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    env: Option<Vec<Env>>,
    #[serde(default)]
    env_from: Option<Vec<EnvFrom>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    secret: Option<Named>,
    config_map: Option<Named>,
}

#[derive(Deserialize)]
struct Projected {
    #[serde(default)]
    sources: Option<Vec<Source>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PvcSource {
    #[serde(default)]
    claim_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CsiSource {
    node_publish_secret_ref: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    #[serde(default)]
    name: String,
    secret: Option<SecretName>,
    config_map: Option<Named>,
    projected: Option<Projected>,
    persistent_volume_claim: Option<PvcSource>,
    ephemeral: Option<serde::de::IgnoredAny>,
    azure_file: Option<SecretName>,
    cephfs: Option<SecretRef>,
    cinder: Option<SecretRef>,
    flex_volume: Option<SecretRef>,
    rbd: Option<SecretRef>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<SecretRef>,
    iscsi: Option<SecretRef>,
    storageos: Option<SecretRef>,
    csi: Option<CsiSource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimEntry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_claim_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
    #[serde(default)]
    service_account_name: String,
    #[serde(default)]
    image_pull_secrets: Option<Vec<Named>>,
    #[serde(default)]
    containers: Option<Vec<Container>>,
    #[serde(default)]
    init_containers: Option<Vec<Container>>,
    #[serde(default)]
    ephemeral_containers: Option<Vec<Container>>,
    #[serde(default)]
    volumes: Option<Vec<Volume>>,
    #[serde(default)]
    resource_claims: Option<Vec<ClaimEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStatus {
    #[serde(default)]
    resource_claim_statuses: Option<Vec<ClaimEntry>>,
    #[serde(default)]
    extended_resource_claim_status: Option<ClaimEntry>,
}

#[derive(Default, Deserialize)]
struct PodMeta {
    #[serde(default)]
    name: String,
    #[serde(default)]
    annotations: Option<std::collections::HashMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: PodMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: PodStatus,
}

/// The names a pod's kubelet needs, all in the pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRefs {
    pub node: String,
    pub service_accounts: Vec<String>,
    pub secrets: Vec<String>,
    pub config_maps: Vec<String>,
    pub claims: Vec<String>,
    pub resource_claims: Vec<String>,
}

impl PodRefs {
    /// Reads what a pod's kubelet may reach from its body: nothing, for a mirror pod, which the kubelet makes
    /// itself.
    ///
    /// # Errors
    /// Where it is not a pod.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let pod: Pod = serde_json::from_slice(body)?;
        let annotations = pod.metadata.annotations.as_ref();
        if annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")) {
            return Ok(Self { node: pod.spec.node_name, ..Self::default() });
        }
        Ok(Self::collected(pod))
    }

    /// Reads everything a pod names, mirror pod or not.
    ///
    /// # Errors
    /// Where it is not a pod.
    pub fn named(body: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self::collected(serde_json::from_slice(body)?))
    }

    fn collected(pod: Pod) -> Self {
        let mut refs = Self { node: pod.spec.node_name.clone(), ..Self::default() };
        refs.collect(pod);
        for names in [
            &mut refs.service_accounts,
            &mut refs.secrets,
            &mut refs.config_maps,
            &mut refs.claims,
            &mut refs.resource_claims,
        ] {
            names.retain(|name| !name.is_empty());
            names.sort_unstable();
            names.dedup();
        }
        refs
    }

    fn collect(&mut self, pod: Pod) {
        let spec = pod.spec;
        self.service_accounts.push(spec.service_account_name);
        self.secrets.extend(spec.image_pull_secrets.into_iter().flatten().map(|s| s.name));
        let containers = [spec.containers, spec.init_containers, spec.ephemeral_containers];
        for container in containers.into_iter().flatten().flatten() {
            for from in container.env_from.into_iter().flatten() {
                self.secrets.extend(from.secret_ref.map(|r| r.name));
                self.config_maps.extend(from.config_map_ref.map(|r| r.name));
            }
            for from in container.env.into_iter().flatten().filter_map(|env| env.value_from) {
                self.secrets.extend(from.secret_key_ref.map(|r| r.name));
                self.config_maps.extend(from.config_map_key_ref.map(|r| r.name));
            }
        }
        for volume in spec.volumes.into_iter().flatten() {
            if volume.ephemeral.is_some() {
                self.claims.push(format!("{}-{}", pod.metadata.name, volume.name));
            }
            self.claims.extend(volume.persistent_volume_claim.map(|c| c.claim_name));
            self.config_maps.extend(volume.config_map.map(|c| c.name));
            for source in volume.projected.and_then(|p| p.sources).into_iter().flatten() {
                self.secrets.extend(source.secret.map(|r| r.name));
                self.config_maps.extend(source.config_map.map(|r| r.name));
            }
            self.secrets
                .extend([volume.secret, volume.azure_file].into_iter().flatten().map(|s| s.secret_name));
            let by_reference = [
                volume.cephfs,
                volume.cinder,
                volume.flex_volume,
                volume.rbd,
                volume.scale_io,
                volume.iscsi,
                volume.storageos,
            ];
            self.secrets
                .extend(by_reference.into_iter().flatten().filter_map(|s| s.secret_ref).map(|r| r.name));
            self.secrets.extend(volume.csi.and_then(|c| c.node_publish_secret_ref).map(|r| r.name));
        }
        let statuses = pod.status.resource_claim_statuses.unwrap_or_default();
        for claim in spec.resource_claims.into_iter().flatten() {
            let made =
                statuses.iter().find(|s| s.name == claim.name).and_then(|s| s.resource_claim_name.clone());
            self.resource_claims.extend(claim.resource_claim_name.or(made));
        }
        let extended = pod.status.extended_resource_claim_status.and_then(|s| s.resource_claim_name);
        self.resource_claims.extend(extended);
    }
}

#[derive(Default, Deserialize)]
struct FarSecret {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeSource {
    secret_ref: Option<FarSecret>,
    #[serde(default)]
    secret_name: Option<String>,
    #[serde(default)]
    secret_namespace: Option<String>,
    node_publish_secret_ref: Option<FarSecret>,
    node_stage_secret_ref: Option<FarSecret>,
    node_expand_secret_ref: Option<FarSecret>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeSpec {
    claim_ref: Option<FarSecret>,
    azure_file: Option<VolumeSource>,
    cephfs: Option<VolumeSource>,
    cinder: Option<VolumeSource>,
    flex_volume: Option<VolumeSource>,
    rbd: Option<VolumeSource>,
    #[serde(rename = "scaleIO")]
    scale_io: Option<VolumeSource>,
    iscsi: Option<VolumeSource>,
    storageos: Option<VolumeSource>,
    csi: Option<VolumeSource>,
    #[serde(default)]
    node_name: String,
}

#[derive(Default, Deserialize)]
pub(super) struct VolumeHead {
    #[serde(default)]
    spec: VolumeSpec,
}

/// A namespace and a name.
pub(super) type Far = (String, String);

impl VolumeHead {
    /// The claim the volume is bound to.
    pub fn claim(&self) -> Option<Far> {
        self.spec.claim_ref.as_ref().map(|c| (c.namespace.clone(), c.name.clone()))
    }

    /// The node of an attachment, slice or certificate request, whose spec names it the same way.
    pub fn node(&self) -> &str {
        &self.spec.node_name
    }

    /// The secrets a kubelet needs to mount the volume.
    pub fn secrets(&self) -> Vec<Far> {
        let spec = &self.spec;
        let here = self.claim().map(|(namespace, _)| namespace).unwrap_or_default();
        let sources = [
            &spec.azure_file,
            &spec.cephfs,
            &spec.cinder,
            &spec.flex_volume,
            &spec.rbd,
            &spec.scale_io,
            &spec.iscsi,
            &spec.storageos,
            &spec.csi,
        ];
        let mut out = Vec::new();
        for source in sources.into_iter().flatten() {
            let references = [
                &source.secret_ref,
                &source.node_publish_secret_ref,
                &source.node_stage_secret_ref,
                &source.node_expand_secret_ref,
            ];
            for reference in references.into_iter().flatten().filter(|r| !r.name.is_empty()) {
                let namespace = if reference.namespace.is_empty() { &here } else { &reference.namespace };
                out.push((namespace.clone(), reference.name.clone()));
            }
            if let Some(name) = source.secret_name.as_ref().filter(|name| !name.is_empty()) {
                let namespace = source.secret_namespace.as_ref().filter(|n| !n.is_empty()).unwrap_or(&here);
                out.push((namespace.clone(), name.clone()));
            }
        }
        out
    }
}
