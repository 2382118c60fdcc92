//! Changing an object: updates, patches, applies and subresources all come through here.

use super::addresses::Claim;
use super::{Current, Endpoint, Request, Written, fields, metadata};
use crate::admission::{self, Operation};
use crate::alloc::Reservation;
use gantry_storage::Expect;
use gantry_types::field::{Error, ErrorList, Path, go_quote};
use gantry_types::gvk::GroupKind;
use gantry_types::object::Object;
use gantry_types::{Document, Status, StatusResult};

/// Makes the wanted object from the present one (`None`: it does not exist, and may be created). Called
/// again when somebody else was faster.
pub type Transform<'t> = dyn Fn(Option<&Document>) -> StatusResult<Wanted> + Send + Sync + 't;

/// What a transformation wants.
pub struct Wanted {
    pub object: Document,
    /// Whether `managedFields` are settled already (an apply decides them itself).
    pub fields_settled: bool,
    /// Whether a UID other than the object's is a lost race (an update) and not a change of a field (a patch).
    pub holds_uid: bool,
}

impl From<Document> for Wanted {
    fn from(object: Document) -> Self {
        Self { object, fields_settled: false, holds_uid: true }
    }
}

/// What came of an update.
pub struct Updated {
    pub object: Object,
    pub created: bool,
}

/// More rounds than any honest contention needs.
const ROUNDS: usize = 64;

enum Step {
    Unchanged(Object),
    Write(Document, Option<Reservation>),
    /// The last finalizer went from an object being deleted.
    Delete(Document),
}

impl Endpoint {
    /// Runs a change against the present object until it is written, refused, or needs none.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, refusals of admission and validation, and the store's failures.
    pub async fn update(
        &self,
        rq: &mut Request<'_>,
        force_create: bool,
        transform: &Transform<'_>,
    ) -> StatusResult<Updated> {
        let mut current = self.current(rq.namespace, rq.name, false).await?;
        for _ in 0..ROUNDS {
            let warned = rq.warnings.len();
            let outcome = match &current {
                None => match self.create_by_update(rq, force_create, transform).await {
                    Ok(Written::Done(object)) => return Ok(Updated { object, created: true }),
                    Ok(Written::Conflict(now)) => Ok(Some(now)),
                    Err(error) => Err(error),
                },
                Some(present) => match self.step(rq, present, transform).await {
                    Ok(Step::Unchanged(object)) if present.fresh || self.still(rq, &object).await? => {
                        return Ok(Updated { object, created: false });
                    }
                    Ok(Step::Unchanged(_)) => Ok(None),
                    Ok(Step::Write(document, reservation)) => {
                        let expect = Expect::Unchanged(present.object.revision().0);
                        match self.put_claimed(rq, &document, expect, reservation).await? {
                            Written::Done(object) => return Ok(Updated { object, created: false }),
                            Written::Conflict(now) => Ok(Some(now)),
                        }
                    }
                    Ok(Step::Delete(document)) => {
                        if let Some(object) = self.delete_finalized(rq, present, &document).await? {
                            return Ok(Updated { object, created: false });
                        }
                        Ok(None)
                    }
                    Err(error) => Err(error),
                },
            };
            let stale = current.as_ref().is_some_and(|c| !c.fresh);
            current = match outcome {
                Ok(Some(now)) => now.map(|kv| self.read(&kv)).transpose()?,
                Ok(None) => self.current(rq.namespace, rq.name, true).await?,
                // A refusal founded on a cached state counts only if the store says the same.
                Err(error) if stale => {
                    let fresh = self.current(rq.namespace, rq.name, true).await?;
                    let was = current.as_ref().map(|c| c.object.revision());
                    if fresh.as_ref().map(|c| c.object.revision()) == was {
                        return Err(error);
                    }
                    fresh
                }
                Err(error) => return Err(error),
            };
            rq.warnings.truncate(warned);
        }
        Err(Status::stale(&self.kind.group_resource(), rq.name))
    }

    /// Whether the store still has the cached object a no-op was found against.
    async fn still(&self, rq: &Request<'_>, object: &Object) -> StatusResult<bool> {
        let key = self.key(rq.namespace, rq.name);
        let (found, _) = self.store().get(&key).await.map_err(super::store_status)?;
        Ok(found.is_some_and(|kv| kv.mod_revision == object.revision().0))
    }

    async fn create_by_update(
        &self,
        rq: &mut Request<'_>,
        force_create: bool,
        transform: &Transform<'_>,
    ) -> StatusResult<Written> {
        if !force_create && !self.strategy.allow_create_on_update() {
            return Err(self.not_found(rq.name));
        }
        let wanted = transform(None)?;
        let mut object = wanted.object;
        let settled = wanted.fields_settled;
        if object.name().is_empty() {
            object.set_meta_str("name", rq.name);
        }
        let (object, reservation) = self.prepare_new(rq, object, settled).await?;
        self.put_claimed(rq, &object, Expect::Absent, reservation).await
    }

    /// Writes an object together with what was reserved for it. A chosen address that somebody else has
    /// counts as a lost race.
    async fn put_claimed(
        &self,
        rq: &Request<'_>,
        document: &Document,
        expect: Expect,
        reservation: Option<Reservation>,
    ) -> StatusResult<Written> {
        if let Claim::ChooseAgain = self.claim_all(document, reservation.as_ref()).await? {
            let (now, _) =
                self.store().get(&self.key(rq.namespace, rq.name)).await.map_err(super::store_status)?;
            return Ok(Written::Conflict(now));
        }
        let written = self.put(rq.namespace, rq.name, document, expect, rq.options.dry_run).await;
        match &written {
            Ok(Written::Done(_)) => self.settle(document, reservation).await,
            _ => self.disclaim_all(document, reservation.as_ref()).await,
        }
        written
    }

    async fn step(
        &self,
        rq: &mut Request<'_>,
        present: &Current,
        transform: &Transform<'_>,
    ) -> StatusResult<Step> {
        let old = &present.document;
        let Wanted { mut object, fields_settled, holds_uid } = transform(Some(old))?;
        if holds_uid {
            self.check_identity(rq, &object, old)?;
        }
        let revision = present.object.revision().to_string();
        if object.resource_version().is_empty() && self.strategy.allow_unconditional_update() {
            object.set_meta_str("resourceVersion", &revision);
        } else if object.resource_version().is_empty() {
            let resource = self.kind.group_resource();
            let gk = GroupKind { group: resource.group, kind: resource.resource };
            let path = Path::new("metadata").child("resourceVersion");
            let error = Error::invalid(&path, &0, "must be specified for an update");
            return Err(Status::invalid(&gk, rq.name, vec![error]));
        } else if object.resource_version() != revision {
            if object.resource_version().parse::<u64>().is_err() {
                let quoted = go_quote(object.resource_version());
                return Err(Status::failure(
                    500,
                    "",
                    format!("strconv.ParseUint: parsing {quoted}: invalid syntax"),
                ));
            }
            return Err(Status::stale(&self.kind.group_resource(), rq.name));
        }
        metadata::settle_namespace(&mut object, rq.namespace)?;
        match old.generation() {
            0 => _ = object.remove_at(&["metadata", "generation"]),
            generation => object.set_at(&["metadata", "generation"], generation),
        }
        object.set_type(&self.stored.api_version(), self.stored.kind);
        if object == *old {
            return Ok(Step::Unchanged(present.object.clone()));
        }
        let defaulted = only_reported(&object, old)
            && (object.map().get("status") == old.map().get("status")
                || self.strategy.default_status(&mut object));
        if !defaulted {
            fields::default(self.stored, &mut object);
            object = self.strategy.default(object)?;
        }
        if !fields_settled {
            fields::track_update(self, rq, Some(old), &mut object)?;
        }
        self.admit(rq, &mut object, old).await?;
        metadata::keep_system(&mut object, old);
        let reservation = self.reserve_change(rq, &mut object, old)?;
        let judged = self.strategy.update(&rq.context(), object, old)?;
        let mut object = judged.object;
        object.set_type(&self.stored.api_version(), self.stored.kind);
        fields::normalize(self.stored, &mut object);
        self.validate_change(rq, &mut object, old, judged.errors, judged.warnings).await?;
        fields::ignore_timestamps(&mut object, old);
        if self.finished(&object, old) {
            return Ok(Step::Delete(object));
        }
        Ok(if object == *old {
            Step::Unchanged(present.object.clone())
        } else {
            Step::Write(object, reservation)
        })
    }

    /// A UID that was sent must be that of the object.
    fn check_identity(&self, rq: &Request<'_>, object: &Document, old: &Document) -> StatusResult<()> {
        let uid = object.uid();
        if !uid.is_empty() && uid != old.uid() {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                self.key(rq.namespace, rq.name),
                old.uid()
            );
            return Err(Status::conflict(&self.kind.group_resource(), rq.name, why));
        }
        Ok(())
    }

    async fn admit(&self, rq: &mut Request<'_>, object: &mut Document, old: &Document) -> StatusResult<()> {
        let mut request = admission::Request {
            operation: Operation::Update,
            kind: self.kind,
            subresource: rq.subresource,
            namespace: rq.namespace,
            name: rq.name,
            user: rq.user,
            object: Some(object),
            old: Some(old),
            dry_run: rq.options.dry_run,
            warnings: &mut rq.warnings,
        };
        self.admission().mutate(&mut request).await
    }

    async fn validate_change(
        &self,
        rq: &mut Request<'_>,
        object: &mut Document,
        old: &Document,
        found: ErrorList,
        warnings: Vec<String>,
    ) -> StatusResult<()> {
        let mut errors = metadata::validate(object, self.kind.namespaced(), &names_for_updates)?;
        errors.extend(metadata::validate_update(object, old)?);
        // Kinds check their metadata again, as upstream's do, and its answers say so.
        errors.extend(found);
        if !errors.is_empty() {
            return Err(Status::invalid(&self.stored.group_kind(), object.name(), errors));
        }
        rq.warnings.extend(warnings);
        let request = admission::Request {
            operation: Operation::Update,
            kind: self.kind,
            subresource: rq.subresource,
            namespace: rq.namespace,
            name: rq.name,
            user: rq.user,
            object: Some(object),
            old: Some(old),
            dry_run: rq.options.dry_run,
            warnings: &mut rq.warnings,
        };
        self.admission().validate(&request).await
    }

    /// Whether an update is what a pending deletion waited for.
    fn finished(&self, object: &Document, old: &Document) -> bool {
        let grace: Option<i64> = old.get_at(&["metadata", "deletionGracePeriodSeconds"]);
        old.deleting()
            && grace.unwrap_or(0) == 0
            && object.finalizers().is_empty()
            && (self.kind.kind != "Namespace" || super::namespace::spec_finalizers(object).is_empty())
    }

    /// Removes an object whose last finalizer went; the answer is the object as the client left it. `None`:
    /// it changed meanwhile.
    async fn delete_finalized(
        &self,
        rq: &Request<'_>,
        present: &Current,
        document: &Document,
    ) -> StatusResult<Option<Object>> {
        let revision = present.object.revision();
        if !rq.options.dry_run {
            match self.remove(rq.namespace, rq.name, revision).await? {
                Ok(_) => self.release(&present.document).await,
                Err(None) => {}
                Err(Some(_)) => return Ok(None),
            }
        }
        super::stored::unstored(document, &self.type_prefix, Some(revision)).map(Some)
    }
}

/// Whether a change is of nothing but status and metadata: what is stored has its defaults.
fn only_reported(object: &Document, old: &Document) -> bool {
    let beside = |key: &str| !matches!(key, "metadata" | "status");
    let (new, old) = (object.map(), old.map());
    new.iter().filter(|(k, _)| beside(k)).all(|(k, v)| old.get(k) == Some(v))
        && old.keys().filter(|k| beside(k)).all(|k| new.contains_key(k))
}

/// Names were judged by the kind's own rule at birth; an update only needs them to fit a path.
fn names_for_updates(name: &str, prefix: bool) -> Vec<String> {
    gantry_types::names::name_is_path_segment(name, prefix)
}
