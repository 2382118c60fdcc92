//! Claim templates of stateful sets that may grow: an extra of Gantry's, asked for with an annotation on the set.
//!
//! Upstream never lets claim templates change. With `gantry.io/grow-claims: "true"` what they request of storage may
//! be raised, and nothing else of them; the controller then raises existing claims where their class allows it.

use gantry_types::k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use gantry_types::k8s_openapi::api::core::v1::PersistentVolumeClaim;
use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const ANNOTATION: &str = "gantry.io/grow-claims";

fn storage(claim: &mut PersistentVolumeClaim) -> Option<&mut Quantity> {
    claim.spec.as_mut()?.resources.as_mut()?.requests.as_mut()?.get_mut("storage")
}

/// The spec as it would be had no claim template grown, where the set asks for that. A template that shrank, or
/// changed otherwise, is left as it is.
pub(super) fn disregarded(
    set: &StatefulSet,
    mut spec: StatefulSetSpec,
    old: &StatefulSetSpec,
) -> StatefulSetSpec {
    let annotations = set.metadata.annotations.as_ref();
    if annotations.and_then(|a| a.get(ANNOTATION)).is_none_or(|v| v != "true") {
        return spec;
    }
    let read = |q: &Quantity| gantry_types::quantity::Quantity::try_from(q).ok();
    let templates = spec.volume_claim_templates.iter_mut().flatten();
    for (new, old) in templates.zip(old.volume_claim_templates.iter().flatten()) {
        let Some(had) = storage(&mut old.clone()).cloned() else { continue };
        let same = new.metadata.name == old.metadata.name;
        if let Some(asked) = storage(new).filter(|asked| same && read(asked) > read(&had)) {
            *asked = had;
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(annotation: &str, claims: &[(&str, &str, &str)]) -> StatefulSet {
        let claims: Vec<String> = claims
            .iter()
            .map(|(name, size, class)| {
                format!(
                    r#"{{"metadata":{{"name":"{name}"}},"spec":{{"storageClassName":"{class}","resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#
                )
            })
            .collect();
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"annotations":{{"gantry.io/grow-claims":"{annotation}"}}}},"spec":{{"serviceName":"s","selector":{{}},"template":{{}},"volumeClaimTemplates":[{}]}}}}"#,
            claims.join(",")
        ))
        .unwrap()
    }

    #[test]
    fn only_growth_is_disregarded() {
        let old = set("true", &[("a", "1Gi", "x"), ("b", "2Gi", "x")]).spec.unwrap();
        let check = |annotation: &str, claims: &[(&str, &str, &str)], kept: bool| {
            let new = set(annotation, claims);
            let spec = disregarded(&new, new.spec.clone().unwrap(), &old);
            assert_eq!(spec.volume_claim_templates == old.volume_claim_templates, kept, "{claims:?}");
        };
        check("true", &[("a", "1Gi", "x"), ("b", "2Gi", "x")], true);
        check("true", &[("a", "3Gi", "x"), ("b", "2048Mi", "x")], false);
        check("true", &[("a", "3Gi", "x"), ("b", "2Gi", "x")], true);
        check("true", &[("a", "3Gi", "x"), ("b", "2.5Gi", "x")], true);
        check("true", &[("a", "1Gi", "x"), ("b", "1Gi", "x")], false);
        check("true", &[("a", "3Gi", "y"), ("b", "2Gi", "x")], false);
        check("true", &[("c", "3Gi", "x"), ("b", "2Gi", "x")], false);
        check("true", &[("a", "3Gi", "x")], false);
        check("false", &[("a", "3Gi", "x"), ("b", "2Gi", "x")], false);
    }
}
