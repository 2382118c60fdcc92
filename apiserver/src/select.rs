//! Selectors of a request as a filter of the watch cache: equalities where indexes can use them, the rest as
//! one predicate.

use crate::cx::Cx;
use gantry_machinery::selector::{FieldSelector, Selector, SelectorError};
use gantry_registry::generic::Endpoint;
use gantry_types::field::go_quote;
use gantry_types::{Object, Status, StatusResult};
use gantry_watch_cache::Filter;
use std::sync::Arc;

fn refuse(error: SelectorError) -> Status {
    Status::bad_request(error.0)
}

/// Upstream has words of its own for jobs.
fn refuse_field(endpoint: &Endpoint, error: SelectorError) -> Status {
    match error.0.strip_prefix("field label not supported: ") {
        Some(field) if endpoint.kind.kind == "Job" => {
            Status::bad_request(format!("field label {} not supported for Job", go_quote(field)))
        }
        _ => refuse(error),
    }
}

/// What the request selects of an endpoint.
///
/// # Errors
/// 400 for a selector that is not one, or that asks for fields the kind cannot be selected by.
pub fn filter(cx: &Cx, endpoint: &Endpoint) -> StatusResult<Filter> {
    let labels = Selector::parse(cx.query.text("labelSelector")).map_err(refuse)?;
    let fields = FieldSelector::parse(cx.query.text("fieldSelector")).map_err(refuse)?;
    fields.check(endpoint.strategy.field_names()).map_err(|e| refuse_field(endpoint, e))?;
    let namespace = if endpoint.kind.namespaced() { cx.info.namespace.as_str() } else { "" };
    let mut filter = Filter::all((!namespace.is_empty()).then_some(namespace));
    // A name in the path (`/watch/…/<name>`) came into the request info, as one of the field selector did.
    if !cx.info.name.is_empty() {
        filter.name = Some(cx.info.name.as_str().into());
    }
    if filter.namespace.is_none() && endpoint.kind.namespaced() {
        filter.namespace = fields.exact("metadata.namespace").map(Into::into);
    }
    for field in endpoint.strategy.field_names() {
        if let Some(value) = fields.exact(field) {
            filter.fields.push(((*field).into(), value.into()));
        }
    }
    if let Some((key, value)) = labels.equality() {
        filter.labels.push((key.into(), value.into()));
    }
    if !labels.is_everything() || !fields.is_everything() {
        filter.predicate = Some(Arc::new(move |object: &Object| {
            labels.matches(&object.meta().labels) && fields.matches(|name| object.field(name))
        }));
    }
    Ok(filter)
}
