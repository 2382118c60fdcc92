//! The `kubernetes` ServiceCIDR: made from `--service-cluster-ip-range`, made again when it is gone, ready.

use crate::addresses::{DEFAULT, SERVICE_CIDRS};
use crate::assemble::Server;
use crate::health::Flag;
use futures::StreamExt;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Request, time_text};
use gantry_types::k8s_openapi::api::networking::v1::ServiceCIDR;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{Document, Status, StatusResult, UserInfo};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What is to be done about it.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create,
    /// The range of the second family is added.
    Widen,
    /// Its `Ready` condition is missing.
    MarkReady,
    /// It says something else than the flags.
    Differs,
}

fn plan(found: Option<&ServiceCIDR>, flags: &[String]) -> Plan {
    let Some(found) = found else { return Plan::Create };
    if found.metadata.deletion_timestamp.is_some() {
        return Plan::Nothing;
    }
    let cidrs = found.spec.as_ref().and_then(|s| s.cidrs.as_deref()).unwrap_or_default();
    if cidrs != flags {
        let widens = flags.len() == 2 && cidrs.len() == 1 && cidrs[0] == flags[0];
        return if widens { Plan::Widen } else { Plan::Differs };
    }
    let conditions = found.status.iter().flat_map(|s| s.conditions.iter().flatten());
    match conditions.into_iter().find(|c| c.type_ == "Ready").map(|c| c.status.as_str()) {
        None | Some("Unknown") => Plan::MarkReady,
        Some(_) => Plan::Nothing,
    }
}

struct Keeper {
    endpoint: Arc<Endpoint>,
    user: UserInfo,
    options: WriteOptions,
    flags: Vec<String>,
}

impl Keeper {
    fn request<'a>(&'a self, name: &'a str, subresource: &'a str) -> Request<'a> {
        let (user, options, now) = (&self.user, &self.options, Timestamp::now());
        Request { user, namespace: "", name, subresource, options, now, warnings: Vec::new() }
    }

    /// # Errors
    /// The pipeline's refusals, the store's failures.
    async fn carry_out(&self, plan: &Plan) -> StatusResult<()> {
        match plan {
            Plan::Nothing | Plan::Differs => Ok(()),
            Plan::Create => {
                let mut object = Document::default();
                object.set_type("networking.k8s.io/v1", "ServiceCIDR");
                object.set_at(&["metadata", "name"], DEFAULT);
                object.set_at(&["spec", "cidrs"], &self.flags);
                match self.endpoint.create(&mut self.request("", ""), object).await {
                    Err(status) if status.reason() != "AlreadyExists" => Err(status),
                    _ => Ok(()),
                }
            }
            Plan::Widen => self.update("", &|object| object.set_at(&["spec", "cidrs"], &self.flags)).await,
            Plan::MarkReady => {
                self.update("status", &|object| {
                    let ready = serde_json::from_str::<Box<serde_json::value::RawValue>>(&format!(
                        r#"[{{"type":"Ready","status":"True","reason":"","message":"Kubernetes default Service CIDR is ready","lastTransitionTime":"{}"}}]"#,
                        time_text(Timestamp::now())
                    ));
                    // The text is ours, and JSON.
                    if let Ok(ready) = ready {
                        object.set_at(&["status", "conditions"], ready);
                    }
                })
                .await
            }
        }
    }

    async fn update(
        &self,
        subresource: &str,
        change: &(dyn Fn(&mut Document) + Send + Sync),
    ) -> StatusResult<()> {
        let mut rq = self.request(DEFAULT, subresource);
        let transform = |old: Option<&Document>| {
            let mut object = old.cloned().ok_or_else(|| Status::not_found(&SERVICE_CIDRS, DEFAULT))?;
            change(&mut object);
            Ok(Wanted::from(object))
        };
        self.endpoint.update(&mut rq, false, &transform).await.map(|_| ())
    }
}

/// Keeps it as it should be; sets `made` once it is there. Ends with the server.
pub async fn keep(server: Weak<Server>, made: Flag) {
    let Some(now) = server.upgrade() else { return };
    let Some(endpoint) = now.registry.get("networking.k8s.io", "v1", "servicecidrs").cloned() else {
        return made.set();
    };
    let flags = now.config.service_ranges.iter().map(|r| r.trunc().to_string()).collect();
    let options = WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() };
    let keeper = Keeper { endpoint, user: UserInfo::system_apiserver(), options, flags };
    let mut events = now.caches.subscribe(&SERVICE_CIDRS);
    drop(now);
    let (mut synced, mut told) = (false, false);
    while let Some(event) = events.next().await {
        let about_it = match &event {
            ObjectEvent::Applied(o) | ObjectEvent::Deleted(o) => o.name() == DEFAULT,
            ObjectEvent::Synced => {
                synced = true;
                true
            }
            ObjectEvent::Reset => false,
        };
        if !synced || !about_it {
            continue;
        }
        let mut pause = Duration::from_millis(100);
        loop {
            let Some(server) = server.upgrade() else { return };
            let found = server.caches.get(&SERVICE_CIDRS, "", DEFAULT).and_then(|o| o.typed().ok());
            let plan = plan(found.as_ref(), &keeper.flags);
            if plan == Plan::Differs && !std::mem::replace(&mut told, true) {
                tracing::warn!(flags = ?keeper.flags, "The default ServiceCIDR does not match the flag configurations");
            }
            match keeper.carry_out(&plan).await {
                Ok(()) => break made.set(),
                Err(error) => {
                    tracing::warn!(%error, "error initializing the default ServiceCIDR");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(10));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_follows_the_flags() {
        let check = |object: Option<&str>, flags: &[&str], want: Plan| {
            let found: Option<ServiceCIDR> = object.map(|o| serde_json::from_str(o).unwrap());
            let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
            assert_eq!(plan(found.as_ref(), &flags), want, "{object:?}");
        };
        let v4 = "10.96.0.0/16";
        let plain = Some(r#"{"spec":{"cidrs":["10.96.0.0/16"]}}"#);
        check(None, &[v4], Plan::Create);
        check(plain, &[v4], Plan::MarkReady);
        check(plain, &[v4, "fd00::/108"], Plan::Widen);
        check(plain, &["10.97.0.0/16"], Plan::Differs);
        let ready = r#"{"spec":{"cidrs":["10.96.0.0/16"]},"status":{"conditions":[{"type":"Ready","status":"True","reason":"","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
        check(Some(ready), &[v4], Plan::Nothing);
        let going =
            r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"cidrs":["10.96.0.0/16"]}}"#;
        check(Some(going), &[v4], Plan::Nothing);
    }
}
