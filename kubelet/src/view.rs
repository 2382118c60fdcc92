//! The kubelet as its HTTPS server sees it.

use crate::ctx::Ctx;
use crate::table::Table;
use gantry_kubelet_core::pods;
use gantry_kubelet_cri::Runtime;
use gantry_kubelet_cri::view::{CgroupUsage, NodeView};
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use std::path::PathBuf;
use std::sync::Arc;

pub struct View {
    ctx: Arc<Ctx>,
    table: Arc<Table>,
}

impl View {
    pub fn new(ctx: Arc<Ctx>, table: Arc<Table>) -> Self {
        Self { ctx, table }
    }

    fn with_status(&self, pod: Arc<Pod>) -> Arc<Pod> {
        match self.ctx.statuses.get(pods::uid(&pod)) {
            Some(status) => {
                let mut pod = (*pod).clone();
                pod.status = Some((*status).clone());
                Arc::new(pod)
            }
            None => pod,
        }
    }
}

impl NodeView for View {
    fn pods(&self) -> Vec<Arc<Pod>> {
        self.table.pods().into_iter().map(|p| self.with_status(p)).collect()
    }

    fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Arc<Pod>> {
        let named = self.table.pods().into_iter().filter(|p| {
            pods::namespace(p) == namespace && pods::name(p) == name && uid.is_none_or(|u| u == pods::uid(p))
        });
        // One that was deleted by force may still be ending beside its successor.
        let newest = named.max_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0))?;
        Some(self.with_status(newest))
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.ctx.node.read().clone()
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.ctx.runtime.clone()
    }

    fn container_id(&self, pod: &Pod, container: &str, previous: bool) -> Option<String> {
        let status = self.ctx.statuses.get(pods::uid(pod))?;
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let c: &ContainerStatus = lists.into_iter().flatten().flatten().find(|c| c.name == container)?;
        let last = || c.last_state.as_ref()?.terminated.as_ref()?.container_id.clone();
        let id = if previous { last() } else { c.container_id.clone().or_else(last) };
        id.map(|id| id.split_once("://").map(|(_, bare)| bare.to_owned()).unwrap_or(id))
    }

    fn sandbox_id(&self, pod: &Pod) -> Option<String> {
        self.table.sandbox(pods::uid(pod))
    }

    fn log_directory(&self, pod: &Pod, container: &str) -> PathBuf {
        self.ctx.log_dir(pod).join(container)
    }

    fn usage(&self, pod: Option<&Pod>) -> CgroupUsage {
        let path = match pod {
            Some(p) => match self.ctx.pod_cgroup(p) {
                Some(path) => path,
                None => return CgroupUsage::default(),
            },
            None => "/".to_owned(),
        };
        let u = self.ctx.cgroups.usage(&path);
        CgroupUsage {
            cpu_nanoseconds: u.cpu_nanoseconds,
            memory_usage: u.memory,
            memory_working_set: u.working_set,
            memory_rss: u.rss,
            processes: u.pids,
        }
    }
}
