//! `NamespaceLifecycle`: nothing is made in a namespace that is missing or going.

use crate::{forbidden, resources};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Status, StatusResult};
use std::sync::Arc;
use std::time::Duration;

/// Namespaces the cluster itself lives in.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// How long a namespace made a moment ago may take to be seen.
const MISSING_WAIT: Duration = Duration::from_millis(50);

pub struct NamespaceLifecycle {
    reader: Arc<dyn ObjectReader>,
}

impl NamespaceLifecycle {
    pub const NAME: &str = "NamespaceLifecycle";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }
}

#[derive(Default, serde::Deserialize)]
struct Phase {
    #[serde(default)]
    status: PhaseStatus,
}

#[derive(Default, serde::Deserialize)]
struct PhaseStatus {
    #[serde(default)]
    phase: String,
}

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, _subresource: &str, operation: Operation) -> bool {
        let namespace = kind.group.is_empty() && kind.kind == "Namespace";
        match operation {
            Operation::Delete => namespace,
            Operation::Create | Operation::Update => {
                // Access reviews answer for namespaces that are not there, and tell nobody which are.
                kind.namespaced()
                    && !(kind.group == "authorization.k8s.io" && kind.plural == "localsubjectaccessreviews")
            }
            Operation::Connect => false,
        }
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        if request.operation == Operation::Delete {
            if IMMORTAL.contains(&request.name) {
                let resource = request.kind.group_resource();
                return Err(Status::forbidden(&resource, request.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        if request.namespace.is_empty() {
            return Ok(());
        }
        let find = || self.reader.get(&resources::NAMESPACES, "", request.namespace);
        let mut namespace = find();
        if namespace.is_none() && request.operation == Operation::Create {
            tokio::time::sleep(MISSING_WAIT).await;
            namespace = find();
        }
        let Some(namespace) = namespace else {
            return Err(Status::not_found(&resources::NAMESPACES, request.namespace));
        };
        if request.operation != Operation::Create {
            return Ok(());
        }
        // The phase follows the deletion mark in the same write; either is enough.
        let phase: Phase = crate::typed(&namespace)?;
        if !namespace.meta().deleting && phase.status.phase != "Terminating" {
            return Ok(());
        }
        let name = request.namespace;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let message = format!("namespace {name} is being terminated");
        Err(forbidden(request, why).add_cause("NamespaceTerminating", message, "metadata.namespace"))
    }
}
