//! Keeping the bootstrap policy of RBAC whole at each start.

use crate::assemble::Server;
use gantry_auth::bootstrap::{Action, Planned, plan};
use gantry_registry::generic::options::{DeleteOptions, Preconditions, WriteOptions};
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Request, fields};
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::{Document, Status, StatusResult, UserInfo};

/// Plans what is missing and writes it; whether nothing is left to do.
pub async fn reconcile(server: &Server, user: &UserInfo, options: &WriteOptions) -> bool {
    let planned = plan(&*server.caches);
    let writes = planned.iter().map(|p| async move {
        let outcome = carry_out(server, user, options, p).await;
        if let Err(error) = &outcome {
            tracing::warn!(resource = %p.resource, name = p.name, %error, "cannot keep the bootstrap policy");
        }
        outcome.is_ok()
    });
    futures::future::join_all(writes).await.into_iter().all(|done| done)
}

async fn carry_out(
    server: &Server,
    user: &UserInfo,
    options: &WriteOptions,
    planned: &Planned,
) -> StatusResult<()> {
    let kind = gantry_types::scheme::find_resource(&planned.resource).ok_or_else(Status::no_such_path)?;
    let endpoint =
        server.registry.get(kind.group, kind.version, kind.plural).ok_or_else(Status::no_such_path)?;
    let mut rq = Request {
        user,
        namespace: &planned.namespace,
        name: &planned.name,
        subresource: "",
        options,
        now: Timestamp::now(),
        warnings: Vec::new(),
    };
    match planned.action {
        Action::Create => create(endpoint, &mut rq, &planned.object).await,
        Action::Update => {
            let transform = |_: Option<&Document>| Ok(Wanted::from(planned.object.clone()));
            endpoint.update(&mut rq, false, &transform).await.map(|_| ())
        }
        Action::Replace => {
            let uid = Some(planned.object.uid().to_owned()).filter(|uid| !uid.is_empty());
            let only = Preconditions { uid, ..Preconditions::default() };
            let delete = DeleteOptions { preconditions: Some(only), ..DeleteOptions::default() };
            endpoint.delete(&mut rq, &delete).await?;
            let mut object = planned.object.clone();
            object.set_meta_str("uid", "");
            object.set_meta_str("resourceVersion", "");
            create(endpoint, &mut rq, &object).await
        }
    }
}

async fn create(endpoint: &Endpoint, rq: &mut Request<'_>, object: &Document) -> StatusResult<()> {
    rq.name = "";
    let mut object = object.clone();
    fields::normalize(endpoint.kind, &mut object);
    match endpoint.create(rq, object).await {
        Err(status) if status.reason() != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}
