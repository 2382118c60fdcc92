//! What several commands share: flags, ages, watch errors, sending objects.

use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Flag, array, on, optional, text};
use crate::resources::Info;
use gantry_types::Document;
use gantry_types::k8s_openapi::jiff::Timestamp;
use gantry_types::status::StatusBody;
use gantry_types::time;
use serde::Deserialize;

pub const OUTPUT: Flag = text("output", "Output format. One of: (json, yaml, name, wide, jsonpath, jsonpath-as-json, jsonpath-file, custom-columns, custom-columns-file).").short('o');
pub const SELECTOR: Flag = text("selector", "Selector (label query) to filter on.").short('l');
pub const ALL_NAMESPACES: Flag =
    on("all-namespaces", "If present, list the requested object(s) across all namespaces.").short('A');
pub const FILENAME: Flag = crate::flags::list("filename", "Filename or directory to use.").short('f');
pub const RECURSIVE: Flag =
    on("recursive", "Process the directory used in -f, --filename recursively.").short('R');
pub const DRY_RUN: Flag =
    optional("dry-run", "unchanged", "Must be \"none\", \"server\", or \"client\".").default("none");
pub const SHOW_MANAGED: Flag = on(
    "show-managed-fields",
    "If true, keep the managedFields when printing objects in JSON or YAML format.",
);
pub const VALIDATE: Flag =
    optional("validate", "strict", "Must be one of: strict (or true), warn, ignore (or false).")
        .default("strict");
pub const KUSTOMIZE: Flag = text("kustomize", "Not supported.").short('k');
pub const SAVE_CONFIG: Flag =
    on("save-config", "If true, the configuration of current object will be saved in its annotation.");
pub const LITERAL: Flag =
    array("from-literal", "Specify a key and literal value to insert (i.e. mykey=somevalue)");

pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// `--field-manager`, with the manager a command writes as.
pub const fn field_manager(default: &'static str) -> Flag {
    text("field-manager", "Name of the manager used to track field ownership.").default(default)
}

/// `--validate` as the API's `fieldValidation`.
///
/// # Errors
/// Unknown values.
pub fn validation(text: &str) -> Result<&'static str> {
    match text {
        "" | "true" | "strict" | "Strict" => Ok("Strict"),
        "warn" | "Warn" => Ok("Warn"),
        "false" | "ignore" | "Ignore" => Ok("Ignore"),
        other => Err(message(format!(
            "invalid - validate option {}; must be one of: strict (or true), warn, ignore (or false)",
            gantry_types::field::go_quote(other)
        ))),
    }
}

/// How old an object is, as tables show it.
pub fn age_of(object: &Document) -> String {
    age(object.meta_str("creationTimestamp"))
}

/// The age of a point in time.
pub fn age(text: &str) -> String {
    time::age(time::parse_rfc3339(text).ok(), Timestamp::now())
}

/// The refusal inside a watch's ERROR event.
pub fn watch_error(line: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Holder {
        object: StatusBody,
    }
    match serde_json::from_slice::<Holder>(line) {
        Ok(h) => Error::Api(Box::new(h.object)),
        Err(_) => message("an error on the server ended the watch"),
    }
}

/// One watch event of any kind.
#[derive(Deserialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: String,
    pub object: gantry_machinery::patch::strategic::Object,
}

/// Watches one object from its present state: calls `step` with every state, `None` for absence, until it
/// gives a result or the deadline passes (then `None`).
///
/// # Errors
/// Refusals, and what `step` fails with.
pub async fn follow<T>(
    cx: &Context,
    info: &Info,
    deadline: Option<tokio::time::Instant>,
    mut step: impl FnMut(Option<&Document>) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let collection = info.resource.path(info.namespace.as_deref());
    let field = format!("metadata.name={}", info.name);
    let work = async {
        loop {
            let path = crate::rest::with_query(&collection, &[("fieldSelector", &field)]);
            let list = cx.rest().await?.get(&path).await?;
            let items: Vec<gantry_machinery::patch::strategic::Object> =
                list.get_at(&["items"]).unwrap_or_default();
            let mut first = items.into_iter().next().map(Document::new);
            if let Some(o) = &mut first {
                o.set_type(&info.resource.api_version(), &info.resource.kind);
            }
            if let Some(done) = step(first.as_ref())? {
                return Ok(done);
            }
            let revision = list.resource_version().to_owned();
            let path = crate::rest::with_query(
                &collection,
                &[("fieldSelector", &field), ("watch", "true"), ("resourceVersion", &revision)],
            );
            let mut lines = cx.rest().await?.lines(&path, crate::rest::JSON).await?;
            while let Some(line) = lines.next().await {
                let event: Event = serde_json::from_slice(&line)?;
                let object = Document::new(event.object);
                let now = match event.kind.as_str() {
                    // An expired revision: start again from a list.
                    "ERROR" => break,
                    "DELETED" => None,
                    _ => Some(&object),
                };
                if let Some(done) = step(now)? {
                    return Ok(done);
                }
            }
        }
    };
    match deadline {
        None => work.await.map(Some),
        Some(at) => match tokio::time::timeout_at(at, work).await {
            Ok(done) => done.map(Some),
            Err(_) => Ok(None),
        },
    }
}

/// Now plus a limit; `None` is without end.
pub fn deadline(limit: Option<std::time::Duration>) -> Option<tokio::time::Instant> {
    limit.map(|l| tokio::time::Instant::now() + l)
}

/// Sets the annotation client-side apply keeps its last manifest in.
pub fn set_last_applied(object: &mut Document) {
    let mut plain = object.clone();
    plain.remove_at(&["metadata", "annotations", LAST_APPLIED]);
    if !plain.has(&["metadata", "annotations"]) {
        plain.set_at(&["metadata", "annotations"], std::collections::BTreeMap::<String, String>::new());
    }
    let text = crate::print::json::compact(&plain.into_value());
    object.set_at(&["metadata", "annotations", LAST_APPLIED], format!("{text}\n"));
}

/// The first operand, or kubectl's complaint.
///
/// # Errors
/// Not exactly one name.
pub fn one_name<'a>(args: &'a crate::flags::Args, command: &str) -> Result<&'a str> {
    match args.operands.as_slice() {
        [name] => Ok(name),
        other => {
            Err(crate::error::usage(command, format!("exactly one NAME is required, got {}", other.len())))
        }
    }
}

/// Splits `key=value`.
///
/// # Errors
/// Where there is no `=`.
pub fn key_value(text: &str) -> Result<(String, String)> {
    text.split_once('=')
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .ok_or_else(|| message(format!("invalid literal source {text}, expected key=value")))
}
