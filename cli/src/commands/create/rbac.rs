//! `create role`, `clusterrole`, their bindings, and tokens.

use super::super::{Outcome, common};
use super::{generated, generator};
use crate::context::Context;
use crate::error::{Result, message, usage};
use crate::flags::{Args, Flag, array, list, text};
use crate::rest;
use gantry_types::Document;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;

pub const ROLE: &[Flag] = generator![
    list("verb", "Verb that applies to the resources contained in the rule"),
    list("resource", "Resource that the rule applies to"),
    list("resource-name", "Resource in the white list that the rule applies to"),
    list("non-resource-url", "A partial url that user should have access to."),
    text("aggregation-rule", "An aggregation label selector for combining ClusterRoles."),
];
pub const BINDING: &[Flag] = generator![
    text("clusterrole", "ClusterRole this binding should reference"),
    text("role", "Role this RoleBinding should reference"),
    list("group", "Groups to bind to the role."),
    list("serviceaccount", "Service accounts to bind to the role, in the format <namespace>:<name>"),
];
pub const TOKEN: &[Flag] = &[
    common::OUTPUT,
    list("audience", "Audience of the requested token."),
    text("duration", "Requested lifetime of the issued token.").default("0s"),
    array("bound-object-kind", "Kind of an object to bind the token to."),
    text("bound-object-name", "Name of an object to bind the token to."),
    text("bound-object-uid", "UID of an object to bind the token to."),
];

/// One rule per group, as the resources name them.
async fn rules(cx: &Context, args: &Args, cluster: bool) -> Result<Vec<impl serde::Serialize + use<>>> {
    let verbs = args.list("verb");
    let aggregated = cluster && !args.text("aggregation-rule").is_empty();
    if verbs.is_empty() && !aggregated {
        return Err(message("at least one verb must be specified"));
    }
    let urls = args.list("non-resource-url");
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in args.list("resource") {
        let (name, subresource) = match resource.split_once('/') {
            Some((n, s)) => (n, format!("/{s}")),
            None => (resource.as_str(), String::new()),
        };
        let (group, plural) = if name == "*" {
            (String::new(), "*".to_owned())
        } else {
            let found = cx.resource(name).await?;
            (found.group.clone(), found.plural.clone())
        };
        groups.entry(group).or_default().push(format!("{plural}{subresource}"));
    }
    if groups.is_empty() && urls.is_empty() && !aggregated {
        return Err(message("at least one resource must be specified"));
    }
    let names = args.list("resource-name");
    let mut out = Vec::new();
    for (group, resources) in groups {
        let mut rule =
            Document::from_typed(&json!({"apiGroups": [group], "resources": resources, "verbs": verbs}))?;
        if !names.is_empty() {
            rule.set_at(&["resourceNames"], &names);
        }
        out.push(rule.into_map());
    }
    if !urls.is_empty() {
        out.push(Document::from_typed(&json!({"nonResourceURLs": urls, "verbs": verbs}))?.into_map());
    }
    Ok(out)
}

pub async fn role(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create role")?;
    let rules = rules(&cx, &args, false).await?;
    generated(
        &cx,
        &args,
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": name}, "rules": rules}),
    )
    .await
}

pub async fn cluster_role(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create clusterrole")?;
    let rules = rules(&cx, &args, true).await?;
    let mut d = Document::from_typed(&json!({"apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}))?;
    if !args.text("aggregation-rule").is_empty() {
        let labels = args
            .text("aggregation-rule")
            .split(',')
            .map(common::key_value)
            .collect::<Result<BTreeMap<_, _>>>()?;
        d.set_at(&["aggregationRule", "clusterRoleSelectors"], [json!({"matchLabels": labels})]);
    }
    generated(&cx, &args, d.map()).await
}

/// The subjects of a binding.
fn subjects(args: &Args, users: &[String]) -> Result<Vec<impl serde::Serialize + use<>>> {
    let mut out = Vec::new();
    let api = "rbac.authorization.k8s.io";
    for (kind, names) in [("User", users.to_vec()), ("Group", args.list("group"))] {
        out.extend(names.iter().map(|name| json!({"kind": kind, "apiGroup": api, "name": name})));
    }
    for account in args.list("serviceaccount") {
        let Some((ns, name)) = account.split_once(':') else {
            return Err(message("serviceaccount must be <namespace>:<name>"));
        };
        out.push(json!({"kind": "ServiceAccount", "namespace": ns, "name": name}));
    }
    Ok(out)
}

async fn binding(cx: Context, args: Args, kind: &str, command: &str) -> Outcome {
    let name = common::one_name(&args, command)?;
    let (cluster, role) = (args.text("clusterrole"), args.text("role"));
    let (ref_kind, ref_name) = match (cluster, role) {
        (c, "") if !c.is_empty() => ("ClusterRole", c),
        ("", r) if !r.is_empty() && kind == "RoleBinding" => ("Role", r),
        _ if kind == "RoleBinding" => {
            return Err(message("exactly one of clusterrole or role must be specified"));
        }
        _ => return Err(usage(command, "required flag(s) \"clusterrole\" not set")),
    };
    // `--user` is also a global flag; here it names subjects.
    let users: Vec<String> = cx.global.user.split(',').filter(|u| !u.is_empty()).map(str::to_owned).collect();
    let subjects = subjects(&args, &users)?;
    let mut d = Document::from_typed(&json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": ref_kind, "name": ref_name}}))?;
    if !subjects.is_empty() {
        d.set_at(&["subjects"], subjects);
    }
    let mut cx = cx;
    cx.global.user.clear();
    generated(&cx, &args, d.map()).await
}

pub async fn role_binding(cx: Context, args: Args) -> Outcome {
    binding(cx, args, "RoleBinding", "create rolebinding").await
}

pub async fn cluster_role_binding(cx: Context, args: Args) -> Outcome {
    binding(cx, args, "ClusterRoleBinding", "create clusterrolebinding").await
}

pub async fn token(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create token")?;
    let mut d =
        Document::from_typed(&json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {}}))?;
    let audiences = args.list("audience");
    if !audiences.is_empty() {
        d.set_at(&["spec", "audiences"], audiences);
    }
    if let Some(duration) = args.duration("duration")? {
        d.set_at(&["spec", "expirationSeconds"], duration.as_secs());
    }
    if let Some(kind) = args.list("bound-object-kind").last() {
        let api = if kind == "Pod" || kind == "Secret" || kind == "Node" { "v1" } else { "" };
        d.set_at(
            &["spec", "boundObjectRef"],
            json!({"kind": kind, "apiVersion": api,
            "name": args.text("bound-object-name"), "uid": args.text("bound-object-uid")}),
        );
    }
    let ns = cx.namespace().await?;
    let path =
        format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", rest::escape(&ns), rest::escape(name));
    let answer = cx.rest().await?.send(Method::POST, &path, &d).await.map_err(|e| match e {
        crate::error::Error::Api(s) if s.reason != "Invalid" => {
            message(format!("failed to create token: {}", s.message))
        }
        other => other,
    })?;
    match args.text("output") {
        "" => outln!("{}", answer.str_at(&["status", "token"]).unwrap_or_default()),
        format => out!("{}", crate::print::Format::parse(format, false)?.object(&answer)?),
    }
    Ok(())
}
