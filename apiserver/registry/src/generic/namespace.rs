//! What is special about namespaces: they are emptied before they go.

use super::delete::Plan;
use super::metadata::{FOREGROUND, ORPHAN};
use super::options::DeleteOptions;
use super::{Endpoint, Request, time_text, update};
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Document, StatusResult};

/// Who still has to empty the namespace.
pub fn spec_finalizers(namespace: &Document) -> Vec<String> {
    namespace.get_at(&["spec", "finalizers"]).unwrap_or_default()
}

/// The first deletion marks the namespace `Terminating`; one after the finalizers went removes it.
pub(crate) fn plan(namespace: &Document, options: &DeleteOptions, now: Timestamp) -> Plan {
    if namespace.deleting() {
        return if spec_finalizers(namespace).is_empty() && namespace.finalizers().is_empty() {
            Plan::Remove(None)
        } else {
            Plan::Pending
        };
    }
    let mut object = namespace.clone();
    object.set_at(&["metadata", "deletionTimestamp"], time_text(now));
    object.set_at(&["status", "phase"], "Terminating");
    let have = object.finalizers();
    let has = |name: &str| have.iter().any(|f| f == name);
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, !orphan),
        (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
        (None, None) => (has(ORPHAN), has(FOREGROUND)),
    };
    if (orphan, foreground) != (has(ORPHAN), has(FOREGROUND)) {
        let mut want: Vec<String> = have.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
        want.extend(orphan.then(|| ORPHAN.to_owned()));
        want.extend(foreground.then(|| FOREGROUND.to_owned()));
        object.set_at(&["metadata", "finalizers"], want);
    }
    Plan::Mark(object)
}

impl Endpoint {
    /// `PUT namespaces/<name>/finalize`: only `spec.finalizers` counts.
    ///
    /// # Errors
    /// As [`Endpoint::update`].
    pub async fn finalize_namespace(
        &self,
        rq: &mut Request<'_>,
        wanted: Document,
    ) -> StatusResult<update::Updated> {
        let transform = move |old: Option<&Document>| -> StatusResult<update::Wanted> {
            let mut object = old.cloned().unwrap_or_default();
            object.set_meta_str("resourceVersion", wanted.resource_version());
            if !wanted.uid().is_empty() {
                object.set_meta_str("uid", wanted.uid());
            }
            let finalizers = spec_finalizers(&wanted);
            if finalizers.is_empty() {
                object.remove_at(&["spec", "finalizers"]);
            } else {
                object.set_at(&["spec", "finalizers"], finalizers);
            }
            Ok(object.into())
        };
        self.update(rq, false, &transform).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_terminates_before_it_goes() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |text: &str, want: Option<Plan>| {
            let ns = Document::from_json(text.as_bytes()).unwrap();
            let got = plan(&ns, &DeleteOptions::default(), now);
            match want {
                Some(want) => assert_eq!(got, want, "{text}"),
                None => assert!(
                    matches!(got, Plan::Mark(d) if d.str_at(&["status", "phase"]) == Some("Terminating"))
                ),
            }
        };
        check(r#"{"metadata":{"name":"a"},"spec":{"finalizers":["kubernetes"]}}"#, None);
        check(
            r#"{"metadata":{"deletionTimestamp":"t"},"spec":{"finalizers":["kubernetes"]}}"#,
            Some(Plan::Pending),
        );
        check(r#"{"metadata":{"deletionTimestamp":"t"}}"#, Some(Plan::Remove(None)));
    }
}
