//! `describe`.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// A pod template as `rollout history --revision` shows it.
pub fn pod_template_text(_template: &PodTemplateSpec) -> String {
    "Pod Template:\n".to_owned()
}
