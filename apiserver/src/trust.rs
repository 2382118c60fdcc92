//! What other servers need to know to believe this one and its clients: the ConfigMap
//! `kube-system/extension-apiserver-authentication`.
//!
//! Several apiservers may share it, with authorities of their own: each adds what it believes to what is
//! there, drops certificates that have expired, and mends the object when it changes or goes.

use crate::assemble::Server;
use crate::config::Config;
use crate::health::Flag;
use futures::StreamExt;
use gantry_registry::generic::options::WriteOptions;
use gantry_registry::generic::update::Wanted;
use gantry_registry::generic::{Endpoint, Request};
use gantry_types::k8s_openapi::api::core::v1::ConfigMap;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{Document, GroupResource, Status, StatusResult, UserInfo};
use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

const CONFIG_MAPS: GroupResource = GroupResource::new("", "configmaps");
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

const CLIENT_CA: &str = "client-ca-file";
const HEADER_CA: &str = "requestheader-client-ca-file";
/// The lists of strings, kept as JSON. The last one is left out where it is empty.
const LISTS: [&str; 5] = [
    "requestheader-username-headers",
    "requestheader-group-headers",
    "requestheader-extra-headers-prefix",
    "requestheader-allowed-names",
    UID_HEADERS,
];
const UID_HEADERS: &str = "requestheader-uid-headers";
/// A certificate that expired a moment ago still counts, as upstream has it.
const SLACK: i64 = 300;

type Data = BTreeMap<String, String>;

/// What this server believes.
fn own(config: &Config) -> Data {
    let mut data = Data::new();
    if let Some(ca) = &config.client_ca {
        data.insert(CLIENT_CA.into(), ca.clone());
    }
    if let Some(header) = &config.request_header {
        data.insert(HEADER_CA.into(), header.ca.clone());
        let lists = [
            &header.user_headers,
            &header.group_headers,
            &header.extra_prefixes,
            &header.allowed_names,
            &header.uid_headers,
        ];
        for (key, values) in LISTS.into_iter().zip(lists) {
            // A list of strings always serializes.
            data.insert(key.into(), serde_json::to_string(values).unwrap_or_default());
        }
    }
    data
}

/// The strings of both lists, each once.
fn lists(present: Option<&String>, own: Option<&String>) -> Result<Vec<String>, String> {
    let mut all: Vec<String> = Vec::new();
    for text in [present, own].into_iter().flatten().filter(|t| !t.is_empty()) {
        let found: Vec<String> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        for value in found {
            if !all.contains(&value) {
                all.push(value);
            }
        }
    }
    Ok(all)
}

/// The certificates of both bundles that are still good, each once.
fn bundles(present: Option<&String>, own: Option<&String>, now: Timestamp) -> Result<String, String> {
    let mut all: Vec<pem::Pem> = Vec::new();
    for text in [present, own].into_iter().flatten().filter(|t| !t.is_empty()) {
        for found in pem::parse_many(text).map_err(|e| e.to_string())? {
            let known = all.iter().any(|c| c.contents() == found.contents());
            if found.tag() != "CERTIFICATE" || known {
                continue;
            }
            let plain = pem::Pem::new("CERTIFICATE", found.into_contents());
            let facts = gantry_pki::verify::facts(&pem::encode(&plain)).map_err(|e| e.to_string())?;
            if facts.not_after.as_second() > now.as_second() - SLACK {
                all.push(plain);
            }
        }
    }
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(all.iter().map(|c| pem::encode_config(c, unix)).collect())
}

/// What the object should hold: what it holds and what this server believes.
///
/// # Errors
/// Where something in it cannot be read; it is then left alone.
fn merge(present: &Data, own: &Data, now: Timestamp) -> Result<Data, String> {
    let mut merged = Data::new();
    for key in [CLIENT_CA, HEADER_CA] {
        let bundle = bundles(present.get(key), own.get(key), now).map_err(|e| format!("{key}: {e}"))?;
        if !bundle.is_empty() {
            merged.insert(key.into(), bundle);
        }
    }
    if merged.contains_key(HEADER_CA) {
        for key in LISTS {
            let values = lists(present.get(key), own.get(key)).map_err(|e| format!("{key}: {e}"))?;
            if key != UID_HEADERS || !values.is_empty() {
                // A list of strings always serializes.
                merged.insert(key.into(), serde_json::to_string(&values).unwrap_or_default());
            }
        }
    }
    Ok(merged)
}

/// Brings the object in line; `present` is what is known of it.
async fn reconcile(endpoint: &Endpoint, present: Option<&ConfigMap>, own: &Data) -> StatusResult<()> {
    let held = present.and_then(|c| c.data.clone()).unwrap_or_default();
    let merged = match merge(&held, own, Timestamp::now()) {
        Ok(merged) => merged,
        Err(error) => {
            tracing::warn!(error, "cannot read {NAMESPACE}/{NAME}, leaving it as it is");
            return Ok(());
        }
    };
    if present.is_some() && merged == held {
        return Ok(());
    }
    let options = WriteOptions { default_manager: "kube-apiserver".into(), ..WriteOptions::default() };
    let mut rq = Request {
        user: &UserInfo::system_apiserver(),
        namespace: NAMESPACE,
        name: "",
        subresource: "",
        options: &options,
        now: Timestamp::now(),
        warnings: Vec::new(),
    };
    if present.is_none() {
        let mut object = Document::default();
        object.set_type("v1", "ConfigMap");
        object.set_at(&["metadata", "name"], NAME);
        object.set_at(&["metadata", "namespace"], NAMESPACE);
        object.set_at(&["data"], &merged);
        return match endpoint.create(&mut rq, object).await {
            // Its event brings us back.
            Err(status) if status.reason() == "AlreadyExists" => Ok(()),
            other => other.map(|_| ()),
        };
    }
    rq.name = NAME;
    let transform = |old: Option<&Document>| {
        let mut object = old.cloned().ok_or_else(|| Status::not_found(&CONFIG_MAPS, NAME))?;
        // Merged again, into what is there by now.
        let held: Data = object.get_at(&["data"]).unwrap_or_default();
        object.set_at(&["data"], merge(&held, own, Timestamp::now()).unwrap_or(held));
        Ok(Wanted::from(object))
    };
    match endpoint.update(&mut rq, false, &transform).await {
        Err(status) if status.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Keeps the object as it should be; sets `made` once it is there. Ends with the server.
pub async fn keep(server: Weak<Server>, made: Flag) {
    let Some(now) = server.upgrade() else { return };
    let Some(endpoint) = now.registry.get("", "v1", "configmaps").cloned() else { return made.set() };
    let own = own(&now.config);
    let mut events = now.caches.subscribe(&CONFIG_MAPS);
    drop(now);
    let mut synced = false;
    while let Some(event) = events.next().await {
        let about_it = match &event {
            ObjectEvent::Applied(o) | ObjectEvent::Deleted(o) => {
                o.name() == NAME && o.namespace() == NAMESPACE
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
            match reconcile(&endpoint, found.as_ref(), &own).await {
                Ok(()) => break made.set(),
                Err(error) => {
                    tracing::warn!(%error, "cannot publish whom to believe");
                    drop(server);
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

    fn ca(name: &str, now: Timestamp, days: u64) -> String {
        gantry_pki::Ca::create(name, now, Duration::from_secs(days * 86_400)).unwrap().cert().to_owned()
    }

    fn data(pairs: &[(&str, &str)]) -> Data {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn each_server_adds_its_own() {
        let now = Timestamp::now();
        let (a, b, p) = (ca("a", now, 1), ca("b", now, 1), ca("p", now, 1));
        let one = data(&[(CLIENT_CA, &a)]);
        assert_eq!(merge(&Data::new(), &one, now).unwrap(), one);
        let two = data(&[
            (CLIENT_CA, &b),
            (HEADER_CA, &p),
            (LISTS[0], r#"["X-Remote-User"]"#),
            (LISTS[3], r#"["n","m"]"#),
        ]);
        let both = merge(&one, &two, now).unwrap();
        assert_eq!(both[CLIENT_CA], format!("{a}{b}"));
        assert_eq!(both[HEADER_CA], p);
        assert_eq!(both[LISTS[0]], r#"["X-Remote-User"]"#);
        assert_eq!((both[LISTS[1]].as_str(), both.contains_key(UID_HEADERS)), ("[]", false));
        assert_eq!(merge(&both, &one, now).unwrap(), both);
        assert_eq!(merge(&both, &two, now).unwrap(), both);
        let three = merge(&both, &data(&[(HEADER_CA, &p), (LISTS[3], r#"["m","o"]"#)]), now).unwrap();
        assert_eq!(three[LISTS[3]], r#"["n","m","o"]"#);
    }

    #[test]
    fn expired_and_unknown_go_and_broken_is_left_alone() {
        let now = Timestamp::now();
        let then = Timestamp::from_second(now.as_second() - 10 * 86_400).unwrap();
        let (old, new) = (ca("old", then, 1), ca("new", now, 1));
        let held = data(&[(CLIENT_CA, &old), ("other", "x"), (LISTS[0], "[]")]);
        let own = data(&[(CLIENT_CA, &new)]);
        assert_eq!(merge(&held, &own, now).unwrap(), own);
        let broken = data(&[(CLIENT_CA, "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")]);
        assert!(merge(&broken, &own, now).unwrap_err().starts_with(CLIENT_CA));
        let broken = data(&[(HEADER_CA, &new), (LISTS[0], "nonsense")]);
        assert!(merge(&broken, &own, now).unwrap_err().starts_with(LISTS[0]));
    }
}
