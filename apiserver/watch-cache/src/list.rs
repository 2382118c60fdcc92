//! Lists: at the newest revision, at any, or at an exact one of the window and beyond.

use crate::cache::{Cache, parse_revision};
use crate::filter::Filter;
use crate::refuse;
use crate::state::{Objects, decode_value};
use crate::token::{self, Token};
use gantry_storage::{RangeRequest, Revision, StoreError, prefix_end};
use gantry_types::{Object, Status, StatusResult};
use std::ops::Bound;

/// `resourceVersionMatch` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// A LIST request. Which combinations are allowed is checked before.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub filter: Filter,
    /// 0 for no limit.
    pub limit: usize,
    /// As in the request; empty for none.
    pub continue_token: String,
    /// As in the request; empty for the newest.
    pub resource_version: String,
    pub version_match: Option<VersionMatch>,
}

/// One page of a list, consistent at `revision`.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// In key order. Cheap clones of what is cached.
    pub items: Vec<Object>,
    pub revision: Revision,
    /// Empty on the last page.
    pub continue_token: String,
    /// How many are left, when there is a next page and nothing but the namespace narrows the list.
    pub remaining: Option<u64>,
}

/// Which state a list reads.
enum At {
    /// At least this revision (0: any).
    Now(Revision),
    Exactly(Revision),
}

/// The keys a list runs over.
struct Span {
    /// Of the request: continue tokens are relative to it.
    prefix: String,
    start: String,
}

impl Cache {
    /// A LIST.
    ///
    /// # Errors
    /// 400 for a bad token or version, 410 with upstream's text for what is too old, 504 for a version that
    /// is not reached in time, 429 before the first load.
    pub async fn list(&self, options: &ListOptions) -> StatusResult<ListPage> {
        self.await_ready().await?;
        let prefix = match &options.filter.namespace {
            Some(ns) if self.config.namespaced => format!("{}{ns}/", self.config.prefix),
            _ => self.config.prefix.clone(),
        };
        let (at, start) = self.plan(options, &prefix).await?;
        let paged = start.is_some();
        let span = Span { start: start.unwrap_or_else(|| prefix.clone()), prefix };
        match at {
            At::Now(revision) => {
                self.reach(revision).await?;
                // The index holds whole states only, so a page of a filtered list scans.
                let narrow = |limit| limit == 0 && !paged && !options.filter.selects_all();
                let (indexed, objects, revision) = self.with_state(|state, revision| {
                    let indexed = narrow(options.limit)
                        .then(|| state.candidates(&self.config, &options.filter))
                        .flatten();
                    let objects = if indexed.is_none() { state.objects.clone() } else { Objects::new() };
                    (indexed, objects, revision)
                });
                if let Some(mut items) = indexed {
                    items.retain(|o| options.filter.matches(o));
                    return Ok(ListPage { items, revision, ..ListPage::default() });
                }
                Ok(page(&objects, revision, options, &span))
            }
            At::Exactly(revision) => {
                self.reach(revision).await?;
                match self.with_state(|state, _| state.at(revision)) {
                    Some(objects) => Ok(page(&objects, revision, options, &span)),
                    None => self.list_store(revision, options, &span, paged).await,
                }
            }
        }
    }

    async fn plan(&self, options: &ListOptions, prefix: &str) -> StatusResult<(At, Option<String>)> {
        if !options.continue_token.is_empty() {
            let token = token::decode(&options.continue_token, prefix)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let at = match u64::try_from(token.revision) {
                Ok(revision) => At::Exactly(revision),
                Err(_) => At::Now(self.newest().await?),
            };
            return Ok((at, Some(token.start)));
        }
        if options.resource_version.is_empty() {
            return Ok((At::Now(self.newest().await?), None));
        }
        let revision = parse_revision(&options.resource_version)?;
        let exact = match options.version_match {
            Some(VersionMatch::Exact) => true,
            Some(VersionMatch::NotOlderThan) => false,
            None => options.limit > 0 && revision > 0,
        };
        Ok((if exact { At::Exactly(revision) } else { At::Now(revision) }, None))
    }

    async fn newest(&self) -> StatusResult<Revision> {
        self.store.current_revision().await.map_err(refuse::store)
    }

    /// A page at a revision that has left the window, from the store.
    async fn list_store(
        &self,
        revision: Revision,
        options: &ListOptions,
        span: &Span,
        paged: bool,
    ) -> StatusResult<ListPage> {
        let mut page = ListPage { revision, ..ListPage::default() };
        let mut request = RangeRequest {
            start: span.start.clone(),
            end: prefix_end(&span.prefix),
            limit: if options.limit == 0 { 500 } else { options.limit.min(500) },
            revision,
            ..RangeRequest::default()
        };
        loop {
            let answer = match self.store.range(request.clone()).await {
                Ok(answer) => answer,
                Err(StoreError::Compacted { .. }) if paged => {
                    let next = Token { revision: -1, start: span.start.clone() };
                    return Err(refuse::inconsistent(token::encode(&next, &span.prefix)));
                }
                Err(error) => return Err(refuse::store(error)),
            };
            let got = answer.kvs.len();
            for (i, kv) in answer.kvs.into_iter().enumerate() {
                request.start = format!("{}\0", kv.key);
                match decode_value(&self.config.decode, &kv) {
                    Ok(object) if options.filter.matches(&object) => page.items.push(object),
                    Ok(_) => {}
                    Err(why) => tracing::error!(key = %kv.key, "Unreadable object in the store: {why}"),
                }
                let left = answer.count.saturating_sub(i + 1);
                if options.limit > 0 && page.items.len() == options.limit && left > 0 {
                    let next = Token { revision: revision as i64, start: request.start };
                    page.continue_token = token::encode(&next, &span.prefix);
                    page.remaining = options.filter.selects_all().then_some(left as u64);
                    return Ok(page);
                }
            }
            if !answer.more || got == 0 {
                return Ok(page);
            }
        }
    }
}

/// The page of `objects` that begins at the span's start.
fn page(objects: &Objects, revision: Revision, options: &ListOptions, span: &Span) -> ListPage {
    let mut page = ListPage { revision, ..ListPage::default() };
    let whole = span.prefix == span.start && options.filter.selects_all() && options.limit == 0;
    let mut rest = objects
        .range::<_, str>((Bound::Included(span.start.as_str()), Bound::Unbounded))
        .take_while(|(k, _)| k.starts_with(&span.prefix));
    if whole && options.filter.namespace.is_none() {
        page.items.reserve_exact(objects.len());
    }
    while let Some((key, object)) = rest.next() {
        if !options.filter.matches(object) {
            continue;
        }
        page.items.push(object.clone());
        if options.limit == 0 || page.items.len() < options.limit {
            continue;
        }
        let left =
            if options.filter.selects_all() { rest.count() } else { usize::from(rest.next().is_some()) };
        if left > 0 {
            let next = Token { revision: revision as i64, start: format!("{key}\0") };
            page.continue_token = token::encode(&next, &span.prefix);
            page.remaining = options.filter.selects_all().then_some(left as u64);
        }
        break;
    }
    page
}
