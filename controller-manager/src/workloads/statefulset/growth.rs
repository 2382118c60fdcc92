//! Claims that grow with their templates: an extra of Gantry's, asked for with `gantry.io/grow-claims: "true"` on the
//! set. Where a claim's class allows it, the claim is raised to what its template requests by now; what that means for
//! the volume is the class's driver's to say. Claims never shrink.

use super::claims;
use gantry_types::quantity::Quantity;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

const ANNOTATION: &str = "gantry.io/grow-claims";

/// What is to be done about a claim that has less than its template requests.
#[derive(Debug, PartialEq)]
pub(super) enum Growth {
    Raise(PersistentVolumeClaim),
    /// The class does not allow it: its words for people.
    Refused(String),
}

pub(super) fn asked(set: &StatefulSet) -> bool {
    let annotation = set.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION));
    annotation.is_some_and(|v| v == "true") && set.metadata.deletion_timestamp.is_none()
}

fn storage(claim: &PersistentVolumeClaim) -> Option<&Text> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")
}

/// What a claim of this template comes to. Only a bound claim can grow; the class of one that names none never allows
/// it.
pub(super) fn growth(
    template: &PersistentVolumeClaim,
    claim: &PersistentVolumeClaim,
    expandable: impl Fn(&str) -> bool,
) -> Option<Growth> {
    let (wanted, has) = (storage(template)?, storage(claim)?);
    let (more, less) = (Quantity::try_from(wanted).ok()?, Quantity::try_from(has).ok()?);
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    if more <= less || !bound || claim.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let class = claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref()).unwrap_or("");
    if !expandable(class) {
        let name = claim.metadata.name.as_deref().unwrap_or("");
        let words = format!(
            "Claim {name} cannot grow from {} to {}: storage class {class:?} does not allow expansion",
            has.0, wanted.0
        );
        return Some(Growth::Refused(words));
    }
    let mut raised = claim.clone();
    let spec = raised.spec.get_or_insert_default();
    let requests = spec.resources.get_or_insert_default().requests.get_or_insert_default();
    requests.insert("storage".into(), wanted.clone());
    Some(Growth::Raise(raised))
}

/// The template a claim of the set was made from.
pub(super) fn template_of<'a>(set: &'a StatefulSet, claim: &str) -> Option<&'a PersistentVolumeClaim> {
    let (rest, _) = super::identity::parse(claim)?;
    let name = rest.strip_suffix(super::identity::name(set))?.strip_suffix('-')?;
    claims::templates(set).iter().find(|t| claims::template_name(t) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(size: &str, phase: &str) -> PersistentVolumeClaim {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"data-web-0"}},"spec":{{"storageClassName":"gold","resources":{{"requests":{{"storage":"{size}"}}}}}},
                "status":{{"phase":"{phase}"}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn bound_claims_grow_where_their_class_allows_it() {
        let check = |template: &str, has: PersistentVolumeClaim, expandable: bool, want: &str| {
            let found = growth(&claim(template, ""), &has, |class| class == "gold" && expandable);
            let shown = match found {
                None => String::new(),
                Some(Growth::Raise(raised)) => storage(&raised).unwrap().0.clone(),
                Some(Growth::Refused(words)) => words,
            };
            assert_eq!(shown, want, "{template}");
        };
        check("2Gi", claim("1Gi", "Bound"), true, "2Gi");
        check("1Gi", claim("1024Mi", "Bound"), true, "");
        check("1Gi", claim("2Gi", "Bound"), true, "");
        check("2Gi", claim("1Gi", "Pending"), true, "");
        let words =
            "Claim data-web-0 cannot grow from 1Gi to 2Gi: storage class \"gold\" does not allow expansion";
        check("2Gi", claim("1Gi", "Bound"), false, words);
    }

    #[test]
    fn claims_are_known_by_their_names() {
        let set: StatefulSet = serde_json::from_str(
            r#"{"metadata":{"name":"web"},"spec":{"selector":{},"template":{},"volumeClaimTemplates":[{"metadata":{"name":"data"}}]}}"#,
        )
        .unwrap();
        for (name, found) in
            [("data-web-0", true), ("data-web-x", false), ("logs-web-0", false), ("data-app-0", false)]
        {
            assert_eq!(template_of(&set, name).is_some(), found, "{name}");
        }
    }
}
