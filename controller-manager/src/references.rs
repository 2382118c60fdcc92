//! Which ConfigMaps and Secrets a pod names, all in its own namespace.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, Volume};
use std::collections::BTreeSet;

/// Names found in a pod's spec.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References<'a> {
    /// What containers see as environment or files.
    pub config_maps: BTreeSet<&'a str>,
    pub secrets: BTreeSet<&'a str>,
    /// What only the node uses: to pull images, to reach volumes.
    pub credentials: BTreeSet<&'a str>,
}

/// Everything a pod of this spec refers to.
pub fn of(spec: &PodSpec) -> References<'_> {
    let mut out = References::default();
    out.credentials.extend(spec.image_pull_secrets.iter().flatten().map(|r| r.name.as_str()));
    for c in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        out.environment(c.env.as_deref(), c.env_from.as_deref());
    }
    for c in spec.ephemeral_containers.iter().flatten() {
        out.environment(c.env.as_deref(), c.env_from.as_deref());
    }
    spec.volumes.iter().flatten().for_each(|v| out.volume(v));
    for names in [&mut out.config_maps, &mut out.secrets, &mut out.credentials] {
        names.remove("");
    }
    out
}

impl<'a> References<'a> {
    /// Every secret, whoever uses it.
    pub fn all_secrets(&self) -> impl Iterator<Item = &'a str> {
        self.secrets.union(&self.credentials).copied()
    }

    fn environment(&mut self, env: Option<&'a [EnvVar]>, from: Option<&'a [EnvFromSource]>) {
        for source in env.unwrap_or_default().iter().filter_map(|e| e.value_from.as_ref()) {
            self.secrets.extend(source.secret_key_ref.iter().map(|r| r.name.as_str()));
            self.config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.as_str()));
        }
        for source in from.unwrap_or_default() {
            self.secrets.extend(source.secret_ref.iter().map(|r| r.name.as_str()));
            self.config_maps.extend(source.config_map_ref.iter().map(|r| r.name.as_str()));
        }
    }

    fn volume(&mut self, v: &'a Volume) {
        self.secrets.extend(v.secret.iter().filter_map(|s| s.secret_name.as_deref()));
        self.config_maps.extend(v.config_map.iter().map(|c| c.name.as_str()));
        for source in v.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            self.secrets.extend(source.secret.iter().map(|s| s.name.as_str()));
            self.config_maps.extend(source.config_map.iter().map(|c| c.name.as_str()));
        }
        self.credentials.extend(v.azure_file.iter().map(|s| s.secret_name.as_str()));
        let plugins = [
            v.cephfs.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.cinder.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.flex_volume.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.rbd.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.scale_io.as_ref().map(|s| &s.secret_ref),
            v.iscsi.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.storageos.as_ref().and_then(|s| s.secret_ref.as_ref()),
            v.csi.as_ref().and_then(|s| s.node_publish_secret_ref.as_ref()),
        ];
        self.credentials.extend(plugins.into_iter().flatten().map(|r| r.name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_looked_at() {
        let spec: PodSpec = serde_json::from_str(
            r#"{"imagePullSecrets":[{"name":"pull"},{}],
                "initContainers":[{"name":"i","envFrom":[{"secretRef":{"name":"s-from"}},{"configMapRef":{"name":"c-from"}}]}],
                "containers":[{"name":"c","env":[
                    {"name":"A","valueFrom":{"secretKeyRef":{"name":"s-key","key":"k"}}},
                    {"name":"B","valueFrom":{"configMapKeyRef":{"name":"c-key","key":"k"}}},
                    {"name":"C","value":"x"}]}],
                "ephemeralContainers":[{"name":"e","envFrom":[{"secretRef":{"name":"s-late"}}]}],
                "volumes":[
                    {"name":"1","secret":{"secretName":"s-volume"}},
                    {"name":"2","configMap":{"name":"c-volume"}},
                    {"name":"3","projected":{"sources":[{"secret":{"name":"s-part"}},{"configMap":{"name":"c-part"}}]}},
                    {"name":"4","csi":{"driver":"d","nodePublishSecretRef":{"name":"csi"}}},
                    {"name":"5","azureFile":{"secretName":"azure","shareName":"s"}},
                    {"name":"6","scaleIO":{"gateway":"g","system":"s","secretRef":{"name":"scale"}}},
                    {"name":"7","emptyDir":{}}]}"#,
        )
        .unwrap();
        let found = of(&spec);
        let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(" ");
        assert_eq!(list(&found.config_maps), "c-from c-key c-part c-volume");
        assert_eq!(list(&found.secrets), "s-from s-key s-late s-part s-volume");
        assert_eq!(list(&found.credentials), "azure csi pull scale");
        assert_eq!(found.all_secrets().count(), 9);
    }
}
