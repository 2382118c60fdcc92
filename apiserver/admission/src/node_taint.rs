//! `TaintNodesByCondition`: a new node is not ready until someone says so.

use crate::{is, resources};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::StatusResult;
use gantry_types::scheme::Kind;
use k8s_openapi::api::core::v1::Taint;

pub struct TaintNodesByCondition;

impl TaintNodesByCondition {
    pub const NAME: &str = "TaintNodesByCondition";
}

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && is(kind, &resources::NODES)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let Some(node) = request.object.as_deref_mut() else { return Ok(()) };
        let mut taints: Vec<Taint> = node.get_at(&["spec", "taints"]).unwrap_or_default();
        let key = "node.kubernetes.io/not-ready";
        if !taints.iter().any(|t| t.key == key && t.effect == "NoSchedule") {
            taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
            node.set_at(&["spec", "taints"], taints);
        }
        Ok(())
    }
}
