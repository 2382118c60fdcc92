//! What is fetched to find out: typed objects, by kind, where they may be read.

use crate::context::Context;
use crate::error::Error;
use crate::rest::{escape, with_query};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::{Metadata, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::cell::RefCell;

const PAGE: &str = "500";

/// What came of reading one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<K> {
    There(Box<K>),
    Gone,
    /// It may not, or could not, be read.
    Unread,
}

impl<K> Found<K> {
    pub fn there(&self) -> Option<&K> {
        match self {
            Self::There(object) => Some(object),
            _ => None,
        }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }
}

/// Reads, and remembers what could not be read.
pub struct Reader<'a> {
    pub cx: &'a Context,
    unread: RefCell<Vec<String>>,
}

#[derive(Deserialize)]
struct Page<K> {
    #[serde(default)]
    metadata: PageMeta,
    items: Option<Vec<K>>,
}

#[derive(Deserialize, Default)]
struct PageMeta {
    #[serde(rename = "continue", default)]
    token: String,
}

fn path<K: Resource>(namespace: Option<&str>) -> String {
    let root = match K::GROUP {
        "" => format!("/api/{}", K::VERSION),
        group => format!("/apis/{group}/{}", K::VERSION),
    };
    match namespace {
        Some(ns) => format!("{root}/namespaces/{}/{}", escape(ns), K::URL_PATH_SEGMENT),
        None => format!("{root}/{}", K::URL_PATH_SEGMENT),
    }
}

impl<'a> Reader<'a> {
    pub fn new(cx: &'a Context) -> Self {
        Self { cx, unread: RefCell::default() }
    }

    /// What could not be read, and why.
    pub fn unread(&self) -> Vec<String> {
        self.unread.borrow().clone()
    }

    pub fn note(&self, what: &str, error: &Error) {
        let line = format!("{what}: {}", error.bare());
        let mut unread = self.unread.borrow_mut();
        if !unread.contains(&line) {
            unread.push(line);
        }
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> crate::error::Result<T> {
        self.cx.rest().await?.typed(path).await
    }

    /// One object.
    pub async fn get<K: Resource + DeserializeOwned>(&self, namespace: Option<&str>, name: &str) -> Found<K> {
        match self.ask(&format!("{}/{}", path::<K>(namespace), escape(name))).await {
            Ok(object) => Found::There(Box::new(object)),
            Err(e) if e.is_not_found() => Found::Gone,
            Err(e) => {
                self.note(K::URL_PATH_SEGMENT, &e);
                Found::Unread
            }
        }
    }

    /// All of a kind that match; `None` where they may not be read.
    pub async fn list<K: Resource + DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        labels: &str,
        fields: &str,
    ) -> Option<Vec<K>> {
        let mut out = Vec::new();
        self.each(namespace, labels, fields, |object| out.push(object)).await?;
        Some(out)
    }

    /// Shows all of a kind that match, a page at a time, so that not all need be kept; `None` where they may not
    /// be read.
    pub async fn each<K: Resource + DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        labels: &str,
        fields: &str,
        mut show: impl FnMut(K),
    ) -> Option<()> {
        let mut token = String::new();
        loop {
            let query =
                [("labelSelector", labels), ("fieldSelector", fields), ("limit", PAGE), ("continue", &token)];
            match self.ask::<Page<K>>(&with_query(&path::<K>(namespace), &query)).await {
                Ok(page) => {
                    page.items.unwrap_or_default().into_iter().for_each(&mut show);
                    token = page.metadata.token;
                }
                // A kind the server does not serve: there are none.
                Err(e) if e.is_not_found() => return Some(()),
                Err(e) => {
                    self.note(K::URL_PATH_SEGMENT, &e);
                    return None;
                }
            }
            if token.is_empty() {
                return Some(());
            }
        }
    }

    /// The events about an object, oldest first.
    pub async fn events<K>(&self, of: &K) -> Vec<Event>
    where
        K: Resource + Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
    {
        let meta = of.metadata();
        let mut fields = vec![
            format!("involvedObject.kind={}", K::KIND),
            format!("involvedObject.name={}", meta.name.as_deref().unwrap_or_default()),
        ];
        if let Some(uid) = &meta.uid {
            fields.push(format!("involvedObject.uid={uid}"));
        }
        let mut all: Vec<Event> =
            self.list(meta.namespace.as_deref(), "", &fields.join(",")).await.unwrap_or_default();
        all.sort_by_key(last_seen);
        all
    }
}

/// When an event was last seen.
pub fn last_seen(event: &Event) -> Option<k8s_openapi::jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|s| s.last_observed_time.as_ref()).map(|t| t.0);
    series
        .or_else(|| event.last_timestamp.as_ref().map(|t| t.0))
        .or_else(|| event.event_time.as_ref().map(|t| t.0))
        .or_else(|| event.metadata.creation_timestamp.as_ref().map(|t| t.0))
}

/// The newest event of these reasons whose message begins so.
pub fn newest<'e>(events: &'e [Event], reasons: &[&str], start: &str) -> Option<&'e Event> {
    events.iter().rev().find(|e| {
        reasons.contains(&e.reason.as_deref().unwrap_or_default())
            && e.message.as_deref().unwrap_or_default().starts_with(start)
    })
}

/// An event's text, and how often it was said.
pub fn told(event: &Event) -> String {
    let text = event.message.as_deref().unwrap_or_default().trim();
    let series = event.series.as_ref().and_then(|s| s.count);
    let often = series.or(event.count).filter(|n| *n > 1);
    let often = often.map(|n| format!(" (x{n})")).unwrap_or_default();
    format!("event {}{often}: {text}", event.reason.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::Node;

    #[test]
    fn kinds_have_paths() {
        assert_eq!(path::<Node>(None), "/api/v1/nodes");
        assert_eq!(path::<Deployment>(Some("n")), "/apis/apps/v1/namespaces/n/deployments");
    }
}
