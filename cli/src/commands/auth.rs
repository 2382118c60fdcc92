//! `auth can-i` and `auth whoami`.

use super::table::online;
use super::{Command, Outcome, Run, common};
use crate::context::Context;
use crate::error::{Error, message, usage};
use crate::flags::{Args, Flag, on, text};
use crate::print::{Format, tabs};
use gantry_types::Document;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

const CAN_I: &[Flag] = &[
    common::ALL_NAMESPACES,
    on("quiet", "If true, suppress output and just return the exit code.").short('q'),
    on("list", "If true, prints all allowed actions."),
    on("no-headers", "If true, prints allowed actions without headers"),
    text("subresource", "SubResource such as pod/log or deployment/scale"),
];
const WHO_AM_I: &[Flag] = &[common::OUTPUT];

pub const COMMANDS: &[Command] = &[
    online!(
        "can-i",
        &[],
        "VERB [TYPE | TYPE/NAME | NONRESOURCEURL]",
        "Check whether an action is allowed",
        CAN_I,
        can_i
    ),
    online!("whoami", &[], "", "Experimental: Check self subject attributes", WHO_AM_I, who_am_i),
];

async fn review(cx: &Context, path: &str, object: &Document) -> crate::error::Result<Document> {
    cx.rest().await?.send(Method::POST, path, object).await
}

async fn can_i(cx: Context, args: Args) -> Outcome {
    if args.on("list") {
        return list(&cx, &args).await;
    }
    let [verb, target, rest @ ..] = args.operands.as_slice() else {
        return Err(usage(
            "auth can-i",
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kctl auth can-i -h' for help and examples.",
        ));
    };
    let mut d = Document::default();
    d.set_type("authorization.k8s.io/v1", "SelfSubjectAccessReview");
    if target.starts_with('/') {
        if !args.text("subresource").is_empty() {
            return Err(message("--subresource can not be used with NonResourceURL"));
        }
        d.set_at(&["spec", "nonResourceAttributes"], json!({"verb": verb, "path": target}));
    } else {
        let (kind, name) = match (target.split_once('/'), rest) {
            (Some((k, n)), []) => (k, n.to_owned()),
            (None, [name]) => (target.as_str(), name.clone()),
            (None, []) => (target.as_str(), String::new()),
            _ => {
                return Err(usage(
                    "auth can-i",
                    "you must specify two arguments: verb resource or verb resource/resourceName.",
                ));
            }
        };
        let (group, plural, version) = if kind == "*" {
            ("*".to_owned(), "*".to_owned(), "*".to_owned())
        } else {
            match cx.resource(kind).await {
                Ok(r) => {
                    if !r.namespaced && !args.on("all-namespaces") {
                        eprintln!(
                            "Warning: resource '{}' is not namespace scoped{}\n",
                            r.plural,
                            if r.group.is_empty() {
                                String::new()
                            } else {
                                format!(" in group '{}'", r.group)
                            }
                        );
                    }
                    (r.group.clone(), r.plural.clone(), String::new())
                }
                Err(Error::NoResource(_)) => {
                    let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
                    match group.is_empty() {
                        true => eprintln!("Warning: the server doesn't have a resource type '{plural}'\n"),
                        false => eprintln!(
                            "Warning: the server doesn't have a resource type '{plural}' in group '{group}'\n"
                        ),
                    }
                    (group.to_owned(), plural.to_owned(), String::new())
                }
                Err(e) => return Err(e),
            }
        };
        let mut a: BTreeMap<&str, String> =
            BTreeMap::from([("verb", verb.clone()), ("resource", plural), ("group", group)]);
        if !args.on("all-namespaces") {
            a.insert("namespace", cx.namespace().await?);
        }
        a.insert("name", name);
        a.insert("version", version);
        a.insert("subresource", args.text("subresource").to_owned());
        a.retain(|_, v| !v.is_empty());
        d.set_at(&["spec", "resourceAttributes"], a);
    }
    let answer = review(&cx, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &d).await?;
    let allowed = answer.get_at(&["status", "allowed"]).unwrap_or(false);
    if !args.on("quiet") {
        let mut text = if allowed { "yes" } else { "no" }.to_owned();
        if !allowed {
            for field in ["reason", "evaluationError"] {
                if let Some(why) = answer.str_at(&["status", field]).filter(|w| !w.is_empty()) {
                    text += &format!(" - {why}");
                }
            }
        }
        outln!("{text}");
    }
    if allowed { Ok(()) } else { Err(Error::Exit(1, String::new())) }
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// The verbs of every single resource, URL and name.
fn compact(rules: Vec<Rule>) -> BTreeMap<(String, String, String), Vec<String>> {
    let mut out: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    let mut add = |key: (String, String, String), verbs: &[String]| {
        let all = out.entry(key).or_default();
        for verb in verbs {
            if !all.contains(verb) {
                all.push(verb.clone());
            }
        }
    };
    for r in rules {
        for group in &r.api_groups {
            for resource in &r.resources {
                let full = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                if r.resource_names.is_empty() {
                    add((full.clone(), String::new(), String::new()), &r.verbs);
                }
                for name in &r.resource_names {
                    add((full.clone(), String::new(), name.clone()), &r.verbs);
                }
            }
        }
        for url in &r.urls {
            add((String::new(), url.clone(), String::new()), &r.verbs);
        }
    }
    out
}

async fn list(cx: &Context, args: &Args) -> Outcome {
    let mut d = Document::default();
    d.set_type("authorization.k8s.io/v1", "SelfSubjectRulesReview");
    d.set_at(&["spec", "namespace"], cx.namespace().await?);
    let answer = review(cx, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &d).await?;
    let mut rules: Vec<Rule> = answer.get_at(&["status", "resourceRules"]).unwrap_or_default();
    rules.extend(answer.get_at::<Vec<Rule>>(&["status", "nonResourceRules"]).unwrap_or_default());
    let bracket = |list: &[String]| format!("[{}]", list.join(" "));
    let mut rows: Vec<Vec<String>> = compact(rules)
        .into_iter()
        .map(|((resource, url, name), verbs)| {
            let list = |one: String| format!("[{one}]");
            vec![resource, list(url), list(name), bracket(&verbs)]
        })
        .collect();
    if !args.on("no-headers") {
        let head = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];
        rows.insert(0, head.map(str::to_owned).to_vec());
    }
    out!("{}", tabs::table(&rows));
    Ok(())
}

async fn who_am_i(cx: Context, args: Args) -> Outcome {
    let mut d = Document::default();
    d.set_type("authentication.k8s.io/v1", "SelfSubjectReview");
    let answer = review(&cx, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &d).await?;
    if !args.text("output").is_empty() {
        out!("{}", Format::parse(args.text("output"), false)?.object(&answer)?);
        return Ok(());
    }
    let at = |field: &str| answer.str_at(&["status", "userInfo", field]).unwrap_or_default().to_owned();
    let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
    for (name, field) in [("Username", "username"), ("UID", "uid")] {
        if !at(field).is_empty() {
            rows.push(vec![name.to_owned(), at(field)]);
        }
    }
    let groups: Vec<String> = answer.get_at(&["status", "userInfo", "groups"]).unwrap_or_default();
    if !groups.is_empty() {
        rows.push(vec!["Groups".into(), format!("[{}]", groups.join(" "))]);
    }
    let extra: BTreeMap<String, Vec<String>> =
        answer.get_at(&["status", "userInfo", "extra"]).unwrap_or_default();
    for (k, v) in extra {
        rows.push(vec![format!("Extra: {k}"), format!("[{}]", v.join(" "))]);
    }
    out!("{}", tabs::table(&rows));
    Ok(())
}
