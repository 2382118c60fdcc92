//! The summary's form (`stats/v1alpha1`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

/// Declares structures whose fields are left out where they are unknown.
macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident { $($(#[$meta:meta])* $field:ident: $ty:ty,)* })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$ty>,)*
        })*
    };
}

stats! {
    /// Nanoseconds of CPU time, and nanocores of it lately.
    Cpu { time: Time, usage_nano_cores: u64, usage_core_nano_seconds: u64, }
    Memory {
        time: Time,
        available_bytes: u64,
        usage_bytes: u64,
        working_set_bytes: u64,
        rss_bytes: u64,
        page_faults: u64,
        major_page_faults: u64,
    }
    Filesystem {
        time: Time,
        available_bytes: u64,
        capacity_bytes: u64,
        used_bytes: u64,
        inodes_free: u64,
        inodes: u64,
        inodes_used: u64,
    }
    Swap { time: Time, swap_available_bytes: u64, swap_usage_bytes: u64, }
    Rlimit { time: Time, maxpid: i64, curproc: i64, }
    Runtime { image_fs: Filesystem, container_fs: Filesystem, }
    Interface { name: String, rx_bytes: u64, rx_errors: u64, tx_bytes: u64, tx_errors: u64, }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The one the default route goes by.
    #[serde(flatten)]
    pub main: Interface,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub node_name: String,
    pub start_time: Option<Time>,
    pub cpu: Cpu,
    pub memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(skip_serializing_if = "is_unknown")]
    pub fs: Filesystem,
    #[serde(skip_serializing_if = "is_unknown")]
    pub runtime: Runtime,
    #[serde(skip_serializing_if = "is_unknown")]
    pub rlimit: Rlimit,
    pub swap: Swap,
}

/// Whether nothing was gathered.
fn is_unknown<T: Default + PartialEq>(part: &T) -> bool {
    *part == T::default()
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    pub start_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<Filesystem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Filesystem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
    /// For the other pages; not part of the summary.
    #[serde(skip)]
    pub id: String,
    #[serde(skip)]
    pub image: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PodRef {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Processes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_count: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    pub pod_ref: PodRef,
    pub start_time: Option<Time>,
    pub containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<Filesystem>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    pub process_stats: Option<Processes>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub node: Node,
    pub pods: Vec<Pod>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let check = |got: String, want: &str| assert_eq!(got, want);
        let cpu = Cpu { time: None, usage_nano_cores: Some(1), usage_core_nano_seconds: Some(2) };
        check(serde_json::to_string(&cpu).unwrap(), r#"{"usageNanoCores":1,"usageCoreNanoSeconds":2}"#);
        let network = Network {
            main: Interface { name: Some("eth0".into()), rx_bytes: Some(3), ..Interface::default() },
            ..Network::default()
        };
        check(serde_json::to_string(&network).unwrap(), r#"{"name":"eth0","rxBytes":3}"#);
        let node = Node {
            node_name: "n".into(),
            rlimit: Rlimit { maxpid: Some(9), ..Rlimit::default() },
            ..Node::default()
        };
        check(
            serde_json::to_string(&node).unwrap(),
            r#"{"nodeName":"n","startTime":null,"cpu":{},"memory":{},"rlimit":{"maxpid":9},"swap":{}}"#,
        );
        let pod = Pod {
            ephemeral_storage: Some(Filesystem::default()),
            process_stats: Some(Processes { process_count: Some(4) }),
            ..Pod::default()
        };
        check(
            serde_json::to_string(&pod).unwrap(),
            r#"{"podRef":{"name":"","namespace":"","uid":""},"startTime":null,"containers":[],"ephemeral-storage":{},"process_stats":{"process_count":4}}"#,
        );
    }
}
