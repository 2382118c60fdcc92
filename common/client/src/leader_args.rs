//! The leader election flags of every control plane daemon.

use crate::leader::LeaderConfig;
use clap::{ArgAction, Args};
use gantry_types::time::Duration as GoDuration;
use std::time::Duration;

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<GoDuration>().map(GoDuration::to_std).map_err(|e| e.to_string())
}

/// `--leader-elect` and its times.
#[derive(Args, Clone, Debug)]
pub struct LeaderArgs {
    /// Start a leader election client and gain leadership before executing the main loop.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub leader_elect: bool,
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// The daemon's own name where absent.
    #[arg(long)]
    pub leader_elect_resource_name: Option<String>,
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

impl LeaderArgs {
    /// What the flags mean for the daemon of this name; `None` without election.
    ///
    /// # Errors
    /// Upstream's words for times that cannot work together.
    pub fn resolve(&self, name: &str) -> Result<Option<LeaderConfig>, String> {
        if !self.leader_elect {
            return Ok(None);
        }
        let name = self.leader_elect_resource_name.as_deref().unwrap_or(name);
        let config = LeaderConfig {
            namespace: self.leader_elect_resource_namespace.clone(),
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..LeaderConfig::new(name)
        };
        config.validate()?;
        Ok(Some(config))
    }
}
