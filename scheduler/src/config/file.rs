//! `kubescheduler.config.k8s.io/v1`, as it is written.

use gantry_scheduler_plugins::args::{
    DefaultPreemptionArgs, InterPodAffinityArgs, NodeAffinityArgs, NodeResourcesBalancedAllocationArgs,
    NodeResourcesFitArgs, PodTopologySpreadArgs, VolumeBindingArgs,
};
use gantry_types::Document;
use gantry_types::time::Duration as GoDuration;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Period(Duration);

impl From<Period> for Duration {
    fn from(p: Period) -> Self {
        p.0
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<GoDuration>().map(|d| Self(d.to_std())).map_err(D::Error::custom)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct File {
    #[serde(rename = "apiVersion")]
    pub _api_version: String,
    #[serde(rename = "kind")]
    pub _kind: String,
    pub client_connection: ClientConnection,
    pub leader_election: LeaderElection,
    pub parallelism: Option<i32>,
    pub profiles: Vec<FileProfile>,
    pub percentage_of_nodes_to_score: Option<i32>,
    pub pod_initial_backoff_seconds: Option<i64>,
    pub pod_max_backoff_seconds: Option<i64>,
    pub extenders: Vec<Extender>,
    #[serde(rename = "enableProfiling")]
    pub _enable_profiling: Option<bool>,
    #[serde(rename = "enableContentionProfiling")]
    pub _enable_contention_profiling: Option<bool>,
    #[serde(rename = "delayCacheUntilActive")]
    pub _delay_cache_until_active: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientConnection {
    pub kubeconfig: String,
    #[serde(rename = "acceptContentTypes")]
    pub _accept_content_types: String,
    #[serde(rename = "contentType")]
    pub _content_type: String,
    /// Accepted, and not acted on: the client has no throttle of its own.
    #[serde(rename = "qps")]
    pub _qps: f32,
    pub burst: i32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElection {
    pub leader_elect: Option<bool>,
    pub lease_duration: Option<Period>,
    pub renew_deadline: Option<Period>,
    pub retry_period: Option<Period>,
    pub resource_lock: Option<String>,
    pub resource_name: Option<String>,
    pub resource_namespace: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FileProfile {
    pub scheduler_name: Option<String>,
    pub percentage_of_nodes_to_score: Option<i32>,
    pub plugins: Plugins,
    pub plugin_config: Vec<PluginConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Plugins {
    pub pre_enqueue: PluginSet,
    pub queue_sort: PluginSet,
    pub pre_filter: PluginSet,
    pub filter: PluginSet,
    pub post_filter: PluginSet,
    pub pre_score: PluginSet,
    pub score: PluginSet,
    pub reserve: PluginSet,
    pub permit: PluginSet,
    pub pre_bind: PluginSet,
    pub bind: PluginSet,
    pub post_bind: PluginSet,
    pub multi_point: PluginSet,
    pub placement_generate: PluginSet,
    pub placement_score: PluginSet,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PluginSet {
    pub enabled: Vec<PluginRef>,
    pub disabled: Vec<PluginRef>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PluginRef {
    pub name: String,
    pub weight: Option<i32>,
}

/// The arguments of one plugin, of the kind its name asks for.
#[derive(Clone, Debug)]
pub struct PluginConfig {
    pub name: String,
    pub args: PluginArgs,
}

#[derive(Clone, Debug)]
pub enum PluginArgs {
    DefaultPreemption(DefaultPreemptionArgs),
    InterPodAffinity(InterPodAffinityArgs),
    NodeAffinity(NodeAffinityArgs),
    BalancedAllocation(NodeResourcesBalancedAllocationArgs),
    NodeResourcesFit(NodeResourcesFitArgs),
    PodTopologySpread(PodTopologySpreadArgs),
    VolumeBinding(VolumeBindingArgs),
    /// None given, or for a plugin that has none.
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loose {
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Option<RawExtension>,
}

fn read<T: DeserializeOwned, E: Error>(name: &str, args: &Document) -> Result<T, E> {
    args.to_typed().map_err(|e| {
        let words = e.to_string();
        let field = words.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
        match field {
            Some((field, _)) => E::custom(format!("unknown field `{field}`")),
            None => E::custom(format!("decoding .profiles.pluginConfig args for plugin {name}: {words}")),
        }
    })
}

impl<'de> Deserialize<'de> for PluginConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Loose { name, args } = Loose::deserialize(deserializer)?;
        let Some(args) = args else { return Ok(Self { name, args: PluginArgs::None }) };
        let mut args = Document::from_typed(&args).map_err(D::Error::custom)?;
        let (kind, wanted) = (args.kind().to_owned(), format!("{name}Args"));
        if !kind.is_empty() && kind != wanted {
            let group = args.api_version().split('/').next().unwrap_or_default().to_owned();
            return Err(D::Error::custom(format!(
                "args for plugin {name} were not of type {wanted}.kubescheduler.config.k8s.io, got {kind}.{group}"
            )));
        }
        args.remove_at(&["kind"]);
        args.remove_at(&["apiVersion"]);
        let args = match name.as_str() {
            "DefaultPreemption" => PluginArgs::DefaultPreemption(read(&name, &args)?),
            "InterPodAffinity" => PluginArgs::InterPodAffinity(read(&name, &args)?),
            "NodeAffinity" => PluginArgs::NodeAffinity(read(&name, &args)?),
            "NodeResourcesBalancedAllocation" => PluginArgs::BalancedAllocation(read(&name, &args)?),
            "NodeResourcesFit" => PluginArgs::NodeResourcesFit(read(&name, &args)?),
            "PodTopologySpread" => PluginArgs::PodTopologySpread(read(&name, &args)?),
            "VolumeBinding" => PluginArgs::VolumeBinding(read(&name, &args)?),
            _ => PluginArgs::None,
        };
        Ok(Self { name, args })
    }
}

/// An HTTP extender.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extender {
    pub url_prefix: String,
    #[serde(default)]
    pub filter_verb: String,
    #[serde(default)]
    pub preempt_verb: String,
    #[serde(default)]
    pub prioritize_verb: String,
    #[serde(default)]
    pub weight: i64,
    #[serde(default)]
    pub bind_verb: String,
    #[serde(rename = "enableHTTPS", default)]
    pub enable_https: bool,
    #[serde(default)]
    pub tls_config: Option<ExtenderTls>,
    #[serde(rename = "httpTimeout", default)]
    pub http_timeout: Option<Period>,
    #[serde(default)]
    pub node_cache_capable: bool,
    #[serde(default)]
    pub managed_resources: Vec<ManagedResource>,
    #[serde(default)]
    pub ignorable: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManagedResource {
    pub name: String,
    #[serde(default)]
    pub ignored_by_scheduler: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtenderTls {
    pub insecure: bool,
    pub server_name: String,
    pub cert_file: String,
    pub key_file: String,
    pub ca_file: String,
    /// Base64.
    pub cert_data: String,
    pub key_data: String,
    pub ca_data: String,
}
