//! A pod as the runtime shows it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;

/// Where a container is in its life. `Unknown` is a state of its own: it may or may not be running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunState {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Unknown => "unknown",
        }
    }
}

/// One instance of a container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSeen {
    /// The runtime's bare ID.
    pub id: String,
    pub sandbox: String,
    pub name: String,
    pub state: RunState,
    pub restart_count: i32,
    pub created: Timestamp,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub exit_code: i32,
    pub reason: String,
    pub message: String,
    /// The image as users know it, and as the runtime pins it.
    pub image: String,
    pub image_ref: String,
    /// The definition hash it was made from; absent on foreign containers.
    pub hash: Option<u32>,
    /// First process user, group and supplementary groups, where the runtime tells.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

impl ContainerSeen {
    pub fn running(&self) -> bool {
        self.state == RunState::Running
    }

    pub fn failed(&self) -> bool {
        match self.state {
            RunState::Exited => self.exit_code != 0,
            RunState::Unknown => true,
            _ => false,
        }
    }
}

/// One sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxSeen {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created: Timestamp,
    /// Empty for host network pods, and while the network is not set up.
    pub ips: Vec<String>,
    pub host_network: bool,
}

/// Everything the runtime has of one pod; both lists newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSeen {
    pub sandboxes: Vec<SandboxSeen>,
    pub containers: Vec<ContainerSeen>,
}

impl PodSeen {
    /// The newest instance of a container.
    pub fn container(&self, name: &str) -> Option<&ContainerSeen> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// Addresses of the newest sandbox, if it is ready.
    pub fn ips(&self) -> &[String] {
        self.sandboxes.first().filter(|s| s.ready).map(|s| s.ips.as_slice()).unwrap_or_default()
    }

    pub fn any_running(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.state, RunState::Running | RunState::Unknown))
    }

    /// Nothing of the pod runs and no sandbox is up.
    pub fn stopped(&self) -> bool {
        !self.any_running() && !self.sandboxes.iter().any(|s| s.ready)
    }
}

/// The definition hash upstream records on containers: FNV-1a over a printed form of the name and image.
pub fn definition_hash(container: &Container) -> u32 {
    let image = container.image.as_deref().unwrap_or_default();
    let json = go_json(&[("image", image), ("name", &container.name)]);
    let mut text = String::from("([]uint8)[");
    for (i, byte) in json.bytes().enumerate() {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(&byte.to_string());
    }
    text.push(']');
    text.bytes().fold(0x811c_9dc5, |h: u32, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn go_json(fields: &[(&str, &str)]) -> String {
    // Strings always serialize; Go's encoder escapes three characters more than serde's.
    let text = |s: &str| serde_json::to_string(s).unwrap_or_default();
    let body: Vec<String> = fields.iter().map(|(k, v)| format!("{}:{}", text(k), text(v))).collect();
    format!("{{{}}}", body.join(",")).replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_upstreams() {
        let c = Container {
            name: "test_container".into(),
            image: Some("foo/image:v1".into()),
            ..Default::default()
        };
        assert_eq!(definition_hash(&c), 0x8e45_cbd0);
    }
}
