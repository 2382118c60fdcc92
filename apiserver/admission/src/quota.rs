//! `ResourceQuota`: nothing is stored that its namespace has no room for.
//!
//! Room is taken before the object is stored, by a compare-and-swap on the quota's `status.used`; the
//! controller gives back what was taken for objects that then were not stored, or are gone.

use crate::{forbidden, is, resources};
use async_trait::async_trait;
use gantry_machinery::quota::{self, Amounts, Charge, Item, Limited, Measure, Refusal, Uncovered};
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{self, Endpoint};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::{Kind, Storage};
use gantry_types::{Document, GroupResource, Status, StatusResult, UserInfo};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota as Quota, Service};
use k8s_openapi::jiff::Timestamp;
use std::sync::{Arc, Weak};

const RESOURCE_QUOTAS: GroupResource = GroupResource::new("", "resourcequotas");

/// What a quota's `status.used` becomes, given the quota as it is; `None` where it stays.
pub type Change<'c> = dyn Fn(&Quota) -> StatusResult<Option<Amounts>> + Send + Sync + 'c;

/// Where quotas keep what is used.
#[async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// Changes what is used of a quota, in one step with reading it; again where somebody else was faster.
    ///
    /// # Errors
    /// Those of `change`, and the store's.
    async fn change(
        &self,
        namespace: &str,
        name: &str,
        dry_run: bool,
        change: &Change<'_>,
    ) -> StatusResult<()>;
}

/// The registry's own quotas, written to as the apiserver.
pub struct RegistryQuotas(pub Weak<Endpoint>);

#[async_trait]
impl QuotaStore for RegistryQuotas {
    async fn change(
        &self,
        namespace: &str,
        name: &str,
        dry_run: bool,
        change: &Change<'_>,
    ) -> StatusResult<()> {
        let Some(endpoint) = self.0.upgrade() else { return Ok(()) };
        let user = UserInfo {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into(), "system:authenticated".into()],
            ..UserInfo::default()
        };
        let options =
            WriteOptions { dry_run, field_manager: "kube-apiserver".to_owned(), ..WriteOptions::default() };
        let mut rq = generic::Request {
            user: &user,
            namespace,
            name,
            subresource: "status",
            options: &options,
            now: Timestamp::now(),
            warnings: Vec::new(),
        };
        let transform = |old: Option<&Document>| -> StatusResult<Wanted> {
            let mut object = old.cloned().unwrap_or_default();
            let quota: Quota = object.to_typed().map_err(Status::internal)?;
            if let Some(used) = change(&quota)? {
                object.set_at(&["status", "used"], quota::write(&used));
            }
            Ok(object.into())
        };
        match endpoint.update(&mut rq, false, &transform).await {
            // A quota that went limits nothing.
            Err(status) if status.code() == 404 => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

pub struct ResourceQuota {
    reader: Arc<dyn ObjectReader>,
    store: Arc<dyn QuotaStore>,
    limited: Vec<Limited>,
}

/// A pod, service or claim as quotas measure it.
enum Typed {
    Pod(Box<Pod>),
    Service(Box<Service>),
    Claim(Box<PersistentVolumeClaim>),
    Other,
}

impl Typed {
    fn read(measure: &Measure, object: &Document) -> StatusResult<Self> {
        Ok(match measure {
            Measure::Pods => Self::Pod(Box::new(object.to_typed().map_err(Status::internal)?)),
            Measure::Services => Self::Service(Box::new(object.to_typed().map_err(Status::internal)?)),
            Measure::Claims => Self::Claim(Box::new(object.to_typed().map_err(Status::internal)?)),
            Measure::Count(_) => Self::Other,
        })
    }

    fn item(&self) -> Item<'_> {
        match self {
            Self::Pod(pod) => Item::Pod(pod),
            Self::Service(service) => Item::Service(service),
            Self::Claim(claim) => Item::Claim(claim),
            Self::Other => Item::Other,
        }
    }
}

/// Whether a write of this kind may change what is used.
fn measures(request: &Request<'_>, measure: &Measure) -> bool {
    let text = |path: &[&str]| {
        let of = |d: Option<&Document>| d.and_then(|d| d.str_at(path).map(str::to_owned));
        of(request.object.as_deref()) != of(request.old)
    };
    let deadline = |d: Option<&Document>| d.is_some_and(|d| d.has(&["spec", "activeDeadlineSeconds"]));
    match (measure, request.operation, request.subresource) {
        (_, Operation::Create, "") => true,
        (Measure::Pods, Operation::Update, "") => {
            deadline(request.object.as_deref()) != deadline(request.old)
        }
        (Measure::Pods, Operation::Update, "resize") => true,
        (Measure::Services | Measure::Claims, Operation::Update, "") => true,
        (Measure::Claims, Operation::Update, "status") => {
            text(&["status", "allocatedResources", "storage"])
                || text(&["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"])
                || text(&["status", "currentVolumeAttributesClassName"])
        }
        _ => false,
    }
}

impl ResourceQuota {
    pub const NAME: &str = "ResourceQuota";

    /// `limited`: what may only be used where a quota covers it.
    pub fn new(reader: Arc<dyn ObjectReader>, store: Arc<dyn QuotaStore>, limited: Vec<Limited>) -> Self {
        Self { reader, store, limited }
    }

    /// Takes back what was taken of a quota; what fails here the controller finds.
    async fn release(&self, namespace: &str, name: &str, taken: &Amounts) {
        let change = |quota: &Quota| {
            let used = quota::parse(quota.status.as_ref().and_then(|s| s.used.as_ref()));
            Ok(Some(quota::release(&used, taken)))
        };
        if let Err(status) = self.store.change(namespace, name, false, &change).await {
            tracing::warn!(namespace, quota = name, why = status.message(), "cannot give back quota");
        }
    }
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && matches!(subresource, "" | "status" | "resize")
            && kind.namespaced()
            && kind.storage != Storage::Virtual
            && kind.kind != "Event"
            && (operation == Operation::Create
                || is(kind, &resources::PODS)
                || (kind.group.is_empty() && kind.kind == "Service")
                || is(kind, &resources::PERSISTENT_VOLUME_CLAIMS))
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let mut quotas = self.reader.list(&RESOURCE_QUOTAS, Some(request.namespace));
        quotas.retain(|o| o.namespace() == request.namespace);
        let measure = Measure::of(&request.kind.group_resource());
        if (quotas.is_empty() && self.limited.is_empty()) || !measures(request, &measure) {
            return Ok(());
        }
        quotas.sort_by(|a, b| a.name().cmp(b.name()));
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let new = Typed::read(&measure, object)?;
        let old = match request.old {
            Some(old) => Some(Typed::read(&measure, old)?),
            None => None,
        };
        let charge = Charge {
            measure: &measure,
            item: new.item(),
            old: old.as_ref().map(Typed::item),
            report: request.subresource == "status",
            now: Timestamp::now(),
        };
        // From memory: whom to ask at all, and those first that look full.
        let typed: Vec<Quota> = quotas.iter().map(crate::typed).collect::<StatusResult<_>>()?;
        let mut asked = Vec::new();
        let mut unfit = false;
        for (object, quota) in quotas.iter().zip(&typed) {
            match quota::charge(quota, &charge) {
                Ok(delta) if delta.is_empty() => {}
                Ok(_) => asked.push((true, object.name())),
                Err(why) => {
                    unfit |= !matches!(why, Refusal::Exceeded { .. });
                    asked.push((false, object.name()));
                }
            }
        }
        // What a quota cannot even measure is refused for that.
        if !unfit {
            match quota::uncovered(&self.limited, &request.kind.group_resource(), &typed, &charge) {
                None => {}
                Some(why @ Uncovered::Amounts(_)) => return Err(forbidden(request, why)),
                Some(why @ Uncovered::Scopes(_)) => return Err(Status::failure(500, "", why.to_string())),
            }
        }
        asked.sort_by_key(|(fits, _)| *fits);
        let taken = parking_lot::Mutex::new(Vec::new());
        for (_, name) in asked {
            let change = |quota: &Quota| {
                let delta = quota::charge(quota, &charge).map_err(|why| forbidden(request, why))?;
                let used = quota::parse(quota.status.as_ref().and_then(|s| s.used.as_ref()));
                let mut taken = taken.lock();
                taken.retain(|(of, _): &(&str, Amounts)| *of != name);
                if delta.is_empty() {
                    return Ok(None);
                }
                let used = quota::total(&used, &delta);
                taken.push((name, delta));
                Ok(Some(used))
            };
            if let Err(refusal) = self.store.change(request.namespace, name, request.dry_run, &change).await {
                let taken = taken.into_inner();
                for (of, delta) in taken.iter().filter(|(of, _)| *of != name && !request.dry_run) {
                    self.release(request.namespace, of, delta).await;
                }
                return Err(refusal);
            }
        }
        Ok(())
    }
}
