//! `wait`: until a condition, a value, an existence or an absence.

use super::{Outcome, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on, text};
use crate::print::template;
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_machinery::path::JsonPath;
use gantry_types::Document;
use gantry_types::field::go_quote;
use serde::Deserialize;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::RECURSIVE,
    common::SELECTOR,
    text("field-selector", "Selector (field query) to filter on, supports '=', '==', and '!='."),
    common::ALL_NAMESPACES,
    on("all", "Select all resources in the namespace of the specified resource types"),
    on("local", "Not supported."),
    text(
        "for",
        "The condition to wait on: [create|delete|condition=condition-name[=condition-value]|jsonpath='{JSONPath expression}'=[JSONPath value]].",
    ),
    text("timeout", "The length of time to wait before giving up.").default("30s"),
    common::OUTPUT,
    common::SHOW_MANAGED,
];

/// What is waited for.
#[derive(Clone, Debug)]
enum Goal {
    Create,
    Delete,
    Condition { name: String, value: String },
    Path { path: JsonPath, value: Option<String> },
}

fn goal(text: &str) -> Result<Goal> {
    let unknown = || message(format!("unrecognized condition: {}", go_quote(text)));
    match text.to_lowercase().as_str() {
        "delete" => return Ok(Goal::Delete),
        "create" => return Ok(Goal::Create),
        _ => {}
    }
    if let Some(rest) = text.strip_prefix("condition=") {
        let (name, value) = rest.split_once('=').unwrap_or((rest, "true"));
        return Ok(Goal::Condition { name: name.to_owned(), value: value.to_owned() });
    }
    let Some(rest) = text.strip_prefix("jsonpath=") else { return Err(unknown()) };
    // Quotes that no shell took away.
    let rest = rest.replace("}'=", "}=").replace("}\"=", "}=");
    let rest = rest.trim_matches(['\'', '"']);
    if rest.is_empty() {
        return Err(message("jsonpath expression cannot be empty"));
    }
    // The value follows the expression's own brace; equal signs inside it are the expression's.
    let (path, value) = match rest
        .rfind("}=")
        .map(|at| at + 1)
        .or_else(|| (!rest.starts_with('{')).then(|| rest.find('=')).flatten())
    {
        Some(at) => (rest[..at].trim_matches(['\'', '"']), Some(rest[at + 1..].trim_matches(['\'', '"']))),
        None => (rest, None),
    };
    if value == Some("") {
        return Err(message(
            "jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3",
        ));
    }
    Ok(Goal::Path { path: template::relaxed(path)?, value: value.map(str::to_owned) })
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    #[serde(default)]
    status: String,
    #[serde(rename = "observedGeneration", default)]
    observed: i64,
}

/// Whether an object is as wanted.
fn met(goal: &Goal, object: Option<&Document>) -> bool {
    let Some(object) = object else { return matches!(goal, Goal::Delete) };
    match goal {
        Goal::Create => true,
        Goal::Delete => false,
        Goal::Condition { name, value } => {
            let conditions: Vec<Condition> = object.get_at(&["status", "conditions"]).unwrap_or_default();
            conditions.iter().any(|c| {
                let observed = if c.observed > 0 {
                    c.observed
                } else {
                    object.get_at(&["status", "observedGeneration"]).unwrap_or_default()
                };
                let fresh = observed == 0 || observed >= object.generation();
                c.name.eq_ignore_ascii_case(name) && fresh && c.status.eq_ignore_ascii_case(value)
            })
        }
        Goal::Path { path, value } => {
            let root = object.clone().into_value();
            let found = path.find(&root);
            match (found.as_slice(), value) {
                ([], _) => false,
                (_, None) => true,
                ([one], Some(value)) => {
                    !one.is_object() && !one.is_array() && template::show(one).trim() == value.trim()
                }
                _ => false,
            }
        }
    }
}

fn word(goal: &Goal) -> &'static str {
    match goal {
        Goal::Delete => "deleted",
        Goal::Create => "created",
        _ => "condition met",
    }
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let goal = goal(args.text("for"))?;
    let limit = args.duration("timeout")?;
    let said = crate::print::Said::read(&args, crate::print::DryRun::None)?;
    // Zero looks once.
    let deadline = Some(tokio::time::Instant::now() + limit.unwrap_or_default());
    let query = Query { ignore_not_found: matches!(goal, Goal::Delete), ..Query::read(&args) };
    let mut errors = Vec::new();
    let infos = loop {
        let (infos, failed) = select(&cx, &args, &query, &goal).await?;
        let waiting = matches!(goal, Goal::Create)
            && infos.is_empty()
            && failed.is_empty()
            && deadline.is_some_and(|d| tokio::time::Instant::now() < d);
        if !waiting {
            errors.extend(failed);
            break infos;
        }
        // A type has no single object to watch yet; look again, as kubectl does.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    };
    if infos.is_empty() {
        if matches!(goal, Goal::Delete) && errors.is_empty() {
            return Ok(());
        }
        Error::all(errors)?;
        return Err(message("no matching resources found"));
    }
    for info in infos {
        let mut last = None;
        let outcome = common::follow(&cx, &info, deadline, |now| {
            if matches!(goal, Goal::Delete) && now.is_some_and(|n| n.uid() != info.object.uid()) {
                return Ok(Some(()));
            }
            if now.is_none() && !matches!(goal, Goal::Create | Goal::Delete) {
                return Err(Error::Api(Box::new(gone(&info))));
            }
            if let Some(now) = now {
                last = Some(now.clone());
            }
            Ok(met(&goal, now).then_some(()))
        })
        .await;
        match outcome {
            Ok(Some(())) => {
                said.tell(&info.with(last.unwrap_or_else(|| info.object.clone())), word(&goal))?
            }
            Ok(None) => errors.push(message(format!(
                "timed out waiting for the condition on {}/{}",
                info.resource.plural, info.name
            ))),
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}

fn gone(info: &Info) -> gantry_types::status::StatusBody {
    let text = format!("{} {} not found", info.resource.full(), go_quote(&info.name));
    gantry_types::Status::failure(404, "NotFound", text).body().clone()
}

async fn select(cx: &Context, args: &Args, query: &Query, goal: &Goal) -> Result<(Vec<Info>, Vec<Error>)> {
    let targets = builder::targets(&args.operands)?;
    if matches!(goal, Goal::Create) && !targets.named.is_empty() {
        return Ok((builder::resolve_named(cx, &targets, query).await?, Vec::new()));
    }
    if matches!(goal, Goal::Create) && !query.files.is_empty() {
        return builder::from_files(cx, query).await;
    }
    if targets.named.is_empty()
        && query.files.is_empty()
        && !query.all
        && query.selector.is_empty()
        && query.field_selector.is_empty()
        && !targets.types.is_empty()
    {
        return Err(message("resource(s) were provided, but no name was specified"));
    }
    builder::fetch(cx, &args.operands, query).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met() {
        let pod = r#"{"metadata":{"generation":2},"status":{"observedGeneration":2,"phase":"Running","n":3,
            "conditions":[{"type":"Ready","status":"True"},{"type":"Old","status":"True","observedGeneration":1}]}}"#;
        let d = Document::from_json(pod.as_bytes()).unwrap();
        let check =
            |text: &str, expected: bool| assert_eq!(met(&goal(text).unwrap(), Some(&d)), expected, "{text}");
        check("condition=Ready", true);
        check("condition=ready=false", false);
        check("condition=Old", false);
        check("jsonpath={.status.phase}=Running", true);
        check("jsonpath='{.status.n}'=3", true);
        check("jsonpath={.status.missing}", false);
        check("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true);
        check("create", true);
        check("delete", false);
        assert!(met(&goal("delete").unwrap(), None));
        assert_eq!(goal("nope").unwrap_err().text(), "error: unrecognized condition: \"nope\"");
    }
}
