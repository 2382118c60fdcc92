//! `Priority`: a pod's priority is its class's.

use crate::{forbidden, is, resources, typed};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_types::{Object, StatusResult};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use std::sync::Arc;

pub struct Priority {
    reader: Arc<dyn ObjectReader>,
}

impl Priority {
    pub const NAME: &str = "Priority";

    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The default class; the lowest where several say they are.
    fn default_class(&self) -> Option<PriorityClass> {
        let says_so = |o: &Object| memchr::memmem::find(o.body(), b"\"globalDefault\":true").is_some();
        let classes = self.reader.list(&resources::PRIORITY_CLASSES, None).into_iter().filter(says_so);
        classes
            .filter_map(|o| o.typed::<PriorityClass>().ok())
            .filter(|class| class.global_default == Some(true))
            .min_by_key(|class| class.value)
    }

    fn admit_pod(&self, request: &mut Request<'_>) -> StatusResult<()> {
        let (priority, policy) = (["spec", "priority"], ["spec", "preemptionPolicy"]);
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        if request.operation == Operation::Update {
            let Some(old) = request.old else { return Ok(()) };
            if let (false, Some(value)) = (pod.has(&priority), old.get_at::<i32>(&priority)) {
                pod.set_at(&priority, value);
            }
            if let (false, Some(value)) = (pod.has(&policy), old.str_at(&policy)) {
                pod.set_at(&policy, value);
            }
            return Ok(());
        }
        let name = pod.str_at(&["spec", "priorityClassName"]).unwrap_or_default().to_owned();
        let class = if name.is_empty() {
            self.default_class()
        } else {
            match self.reader.get(&resources::PRIORITY_CLASSES, "", &name) {
                Some(object) => Some(typed::<PriorityClass>(&object)?),
                None => {
                    return Err(forbidden(
                        request,
                        format_args!("no PriorityClass with name {name} was found"),
                    ));
                }
            }
        };
        let (class_name, value, class_policy) = match class {
            Some(class) => (
                class.metadata.name.unwrap_or_default(),
                class.value.unwrap_or_default(),
                class.preemption_policy,
            ),
            None => (String::new(), 0_i32, Some("PreemptLowerPriority".to_owned())),
        };
        if let Some(given) = pod.get_at::<i32>(&priority).filter(|given| *given != value) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {value} from the given PriorityClass name"
            );
            return Err(forbidden(request, why));
        }
        if let (Some(given), Some(computed)) = (pod.str_at(&policy), &class_policy)
            && given != computed
        {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
                 admission controller computed {computed} from the given PriorityClass name"
            );
            return Err(forbidden(request, why));
        }
        if name.is_empty() && !class_name.is_empty() {
            pod.set_at(&["spec", "priorityClassName"], class_name);
        }
        pod.set_at(&priority, value);
        if let Some(computed) = class_policy {
            pod.set_at(&policy, computed);
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && (is(kind, &resources::PODS) || is(kind, &resources::PRIORITY_CLASSES))
    }

    async fn mutate(&self, request: &mut Request<'_>) -> StatusResult<()> {
        if is(request.kind, &resources::PODS) { self.admit_pod(request) } else { Ok(()) }
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let wants = |r: &Request<'_>| {
            r.object.as_deref().and_then(|o| o.get_at::<bool>(&["globalDefault"])) == Some(true)
        };
        if !is(request.kind, &resources::PRIORITY_CLASSES) || !wants(request) {
            return Ok(());
        }
        let Some(default) = self.default_class() else { return Ok(()) };
        let name = default.metadata.name.unwrap_or_default();
        let own = request.object.as_deref().is_some_and(|object| object.name() == name);
        if request.operation == Operation::Update && own {
            return Ok(());
        }
        let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
        Err(forbidden(request, why))
    }
}
