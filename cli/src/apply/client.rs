//! Client-side apply: a three-way patch from the last manifest, this manifest and the live object.

use crate::commands::common::{LAST_APPLIED, set_last_applied};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::print::DryRun;
use crate::resources::Info;
use crate::rest;
use gantry_machinery::patch::{merge, strategic};
use gantry_machinery::schema;
use gantry_types::Document;
use gantry_types::field::go_quote;
use http::Method;

const ATTEMPTS: usize = 5;

/// Applies one manifest; the object as it is now and what is said of it.
///
/// # Errors
/// Refusals, and manifests that do not fit their kind.
pub async fn apply(
    cx: &Context,
    info: &Info,
    manager: &str,
    overwrite: bool,
    dry: DryRun,
    validation: &str,
) -> Result<(Info, &'static str)> {
    let rest = cx.rest().await?;
    let mut wanted = info.object.clone();
    set_last_applied(&mut wanted);
    let pairs = [("fieldManager", manager), ("fieldValidation", validation), dry.pair()];
    let mut attempt = 0;
    loop {
        attempt += 1;
        let live = match rest.get(&info.path()).await {
            Ok(live) => live,
            Err(e) if e.is_not_found() => {
                if dry == DryRun::Client {
                    return Ok((info.with(wanted), "created"));
                }
                let path = rest::with_query(&info.resource.path(info.namespace.as_deref()), &pairs);
                let made = rest.send(Method::POST, &path, &wanted).await;
                let made = made.map_err(|e| e.during("creating", &info.source))?;
                return Ok((info.with(made), "created"));
            }
            Err(e) => {
                return Err(match e {
                    Error::Api(mut s) => {
                        s.message = format!(
                            "error when retrieving current configuration of:\nResource: {}, GroupVersionKind: {}\nName: {}, Namespace: {}\nfrom server for: {}: {}",
                            go_quote(&gvr(info)),
                            go_quote(&format!(
                                "{}, Kind={}",
                                info.resource.api_version(),
                                info.resource.kind
                            )),
                            go_quote(&info.name),
                            go_quote(info.namespace.as_deref().unwrap_or_default()),
                            go_quote(&info.source),
                            s.message
                        );
                        Error::Api(s)
                    }
                    other => other,
                });
            }
        };
        if live.annotation(LAST_APPLIED).is_none() && attempt == 1 {
            eprintln!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kctl apply. kctl apply should only be used on resources created declaratively by either kctl create --save-config or kctl apply. The missing annotation will be patched automatically.",
                info.resource.plural, info.name
            );
        }
        let Some((kind, patch)) = patch(info, &wanted, &live, overwrite)? else {
            return Ok((info.with(live), "unchanged"));
        };
        if dry == DryRun::Client {
            return Ok((info.with(wanted), "configured"));
        }
        let path = rest::with_query(&info.path(), &pairs);
        match rest.patch(&path, kind, patch).await {
            Ok(now) if now.resource_version() == live.resource_version() => {
                return Ok((info.with(now), "unchanged"));
            }
            Ok(now) => return Ok((info.with(now), "configured")),
            Err(e) if e.is_conflict() && attempt < ATTEMPTS => {}
            Err(e) => return Err(e.during("applying patch from", &info.source)),
        }
    }
}

fn gvr(info: &Info) -> String {
    format!("{}, Resource={}", info.resource.api_version(), info.resource.plural)
}

/// The media type and patch, `None` where nothing is to be changed. Kinds without a built-in schema take a
/// JSON merge patch.
pub fn patch(
    info: &Info,
    wanted: &Document,
    live: &Document,
    overwrite: bool,
) -> Result<Option<(&'static str, Vec<u8>)>> {
    let original = match live.annotation(LAST_APPLIED) {
        Some(text) => Document::from_json(text.as_bytes())?,
        None => Document::default(),
    };
    let r = &info.resource;
    let wrong = |e: gantry_machinery::patch::PatchError| message(format!("creating patch: {e}"));
    let (kind, patch) = match schema::builtin().kind(&r.group, &r.version, &r.kind) {
        Some(schema) => (
            rest::STRATEGIC,
            strategic::three_way(original.map(), wanted.map(), live.map(), schema, overwrite)
                .map_err(wrong)?,
        ),
        None => (rest::MERGE, merge::three_way(original.map(), wanted.map(), live.map()).map_err(wrong)?),
    };
    let patch = Document::new(patch);
    Ok((!patch.map().is_empty()).then(|| (kind, patch.to_json())))
}
