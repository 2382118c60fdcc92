//! When service account tokens kept in secrets were last used (KEP-2799): a label on the secret, a day fine, and
//! the ConfigMap that says since when such use is noted. The controller that cleans up goes by both.

use crate::assemble::Server;
use futures::StreamExt;
use gantry_auth::token::LegacyUse;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Registry, Request};
use gantry_types::k8s_openapi::api::core::v1::ConfigMap;
use gantry_types::k8s_openapi::jiff::civil::Date;
use gantry_types::k8s_openapi::jiff::tz::TimeZone;
use gantry_types::k8s_openapi::jiff::{SignedDuration, Timestamp};
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{Document, GroupResource, Object, Status, StatusResult, UserInfo};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

const CONFIG_MAPS: GroupResource = GroupResource::new("", "configmaps");
const SECRETS: GroupResource = GroupResource::new("", "secrets");
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// An apiserver makes the ConfigMap this often at most: another of a version without it may take it away.
const CREATE_EVERY: Duration = Duration::from_secs(30 * 60);

fn day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

/// The label a secret is due, where it is: another's clock may be ahead.
fn due(label: Option<&str>, now: Timestamp) -> Option<String> {
    let tomorrow = day(now.checked_add(SignedDuration::from_hours(24)).unwrap_or(now));
    let today = day(now);
    label.is_none_or(|l| l != today && l != tomorrow).then_some(today)
}

fn options() -> WriteOptions {
    WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() }
}

/// Notes the use of tokens on their secrets, beside the requests that use them.
pub fn recorder(registry: &Registry) -> Option<LegacyUse> {
    let endpoint = Arc::downgrade(registry.get("", "v1", "secrets")?);
    let under_way: Arc<Mutex<HashSet<String>>> = Arc::default();
    Some(Arc::new(move |secret: &Object| {
        let label = secret.meta().labels.get(LAST_USED);
        let Some(today) = due(label.map(|l| &**l), Timestamp::now()) else { return };
        let (uid, at_work) = (secret.uid().to_owned(), under_way.clone());
        if !at_work.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.clone()) {
            return;
        }
        let (endpoint, secret) = (endpoint.clone(), secret.clone());
        tokio::spawn(async move {
            if let Some(endpoint) = endpoint.upgrade()
                && let Err(error) = note(&endpoint, &secret, &today).await
            {
                let (namespace, name) = (secret.namespace(), secret.name());
                tracing::error!(namespace, name, %error, "cannot note the last use of a service account token");
            }
            at_work.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
        });
    }))
}

async fn note(endpoint: &Endpoint, secret: &Object, today: &str) -> StatusResult<()> {
    let (user, options) = (UserInfo::system_apiserver(), options());
    let mut rq = Request {
        user: &user,
        namespace: secret.namespace(),
        name: secret.name(),
        subresource: "",
        options: &options,
        now: Timestamp::now(),
        warnings: Vec::new(),
    };
    let transform = |old: Option<&Document>| {
        let same = old.filter(|o| o.uid() == secret.uid());
        let mut object = same.cloned().ok_or_else(|| Status::not_found(&SECRETS, secret.name()))?;
        object.set_at(&["metadata", "labels", LAST_USED], today);
        Ok(Wanted::from(object))
    };
    endpoint.update(&mut rq, false, &transform).await.map(|_| ())
}

/// What is to be done about the ConfigMap.
#[derive(Debug, PartialEq)]
enum Plan {
    Nothing,
    Create,
    /// It says no day.
    Mend,
}

fn plan(found: Option<&ConfigMap>) -> Plan {
    let Some(map) = found else { return Plan::Create };
    let since = map.data.as_ref().and_then(|d| d.get(SINCE));
    let reads = |text: &String| text.parse::<Date>().is_ok_and(|d| d.to_string() == *text);
    if since.is_some_and(reads) { Plan::Nothing } else { Plan::Mend }
}

async fn carry_out(endpoint: &Endpoint, plan: &Plan, now: Timestamp) -> StatusResult<()> {
    let (user, options) = (UserInfo::system_apiserver(), options());
    let name = if *plan == Plan::Mend { NAME } else { "" };
    let mut rq = Request {
        user: &user,
        namespace: NAMESPACE,
        name,
        subresource: "",
        options: &options,
        now,
        warnings: Vec::new(),
    };
    let outcome = match plan {
        Plan::Nothing => return Ok(()),
        Plan::Create => {
            let mut object = Document::default();
            object.set_type("v1", "ConfigMap");
            object.set_at(&["metadata", "name"], NAME);
            object.set_at(&["metadata", "namespace"], NAMESPACE);
            object.set_at(&["data", SINCE], day(now));
            endpoint.create(&mut rq, object).await.map(|_| ())
        }
        Plan::Mend => {
            let transform = |old: Option<&Document>| {
                let mut object = old.cloned().ok_or_else(|| Status::not_found(&CONFIG_MAPS, NAME))?;
                object.set_at(&["data", SINCE], day(now));
                Ok(Wanted::from(object))
            };
            endpoint.update(&mut rq, false, &transform).await.map(|_| ())
        }
    };
    match outcome {
        Err(status) if matches!(status.code(), 404 | 409) => Ok(()),
        other => other,
    }
}

/// Keeps the ConfigMap. Ends with the server.
pub async fn keep(server: Weak<Server>) {
    let Some(now) = server.upgrade() else { return };
    let Some(endpoint) = now.registry.get("", "v1", "configmaps").cloned() else { return };
    let mut events = now.caches.subscribe(&CONFIG_MAPS);
    drop(now);
    let (mut synced, mut made) = (false, None::<tokio::time::Instant>);
    while let Some(event) = events.next().await {
        let about_it = match &event {
            ObjectEvent::Applied(o) | ObjectEvent::Deleted(o) => {
                o.namespace() == NAMESPACE && o.name() == NAME
            }
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
            let found = server.caches.get(&CONFIG_MAPS, NAMESPACE, NAME).and_then(|o| o.typed().ok());
            drop(server);
            let plan = plan(found.as_ref());
            if let Some(made) = made.filter(|_| plan == Plan::Create) {
                tokio::time::sleep_until(made + CREATE_EVERY).await;
            }
            match carry_out(&endpoint, &plan, Timestamp::now()).await {
                Ok(()) => {
                    if plan == Plan::Create {
                        made = Some(tokio::time::Instant::now());
                    }
                    break;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot say since when the use of tokens is noted");
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
    fn use_is_noted_once_a_day() {
        let now: Timestamp = "2026-11-20T23:59:00Z".parse().unwrap();
        let check = |label: Option<&str>, want: Option<&str>| {
            assert_eq!(due(label, now).as_deref(), want, "{label:?}");
        };
        check(None, Some("2026-11-20"));
        check(Some("2026-11-19"), Some("2026-11-20"));
        check(Some("nonsense"), Some("2026-11-20"));
        check(Some("2026-11-20"), None);
        check(Some("2026-11-21"), None);
    }

    #[test]
    fn the_day_tracking_began_is_kept() {
        let check = |since: Option<&str>, want: Plan| {
            let data = since.map(|s| [(SINCE.to_owned(), s.to_owned())].into());
            assert_eq!(plan(Some(&ConfigMap { data, ..ConfigMap::default() })), want, "{since:?}");
        };
        assert_eq!(plan(None), Plan::Create);
        check(None, Plan::Mend);
        check(Some("yesterday"), Plan::Mend);
        check(Some("2026-1-1"), Plan::Mend);
        check(Some("2026-01-01"), Plan::Nothing);
    }
}
