//! `DefaultTolerationSeconds`: pods bear a node's failure for a while before they are evicted.

use crate::{is, resources};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::StatusResult;
use gantry_types::scheme::Kind;
use k8s_openapi::api::core::v1::Toleration;

pub struct DefaultTolerationSeconds {
    /// Taint key and seconds.
    defaults: [(&'static str, i64); 2],
}

impl DefaultTolerationSeconds {
    pub const NAME: &str = "DefaultTolerationSeconds";

    pub fn new(not_ready_seconds: i64, unreachable_seconds: i64) -> Self {
        let defaults = [
            ("node.kubernetes.io/not-ready", not_ready_seconds),
            ("node.kubernetes.io/unreachable", unreachable_seconds),
        ];
        Self { defaults }
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && is(kind, &resources::PODS)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        let mut tolerations: Vec<Toleration> = pod.get_at(&["spec", "tolerations"]).unwrap_or_default();
        let given = tolerations.len();
        for (key, seconds) in self.defaults {
            let any_or = |field: &Option<String>, wanted: &str| {
                field.as_deref().is_none_or(|value| value.is_empty() || value == wanted)
            };
            let tolerated = |t: &Toleration| any_or(&t.key, key) && any_or(&t.effect, "NoExecute");
            if !tolerations[..given].iter().any(tolerated) {
                tolerations.push(Toleration {
                    key: Some(key.to_owned()),
                    operator: Some("Exists".to_owned()),
                    effect: Some("NoExecute".to_owned()),
                    toleration_seconds: Some(seconds),
                    value: None,
                });
            }
        }
        if tolerations.len() > given {
            pod.set_at(&["spec", "tolerations"], tolerations);
        }
        Ok(())
    }
}
