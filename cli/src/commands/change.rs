//! Changing live objects: a patch of what was changed here, nothing where nothing was.

use crate::context::Context;
use crate::error::{Result, message};
use crate::print::DryRun;
use crate::resources::Info;
use crate::rest;
use gantry_machinery::patch::{merge, strategic};
use gantry_machinery::schema;
use gantry_types::Document;

/// The patch from one state to another: strategic for built-in kinds, else a merge patch. `None` where they
/// are the same.
///
/// # Errors
/// Objects that do not fit their kind.
pub fn patch_between(
    info: &Info,
    before: &Document,
    after: &Document,
) -> Result<Option<(&'static str, Vec<u8>)>> {
    let r = &info.resource;
    let (kind, patch) = match schema::builtin().kind(&r.group, &r.version, &r.kind) {
        Some(schema) => (
            rest::STRATEGIC,
            strategic::two_way(before.map(), after.map(), schema).map_err(|e| message(e.to_string()))?,
        ),
        None => (rest::MERGE, merge::diff(before.map(), after.map())),
    };
    let patch = Document::new(patch);
    Ok((!patch.map().is_empty()).then(|| (kind, patch.to_json())))
}

/// Sends what changed from the info's object to `after`. `None` where nothing did.
///
/// # Errors
/// Refusals.
pub async fn send(
    cx: &Context,
    info: &Info,
    after: Document,
    manager: &str,
    dry: DryRun,
) -> Result<Option<Info>> {
    let Some((kind, patch)) = patch_between(info, &info.object, &after)? else { return Ok(None) };
    if dry == DryRun::Client {
        return Ok(Some(info.with(after)));
    }
    let path = rest::with_query(&info.path(), &[("fieldManager", manager), dry.pair()]);
    Ok(Some(info.with(cx.rest().await?.patch(&path, kind, patch).await?)))
}

/// Sends a patch of one subresource or the object itself.
///
/// # Errors
/// Refusals.
pub async fn send_patch(
    cx: &Context,
    info: &Info,
    (kind, patch): (&str, Vec<u8>),
    subresource: &str,
    manager: &str,
    dry: DryRun,
) -> Result<Info> {
    let mut path = info.path();
    if !subresource.is_empty() {
        path = format!("{path}/{subresource}");
    }
    let path = rest::with_query(&path, &[("fieldManager", manager), dry.pair()]);
    Ok(info.with(cx.rest().await?.patch(&path, kind, patch).await?))
}
