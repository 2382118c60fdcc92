//! Registering, at start, what this server serves itself.

use crate::assemble::Server;
use gantry_aggregate::registration::{Action, plan};
use gantry_registry::generic::options::{DeleteOptions, Preconditions, WriteOptions};
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Request, fields};
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use gantry_types::reader::ObjectReader;
use gantry_types::{Document, Status, StatusResult, UserInfo, scheme};

/// Writes what is missing or wrong; whether nothing is left to do.
pub async fn reconcile(server: &Server, user: &UserInfo, options: &WriteOptions) -> bool {
    let Some(endpoint) = server.registry.get("apiregistration.k8s.io", "v1", "apiservices") else {
        return true;
    };
    let present = server.caches.list(&super::API_SERVICES, None);
    let existing: Vec<APIService> = present.iter().filter_map(|o| o.typed().ok()).collect();
    let local: Vec<(&str, &str)> =
        scheme::groups().into_iter().flat_map(|(g, vs)| vs.into_iter().map(move |v| (g, v))).collect();
    let writes = plan(&existing, &local).into_iter().map(|action| async move {
        let outcome = carry_out(endpoint, user, options, &action).await;
        if let Err(error) = &outcome {
            tracing::warn!(?action, %error, "cannot register an API service");
        }
        outcome.is_ok()
    });
    futures::future::join_all(writes).await.into_iter().all(|done| done)
}

async fn carry_out(
    endpoint: &Endpoint,
    user: &UserInfo,
    options: &WriteOptions,
    action: &Action,
) -> StatusResult<()> {
    let mut rq = Request {
        user,
        namespace: "",
        name: "",
        subresource: "",
        options,
        now: Timestamp::now(),
        warnings: Vec::new(),
    };
    let done = match action {
        Action::Create(service) => {
            let mut object = Document::from_typed(service).map_err(Status::internal)?;
            fields::normalize(endpoint.kind, &mut object);
            endpoint.create(&mut rq, object).await.map(|_| ())
        }
        Action::Update(name, spec) => {
            rq.name = name;
            let transform = |old: Option<&Document>| {
                let mut object = old.cloned().unwrap_or_default();
                object.set_at(&["spec"], spec);
                Ok(Wanted::from(object))
            };
            endpoint.update(&mut rq, false, &transform).await.map(|_| ())
        }
        Action::Delete(name, uid) => {
            rq.name = name;
            let only = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
            let delete = DeleteOptions { preconditions: Some(only), ..DeleteOptions::default() };
            endpoint.delete(&mut rq, &delete).await.map(|_| ())
        }
    };
    match done {
        // Somebody else was faster.
        Err(status) if matches!(status.reason(), "AlreadyExists" | "NotFound" | "Conflict") => Ok(()),
        other => other,
    }
}
