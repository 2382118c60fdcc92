//! Who is on a node, kept current by one watch for all who wait.

use crate::commands::common;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::resources::Resource;
use crate::rest;
use gantry_machinery::patch::strategic::Object;
use gantry_types::Document;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Before a watch that ended at once is taken up again.
const PAUSE: Duration = Duration::from_secs(1);

/// The pods of a node: their UIDs, and when each is due to end, where it is deleted.
pub type Present = BTreeMap<String, String>;

fn note(present: &mut Present, pod: &Document) {
    present.insert(pod.uid().to_owned(), pod.meta_str("deletionTimestamp").to_owned());
}

/// Watches the pods of a node and tells who is there, until it fails.
///
/// # Errors
/// Refusals of the list.
pub async fn follow(cx: &Context, pods: &Resource, node: &str, tell: watch::Sender<Present>) -> Result<()> {
    let (all, field) = (pods.path(None), format!("spec.nodeName={node}"));
    loop {
        let list = cx.rest().await?.get(&rest::with_query(&all, &[("fieldSelector", &field)])).await?;
        let items: Vec<Object> = list.get_at(&["items"]).unwrap_or_default();
        let mut present = Present::new();
        items.into_iter().map(Document::new).for_each(|pod| note(&mut present, &pod));
        tell.send_replace(present);
        let query = [
            ("fieldSelector", field.as_str()),
            ("watch", "true"),
            ("resourceVersion", list.resource_version()),
        ];
        let mut lines = cx.rest().await?.lines(&rest::with_query(&all, &query), rest::JSON).await?;
        while let Some(line) = lines.next().await {
            let event: common::Event = serde_json::from_slice(&line).map_err(Error::from)?;
            let pod = Document::new(event.object);
            match event.kind.as_str() {
                "ERROR" => break,
                "DELETED" => tell.send_modify(|p| drop(p.remove(pod.uid()))),
                _ => tell.send_modify(|p| note(p, &pod)),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
