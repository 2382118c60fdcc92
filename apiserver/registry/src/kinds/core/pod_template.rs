//! `v1` PodTemplate.

use super::{equal, pod_defaults, pod_warnings};
use crate::kinds::prelude::*;
use crate::kinds::validate::{meta, pod_spec};
use crate::kinds::{print, template};
use gantry_types::k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};

/// A template by itself.
pub struct PodTemplates;

fn validate(t: &PodTemplate, old: Option<&PodTemplateSpec>) -> ErrorList {
    let spec = t.template.clone().unwrap_or_default();
    pod_spec::template(&spec, &template::options(old), &Path::new("template"))
}

impl Strategy for PodTemplates {
    type Kind = PodTemplate;

    fn default(&self, t: &mut PodTemplate) {
        pod_defaults::template(t.template.get_or_insert_default());
    }

    fn prepare_create(&self, _cx: &Context<'_>, t: &mut PodTemplate) {
        t.metadata.generation = Some(1);
        template::drop_disabled(t.template.get_or_insert_default(), None);
    }

    fn prepare_update(&self, _cx: &Context<'_>, t: &mut PodTemplate, old: &PodTemplate) {
        template::drop_disabled(t.template.get_or_insert_default(), old.template.as_ref());
    }

    fn validate_create(&self, _cx: &Context<'_>, t: &PodTemplate) -> ErrorList {
        let mut errs = meta::object_meta(&t.metadata, true, meta::subdomain_name);
        errs.extend(validate(t, None));
        errs
    }

    fn validate_update(&self, _cx: &Context<'_>, t: &PodTemplate, old: &PodTemplate) -> ErrorList {
        let mut errs = meta::object_meta_update(&t.metadata, &old.metadata);
        errs.extend(validate(t, old.template.as_ref()));
        errs
    }

    fn warnings(&self, _cx: &Context<'_>, t: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        match &t.template {
            Some(spec) if old.is_none_or(|old| self.spec_changed(t, old) == Some(true)) => {
                pod_warnings::on_template(spec, &Path::new("template"))
            }
            _ => Vec::new(),
        }
    }

    fn spec_changed(&self, t: &PodTemplate, old: &PodTemplate) -> Option<bool> {
        Some(!equal::values(&t.template, &old.template))
    }

    fn row(&self, t: &PodTemplate, _now: Timestamp) -> Vec<Cell> {
        let [names, images] = template::container_cells(t.template.as_ref());
        let labels = t.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.as_ref());
        vec![print::name(&t.metadata), names, images, print::labels(labels).into()]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
