//! `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1) as the file has it.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Declares the structure: fields used, and fields accepted for compatibility that change nothing here.
macro_rules! settings {
    ($($(#[$meta:meta])? $used:ident: $ty:ty,)* ; $($ignored:ident)*) => {
        /// Every field is optional; defaults come with the resolved configuration.
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        #[allow(non_snake_case)]
        pub struct Settings {
            api_version: String,
            kind: String,
            $($(#[$meta])? pub $used: Option<$ty>,)*
            $($ignored: Option<IgnoredAny>,)*
        }
    };
}

settings! {
    static_pod_path: PathBuf,
    pod_logs_dir: PathBuf,
    sync_frequency: String,
    file_check_frequency: String,
    address: String,
    port: i32,
    tls_cert_file: PathBuf,
    tls_private_key_file: PathBuf,
    rotate_certificates: bool,
    #[serde(rename = "serverTLSBootstrap")]
    server_tls_bootstrap: bool,
    authentication: Authentication,
    authorization: Authorization,
    enable_debugging_handlers: bool,
    healthz_port: i32,
    healthz_bind_address: String,
    cluster_domain: String,
    node_status_update_frequency: String,
    node_status_report_frequency: String,
    node_lease_duration_seconds: i32,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high_threshold_percent: i64,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low_threshold_percent: i64,
    cgroup_root: String,
    #[serde(rename = "cgroupsPerQOS")]
    cgroups_per_qos: bool,
    cgroup_driver: String,
    runtime_request_timeout: String,
    max_pods: i64,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    pod_pids_limit: i64,
    resolv_conf: PathBuf,
    serialize_image_pulls: bool,
    max_parallel_image_pulls: usize,
    eviction_hard: BTreeMap<String, String>,
    fail_swap_on: bool,
    container_log_max_size: String,
    container_log_max_files: usize,
    system_reserved: BTreeMap<String, String>,
    kube_reserved: BTreeMap<String, String>,
    allowed_unsafe_sysctls: Vec<String>,
    #[serde(rename = "providerID")]
    provider_id: String,
    seccomp_default: bool,
    register_with_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    register_node: bool,
    container_runtime_endpoint: String,
    #[serde(rename = "clusterDNS")]
    cluster_dns: Vec<String>,
    #[serde(rename = "cpuCFSQuota")]
    cpu_cfs_quota: bool,
    ;
    enableServer httpCheckFrequency staticPodURL staticPodURLHeader readOnlyPort tlsCipherSuites
    tlsCurvePreferences tlsMinVersion registryPullQPS registryBurst
    imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist eventRecordQPS eventBurst
    enableContentionProfiling oomScoreAdj streamingConnectionIdleTimeout imageMinimumGCAge imageMaximumGCAge
    volumeStatsAggPeriod kubeletCgroups systemCgroups cpuManagerPolicy singleProcessOOMKill
    cpuManagerPolicyOptions cpuManagerReconcilePeriod memoryManagerPolicy topologyManagerPolicy
    topologyManagerScope topologyManagerPolicyOptions qosReserved hairpinMode runOnce cpuCFSQuotaPeriod
    nodeStatusMaxImages maxOpenFiles contentType kubeAPIQPS kubeAPIBurst evictionSoft
    evictionSoftGracePeriod evictionPressureTransitionPeriod evictionMaxPodGracePeriod evictionMinimumReclaim
    mergeDefaultEvictionSettings podsPerCore enableControllerAttachDetach protectKernelDefaults
    makeIPTablesUtilChains iptablesMasqueradeBit iptablesDropBit featureGates memorySwap
    containerLogMaxWorkers containerLogMonitorInterval configMapAndSecretChangeDetectionStrategy
    reservedSystemCPUs showHiddenMetricsForVersion systemReservedCgroup kubeReservedCgroup
    enforceNodeAllocatable volumePluginDir kernelMemcgNotification logging enableSystemLogHandler
    enableSystemLogQuery shutdownGracePeriod shutdownGracePeriodCriticalPods shutdownGracePeriodByPodPriority
    crashLoopBackOff reservedMemory enableProfilingHandler enableDebugFlagsHandler memoryThrottlingFactor
    memoryReservationPolicy tracing localStorageCapacityIsolation imageServiceEndpoint failCgroupV1
    userNamespaces
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authentication {
    pub x509: X509,
    pub webhook: Webhook,
    pub anonymous: Anonymous,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct X509 {
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Webhook {
    pub enabled: Option<bool>,
    #[serde(rename = "cacheTTL")]
    pub cache_ttl: Option<String>,
    #[serde(rename = "cacheAuthorizedTTL")]
    pub cache_authorized_ttl: Option<String>,
    #[serde(rename = "cacheUnauthorizedTTL")]
    pub cache_unauthorized_ttl: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Anonymous {
    pub enabled: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorization {
    pub mode: Option<String>,
    pub webhook: Webhook,
}
