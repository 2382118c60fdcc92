//! Creation.

use super::addresses::Claim;
use super::{Endpoint, Request, Written, fields, metadata, time_text};
use crate::admission::{self, Operation};
use crate::alloc::Reservation;
use gantry_storage::Expect;
use gantry_types::object::Object;
use gantry_types::{Document, Status, StatusResult, names};

/// How often a generated name is drawn again when it is taken.
const NAME_ATTEMPTS: usize = 8;

impl Endpoint {
    /// Creates an object decoded from the served version of this endpoint's kind.
    ///
    /// # Errors
    /// Refusals of admission and validation, `AlreadyExists`, and the store's failures.
    pub async fn create(&self, rq: &mut Request<'_>, object: Document) -> StatusResult<Object> {
        let generate = object.meta_str("generateName").to_owned();
        let generated = object.name().is_empty() && !generate.is_empty();
        let mut object = object;
        if generated {
            object.set_meta_str("name", &names::generate_name(&generate, &mut rand::rng()));
        }
        let wanted = self.allocates().then(|| object.clone());
        let (mut object, mut reservation) = self.prepare_new(rq, object, false).await?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let name = object.name().to_owned();
            if let Claim::ChooseAgain = self.claim_all(&object, reservation.as_ref()).await?
                && let Some(mut wanted) = wanted.clone()
            {
                wanted.set_meta_str("name", &name);
                (object, reservation) = self.prepare_new(rq, wanted, false).await?;
                continue;
            }
            let written = self.put(rq.namespace, &name, &object, Expect::Absent, rq.options.dry_run).await;
            if !matches!(written, Ok(Written::Done(_))) {
                self.disclaim_all(&object, reservation.as_ref()).await;
            }
            match written? {
                Written::Done(stored) => {
                    self.settle(&object, reservation).await;
                    return Ok(stored);
                }
                Written::Conflict(_) if generated && attempt < NAME_ATTEMPTS => {
                    object.set_meta_str("name", &names::generate_name(&generate, &mut rand::rng()));
                }
                Written::Conflict(_) if !generate.is_empty() => {
                    return Err(Status::generate_name_conflict(&self.kind.group_resource(), &name));
                }
                Written::Conflict(current) => {
                    let mut status = Status::already_exists(&self.kind.group_resource(), &name);
                    if let Some(kv) = current
                        && self.read(&kv).is_ok_and(|c| c.document.deleting())
                    {
                        let body = status.body_mut();
                        body.message = format!("object is being deleted: {}", body.message);
                    }
                    return Err(status);
                }
            }
        }
    }

    /// Everything before the store: defaults, system metadata, mutating admission, who owns which fields
    /// (unless an apply has settled that), the strategy, the rules, validating admission.
    pub(crate) async fn prepare_new(
        &self,
        rq: &mut Request<'_>,
        mut object: Document,
        fields_settled: bool,
    ) -> StatusResult<(Document, Option<Reservation>)> {
        metadata::settle_namespace(&mut object, rq.namespace)?;
        if !object.resource_version().is_empty() {
            return Err(Status::failure(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        metadata::fill_new(&mut object, &time_text(rq.now));
        fields::default(self.stored, &mut object);
        let mut object = self.strategy.default(object)?;
        // Before admission and the strategy: what the server sets, nobody owns.
        if !fields_settled {
            fields::track_update(self, rq, None, &mut object)?;
        }
        let name = object.name().to_owned();
        let mut request = admission::Request {
            operation: Operation::Create,
            kind: self.kind,
            subresource: rq.subresource,
            namespace: rq.namespace,
            name: &name,
            user: rq.user,
            object: Some(&mut object),
            old: None,
            dry_run: rq.options.dry_run,
            warnings: &mut rq.warnings,
        };
        self.admission().mutate(&mut request).await?;
        let reservation = self.reserve_new(rq, &mut object)?;
        let judged = self.strategy.create(&rq.context(), object)?;
        let (mut object, mut errors) = (judged.object, judged.errors);
        object.set_type(&self.stored.api_version(), self.stored.kind);
        fields::normalize(self.stored, &mut object);
        if errors.is_empty() {
            errors = metadata::validate(&object, self.kind.namespaced(), &|name, prefix| {
                self.strategy.validate_name(name, prefix)
            })?;
        }
        if !errors.is_empty() {
            return Err(Status::invalid(&self.stored.group_kind(), object.name(), errors));
        }
        rq.warnings.extend(judged.warnings);
        let name = object.name().to_owned();
        let request = admission::Request {
            operation: Operation::Create,
            kind: self.kind,
            subresource: rq.subresource,
            namespace: rq.namespace,
            name: &name,
            user: rq.user,
            object: Some(&mut object),
            old: None,
            dry_run: rq.options.dry_run,
            warnings: &mut rq.warnings,
        };
        self.admission().validate(&request).await?;
        Ok((object, reservation))
    }
}
