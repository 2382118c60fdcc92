//! `api-resources`, `api-versions` and `cluster-info`.

use super::{Outcome, common, no_operands};
use crate::context::Context;
use crate::error::message;
use crate::flags::{Args, Flag, list, on, text};
use crate::print::tabs;
use crate::resources::Resource;
use crate::resources::builder::{self, Query};
use gantry_types::field::go_quote;

pub const RESOURCES_FLAGS: &[Flag] = &[
    common::OUTPUT,
    on("no-headers", "When using the default or custom-column output format, don't print headers."),
    on("namespaced", "If false, non-namespaced resources will be returned.").default("true"),
    on("cached", "Accepted for compatibility."),
    on("show-managed-fields", "Accepted for compatibility."),
    text("api-group", "Limit to resources in the specified API group."),
    text("sort-by", "One of (name, kind): the field to sort by."),
    list("verbs", "Limit to resources that support the specified verbs."),
    list("categories", "Limit to resources that belong to the specified categories."),
];

pub async fn resources(cx: Context, args: Args) -> Outcome {
    no_operands(&args, "api-resources")?;
    let (verbs, categories) = (args.list("verbs"), args.list("categories"));
    let output = args.text("output");
    if !matches!(output, "" | "wide" | "name") {
        return Err(message(format!("--output {output} is not available")));
    }
    let all_of = |wanted: &[String], have: &[String]| wanted.iter().all(|w| have.contains(w));
    let mut found: Vec<&Resource> = cx
        .discovery()
        .await?
        .preferred()
        .into_iter()
        .filter(|r| !r.verbs.is_empty())
        .filter(|r| !args.given("namespaced") || r.namespaced == args.on("namespaced"))
        .filter(|r| !args.given("api-group") || r.group == args.text("api-group"))
        .filter(|r| all_of(&verbs, &r.verbs) && all_of(&categories, &r.categories))
        .collect();
    match args.text("sort-by") {
        "" => found.sort_by(|a, b| (&a.group, &a.plural).cmp(&(&b.group, &b.plural))),
        "name" => found.sort_by(|a, b| a.plural.cmp(&b.plural)),
        "kind" => found.sort_by(|a, b| a.kind.cmp(&b.kind)),
        _ => return Err(message("--sort-by accepts only name or kind")),
    }
    if output == "name" {
        for r in found {
            outln!("{}", r.full());
        }
        return Ok(());
    }
    let wide = output == "wide";
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !args.on("no-headers") {
        let mut head = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if wide {
            head.extend(["VERBS", "CATEGORIES"]);
        }
        rows.push(head.into_iter().map(str::to_owned).collect());
    }
    for r in found {
        let mut row = vec![
            r.plural.clone(),
            r.short_names.join(","),
            r.api_version(),
            r.namespaced.to_string(),
            r.kind.clone(),
        ];
        if wide {
            row.extend([r.verbs.join(","), r.categories.join(",")]);
        }
        rows.push(row);
    }
    out!("{}", tabs::table(&rows));
    Ok(())
}

pub async fn versions(cx: Context, args: Args) -> Outcome {
    no_operands(&args, "api-versions")?;
    let mut all = cx.discovery().await?.group_versions.clone();
    all.sort();
    for version in all {
        outln!("{version}");
    }
    Ok(())
}

pub async fn cluster_info(cx: Context, args: Args) -> Outcome {
    no_operands(&args, "cluster-info")?;
    let server = cx.resolved().await?.server.clone();
    let query = Query { selector: "kubernetes.io/cluster-service=true".into(), ..Query::default() };
    let services = cx.resource("services").await?;
    let found = builder::list(&cx, &services, Some("kube-system"), &query).await?;
    outln!("Kubernetes control plane is running at {server}");
    for service in found {
        let name = service.label("kubernetes.io/name").unwrap_or(service.name()).to_owned();
        let port: String = service
            .view_at::<Vec<Port>>(&["spec", "ports"])
            .and_then(|p| p.into_iter().next())
            .map_or_else(
                String::new,
                |p| if p.name.is_empty() { String::new() } else { format!(":{}", p.name) },
            );
        outln!(
            "{name} is running at {server}/api/v1/namespaces/kube-system/services/{}{port}/proxy",
            service.name()
        );
    }
    outln!();
    outln!(
        "To further debug and diagnose cluster problems, use {}.",
        go_quote("kctl get events -A").replace('"', "'")
    );
    Ok(())
}

#[derive(serde::Deserialize)]
struct Port {
    #[serde(default)]
    name: String,
}
