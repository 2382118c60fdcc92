//! Deletion: preconditions, grace, finalizers, and what the client is answered.

use super::metadata::{FOREGROUND, ORPHAN};
use super::options::DeleteOptions;
use super::{Current, Endpoint, Request, Written, stored, time_text};
use crate::admission::{self, Operation};
use crate::strategy::{Deletion, Propagation};
use gantry_storage::Expect;
use gantry_types::gvk::{GroupKind, GroupResource};
use gantry_types::k8s_openapi::jiff::{SignedDuration, Timestamp};
use gantry_types::object::Object;
use gantry_types::{Document, Status, StatusResult};

/// What came of a deletion.
pub struct Deleted {
    /// The object, for kinds whose clients are given it and where it is still there; otherwise the answer is
    /// [`Status::deleted`].
    pub object: Option<Object>,
    pub uid: String,
    /// Gone, as opposed to marked.
    pub gone: bool,
}

/// How a deletion starts, decided from the object and the options alone.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Nothing to do: it is being deleted already, with no more grace than asked for.
    Pending,
    /// Keep the object, marked like this.
    Mark(Document),
    /// Remove it; where the deletion marked it first, so marked.
    Remove(Option<Document>),
}

/// Kinds whose deletion answers with the object.
const RETURNS_OBJECT: &[&str] = &[
    "CSIDriver",
    "CSINode",
    "DeviceClass",
    "Namespace",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodTemplate",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceQuota",
    "ResourceSlice",
    "Service",
    "ServiceAccount",
    "StorageClass",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// Upstream names these conflicts by kind, not by resource.
pub(crate) fn check_preconditions(
    kind: &GroupKind,
    object: &Document,
    options: &DeleteOptions,
) -> StatusResult<()> {
    let Some(wanted) = &options.preconditions else { return Ok(()) };
    let resource = GroupResource { group: kind.group.clone(), resource: kind.kind.clone() };
    if let Some(uid) = wanted.uid.as_deref().filter(|uid| *uid != object.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            object.uid()
        );
        return Err(Status::conflict(&resource, object.name(), why));
    }
    if let Some(version) = wanted.resource_version.as_deref().filter(|v| *v != object.resource_version()) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            object.resource_version()
        );
        return Err(Status::conflict(&resource, object.name(), why));
    }
    Ok(())
}

/// The finalizers an object should carry into its deletion, where they differ from those it has.
fn garbage_finalizers(
    object: &Document,
    options: &DeleteOptions,
    default: Propagation,
) -> Option<Vec<String>> {
    let have = object.finalizers();
    let has = |name: &str| have.iter().any(|f| f == name);
    let policy = options.propagation_policy.as_deref();
    let (orphan, foreground) = match (options.orphan_dependents, policy) {
        (Some(orphan), _) => (orphan, false),
        (None, Some("Orphan")) => (true, false),
        (None, Some("Foreground")) => (false, true),
        (None, Some(_)) => (false, false),
        (None, None) if has(ORPHAN) => (true, false),
        (None, None) if has(FOREGROUND) => (false, true),
        (None, None) => (default == Propagation::Orphan, false),
    };
    if (orphan, foreground) == (has(ORPHAN), has(FOREGROUND)) {
        return None;
    }
    let mut want: Vec<String> = have.into_iter().filter(|f| f != ORPHAN && f != FOREGROUND).collect();
    want.extend(orphan.then(|| ORPHAN.to_owned()));
    want.extend(foreground.then(|| FOREGROUND.to_owned()));
    Some(want)
}

const TIMESTAMP: [&str; 2] = ["metadata", "deletionTimestamp"];
const GRACE: [&str; 2] = ["metadata", "deletionGracePeriodSeconds"];

fn after(start: Timestamp, seconds: i64) -> Timestamp {
    start.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(start)
}

fn bump_generation(object: &mut Document) {
    let generation = object.generation();
    if generation > 0 {
        object.set_at(&["metadata", "generation"], generation + 1);
    }
}

/// Marks an object that only waits for its finalizers.
fn mark_waiting(object: &mut Document, now: Timestamp) {
    if !object.deleting() {
        bump_generation(object);
    }
    let due: Option<Timestamp> = object.get_at(&TIMESTAMP);
    if due.is_none_or(|due| due > now) {
        object.set_at(&TIMESTAMP, time_text(now));
    }
    object.set_at(&GRACE, 0);
}

/// Decides a deletion. `grace` is what the strategy says of a first deletion.
pub(crate) fn plan(
    object: &Document,
    options: &DeleteOptions,
    grace: Deletion,
    default: Option<Propagation>,
    now: Timestamp,
) -> Plan {
    let mut object = object.clone();
    let requested = options.grace_period_seconds.map(|s| if s < 0 { 1 } else { s });
    let left: i64 = object.get_at(&GRACE).unwrap_or(0);
    let mut marked = false;
    let graceful = match (object.deleting(), grace) {
        (_, Deletion::Immediate) => false,
        (true, _) if left == 0 => false,
        (true, Deletion::Graceful { .. }) => match requested {
            Some(period) if period < left => {
                let was: Timestamp = object.get_at(&TIMESTAMP).unwrap_or(now);
                let mut due = after(was, period - left);
                let mut period = period;
                if due < now {
                    due = now;
                    period = period.min(1);
                }
                object.set_at(&TIMESTAMP, time_text(due));
                object.set_at(&GRACE, period);
                marked = true;
                period > 0
            }
            _ => return Plan::Pending,
        },
        (false, Deletion::Graceful { seconds }) => {
            object.set_at(&TIMESTAMP, time_text(after(now, seconds)));
            object.set_at(&GRACE, seconds);
            bump_generation(&mut object);
            marked = true;
            seconds > 0
        }
    };
    if let Some(finalizers) = default.and_then(|d| garbage_finalizers(&object, options, d)) {
        object.set_at(&["metadata", "finalizers"], finalizers);
    }
    if graceful {
        return Plan::Mark(object);
    }
    if object.finalizers().is_empty() {
        return Plan::Remove(marked.then_some(object));
    }
    mark_waiting(&mut object, now);
    Plan::Mark(object)
}

impl Endpoint {
    /// Deletes the named object, or marks it as being deleted.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` with a precondition, refusals of admission, and the store's failures.
    pub async fn delete(&self, rq: &mut Request<'_>, options: &DeleteOptions) -> StatusResult<Deleted> {
        options.validate()?;
        let mut fresh = false;
        for _ in 0..64 {
            let Some(present) = self.current(rq.namespace, rq.name, fresh).await? else {
                return Err(self.not_found(rq.name));
            };
            match self.try_delete(rq, options, &present).await {
                Ok(Some(done)) => return Ok(done),
                // A refusal founded on a cached state counts only if the store says the same.
                Err(error) if present.fresh => return Err(error),
                Ok(None) | Err(_) => fresh = true,
            }
        }
        Err(Status::stale(&self.kind.group_resource(), rq.name))
    }

    async fn try_delete(
        &self,
        rq: &mut Request<'_>,
        options: &DeleteOptions,
        present: &Current,
    ) -> StatusResult<Option<Deleted>> {
        let old = &present.document;
        check_preconditions(&self.kind.group_kind(), old, options)?;
        self.admit_delete(rq, old).await?;
        let plan = if self.kind.kind == "Namespace" && self.kind.group.is_empty() {
            super::namespace::plan(old, options, rq.now)
        } else {
            let grace = self.strategy.deletion(old, options.grace_period_seconds)?;
            let collected = self.stored.kind != "Event";
            plan(old, options, grace, collected.then(|| self.strategy.default_propagation()), rq.now)
        };
        let uid = old.uid().to_owned();
        let expect = Expect::Unchanged(present.object.revision().0);
        match plan {
            Plan::Pending if !present.fresh => Ok(None),
            Plan::Pending => Ok(Some(self.deleted(present.object.clone(), uid, false))),
            // Marked like this already.
            Plan::Mark(document) if document == *old && !present.fresh => Ok(None),
            Plan::Mark(document) if document == *old => {
                Ok(Some(Deleted { object: Some(present.object.clone()), uid, gone: false }))
            }
            Plan::Mark(document) => {
                let dry = rq.options.dry_run || options.dry_run();
                match self.put(rq.namespace, rq.name, &document, expect, dry).await? {
                    Written::Done(object) => Ok(Some(Deleted { object: Some(object), uid, gone: false })),
                    Written::Conflict(_) => Ok(None),
                }
            }
            Plan::Remove(marked) => {
                let mut at = present.object.revision();
                if !(rq.options.dry_run || options.dry_run()) {
                    match self.remove(rq.namespace, rq.name, at).await? {
                        Ok(removed) => at = removed,
                        Err(_) => return Ok(None),
                    }
                    self.release(old).await;
                }
                let last = match marked {
                    Some(marked) => stored::unstored(&marked, &self.type_prefix, Some(at))?,
                    None => stored::object(present.object.body(), at)?,
                };
                Ok(Some(self.deleted(last, uid, true)))
            }
        }
    }

    fn deleted(&self, object: Object, uid: String, gone: bool) -> Deleted {
        let returned = RETURNS_OBJECT.contains(&self.kind.kind);
        Deleted { object: returned.then_some(object), uid, gone }
    }

    async fn admit_delete(&self, rq: &mut Request<'_>, old: &Document) -> StatusResult<()> {
        let mut request = admission::Request {
            operation: Operation::Delete,
            kind: self.kind,
            subresource: rq.subresource,
            namespace: rq.namespace,
            name: rq.name,
            user: rq.user,
            object: None,
            old: Some(old),
            dry_run: rq.options.dry_run,
            warnings: &mut rq.warnings,
        };
        self.admission().mutate(&mut request).await?;
        self.admission().validate(&request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(text: &str) -> Document {
        Document::from_json(text.as_bytes()).unwrap()
    }

    fn check(object: &str, options: DeleteOptions, grace: Deletion, want: Result<&str, Plan>) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let got = plan(&doc(object), &options, grace, Some(Propagation::Background), now);
        let want = want.map_or_else(|plan| plan, |text| Plan::Mark(doc(text)));
        assert_eq!(got, want, "{object} {options:?}");
    }

    #[test]
    fn deletions_are_planned_as_upstream_plans_them() {
        let plain = DeleteOptions::default();
        let foreground =
            DeleteOptions { propagation_policy: Some("Foreground".into()), ..DeleteOptions::default() };
        let zero = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let at_once = Deletion::Immediate;
        let slow = Deletion::Graceful { seconds: 30 };
        check(r#"{"metadata":{"name":"a"}}"#, plain.clone(), at_once, Err(Plan::Remove(None)));
        check(
            r#"{"metadata":{"generation":1}}"#,
            foreground,
            at_once,
            Ok(
                r#"{"metadata":{"generation":2,"finalizers":["foregroundDeletion"],"deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":0}}"#,
            ),
        );
        check(
            r#"{"metadata":{"generation":1}}"#,
            plain.clone(),
            slow,
            Ok(
                r#"{"metadata":{"generation":2,"deletionTimestamp":"2026-01-01T00:00:30Z","deletionGracePeriodSeconds":30}}"#,
            ),
        );
        let going =
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:20Z","deletionGracePeriodSeconds":30}}"#;
        check(going, plain, slow, Err(Plan::Pending));
        let gone =
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":0}}"#;
        check(going, zero, slow, Err(Plan::Remove(Some(doc(gone)))));
    }
}
