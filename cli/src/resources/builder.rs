//! The objects a command line names: `pod x y`, `pod/x svc/y`, `pods,svc -l a=b`, `-f file`.

use super::files::Manifest;
use super::{Info, Resource, files};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::Args;
use gantry_types::Document;
use gantry_types::field::go_quote;
use http::Method;
use std::rc::Rc;

/// What operands name.
#[derive(Debug, Default, PartialEq)]
pub struct Targets {
    /// Types without names.
    pub types: Vec<String>,
    /// Types with names.
    pub named: Vec<(String, String)>,
}

/// Reads operands.
///
/// # Errors
/// Mixtures of both forms, in kubectl's words.
pub fn targets(operands: &[String]) -> Result<Targets> {
    let mut out = Targets::default();
    if operands.iter().any(|o| o.contains('/')) {
        if operands.iter().any(|o| !o.contains('/')) {
            return Err(message(
                "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
            ));
        }
        for o in operands {
            match o.split_once('/') {
                Some((t, n)) if !t.is_empty() && !n.is_empty() && !n.contains('/') => {
                    out.named.push((t.to_owned(), n.to_owned()));
                }
                _ if o.matches('/').count() > 1 => {
                    return Err(message("arguments in resource/name form may not have more than one slash"));
                }
                _ => {
                    return Err(message(
                        "arguments in resource/name form must have a single resource and name",
                    ));
                }
            }
        }
        return Ok(out);
    }
    let Some((types, names)) = operands.split_first() else { return Ok(out) };
    let types: Vec<String> = types.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        out.types = types;
    } else {
        for t in &types {
            out.named.extend(names.iter().map(|n| (t.clone(), n.clone())));
        }
    }
    Ok(out)
}

/// What a command asks for besides operands.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub all_namespaces: bool,
    pub selector: String,
    pub field_selector: String,
    pub files: Vec<String>,
    pub recursive: bool,
    pub ignore_not_found: bool,
    /// Without names, everything of the type.
    pub all: bool,
    pub chunk: i64,
    /// `status`, `scale`, … instead of the object.
    pub subresource: String,
}

impl Query {
    /// From the usual flags; those a command does not know are empty.
    pub fn read(args: &Args) -> Self {
        Self {
            all_namespaces: args.on("all-namespaces"),
            selector: args.text("selector").to_owned(),
            field_selector: args.text("field-selector").to_owned(),
            files: args.list("filename"),
            recursive: args.on("recursive"),
            ignore_not_found: args.on("ignore-not-found"),
            all: args.on("all"),
            chunk: args.text("chunk-size").parse().unwrap_or(500),
            subresource: args.text("subresource").to_owned(),
        }
    }
}

/// Manifests as infos, with their types and namespaces settled but nothing fetched.
///
/// # Errors
/// As the files'; unknown kinds; namespaces that contradict `--namespace`.
pub async fn from_files(cx: &Context, query: &Query) -> Result<(Vec<Info>, Vec<Error>)> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    for manifest in files::read(&query.files, query.recursive)? {
        match info(cx, manifest).await {
            Ok(info) => out.push(info),
            Err(e) => errors.push(e),
        }
    }
    Ok((out, errors))
}

/// One manifest's type and namespace.
///
/// # Errors
/// An unknown kind, or a namespace that contradicts `--namespace`.
pub async fn info(cx: &Context, manifest: Manifest) -> Result<Info> {
    let Manifest { source, mut object } = manifest;
    let (group, version) = match object.api_version().split_once('/') {
        Some((g, v)) => (g.to_owned(), v.to_owned()),
        None => (String::new(), object.api_version().to_owned()),
    };
    let Some(resource) = cx.resource_of_kind(&group, &version, object.kind()).await? else {
        return Err(message(format!(
            "resource mapping not found for name: {} namespace: {} from {}: no matches for kind {} in version {}\nensure CRDs are installed first",
            go_quote(object.name()),
            go_quote(object.namespace()),
            go_quote(&source),
            go_quote(object.kind()),
            go_quote(object.api_version()),
        )));
    };
    let namespace = if resource.namespaced {
        let given = &cx.global.namespace;
        if object.namespace().is_empty() {
            let ns = cx.namespace().await?;
            object.set_meta_str("namespace", &ns);
        } else if !given.is_empty() && given != object.namespace() {
            return Err(message(format!(
                "the namespace from the provided object {} does not match the namespace {}. You must pass '--namespace={}' to perform this operation.",
                go_quote(object.namespace()),
                go_quote(given),
                object.namespace()
            )));
        }
        Some(object.namespace().to_owned())
    } else {
        None
    };
    let name = object.name().to_owned();
    Ok(Info { resource, namespace, name, object, source })
}

/// Fetches what is named; lists what is not. Errors of single objects come beside the rest.
///
/// # Errors
/// Wrong operands and unknown types.
pub async fn fetch(cx: &Context, operands: &[String], query: &Query) -> Result<(Vec<Info>, Vec<Error>)> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    if !query.files.is_empty() {
        if !operands.is_empty() {
            return Err(message(
                "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well",
            ));
        }
        let (infos, failed) = from_files(cx, query).await?;
        errors.extend(failed);
        for info in infos {
            one(cx, info, query, &mut out, &mut errors).await?;
        }
        return Ok((out, errors));
    }
    let targets = targets(operands)?;
    if targets.named.is_empty() && targets.types.is_empty() {
        return Err(message(
            "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
        ));
    }
    if !targets.named.is_empty() && !query.selector.is_empty() {
        return Err(message("name cannot be provided when a selector is specified"));
    }
    for info in resolve_named(cx, &targets, query).await? {
        one(cx, info, query, &mut out, &mut errors).await?;
    }
    for resource in resolve_types(cx, &targets).await? {
        let ns = scope(cx, &resource, query).await?;
        match list(cx, &resource, ns.as_deref(), query).await {
            Ok(objects) => out.extend(objects.into_iter().map(|o| listed(&resource, o))),
            Err(e) => errors.push(e),
        }
    }
    Ok((out, errors))
}

async fn one(
    cx: &Context,
    info: Info,
    query: &Query,
    out: &mut Vec<Info>,
    errors: &mut Vec<Error>,
) -> Result<()> {
    let mut path = info.path();
    if !query.subresource.is_empty() {
        path = format!("{path}/{}", query.subresource);
    }
    match cx.rest().await?.get(&path).await {
        Ok(object) => out.push(info.with(object)),
        Err(e) if e.is_not_found() && query.ignore_not_found => {}
        Err(e @ Error::Transport { .. }) => return Err(e),
        Err(e) => errors.push(e),
    }
    Ok(())
}

/// The types of bare operands; categories (`all`) stand for their members.
///
/// # Errors
/// Unknown types.
pub async fn resolve_types(cx: &Context, targets: &Targets) -> Result<Vec<Rc<Resource>>> {
    let mut out = Vec::new();
    for t in &targets.types {
        out.extend(cx.resources(t).await?);
    }
    Ok(out)
}

/// Named operands with their types and namespaces, nothing fetched.
///
/// # Errors
/// Unknown types; names across all namespaces.
pub async fn resolve_named(cx: &Context, targets: &Targets, query: &Query) -> Result<Vec<Info>> {
    let mut out = Vec::new();
    for (t, name) in &targets.named {
        let resource = cx.resource(t).await?;
        if resource.namespaced && query.all_namespaces {
            return Err(message("a resource cannot be retrieved by name across all namespaces"));
        }
        let namespace = if resource.namespaced { Some(cx.namespace().await?) } else { None };
        out.push(Info {
            resource,
            namespace,
            name: name.clone(),
            object: Document::default(),
            source: String::new(),
        });
    }
    Ok(out)
}

/// The namespace to list a type in; none for all.
///
/// # Errors
/// A broken kubeconfig.
pub async fn scope(cx: &Context, resource: &Resource, query: &Query) -> Result<Option<String>> {
    Ok(if resource.namespaced && !query.all_namespaces { Some(cx.namespace().await?) } else { None })
}

/// An item of a list as an info.
pub fn listed(resource: &Rc<Resource>, mut object: Document) -> Info {
    object.set_type(&resource.api_version(), &resource.kind);
    let namespace = resource.namespaced.then(|| object.namespace().to_owned());
    let name = object.name().to_owned();
    Info { resource: resource.clone(), namespace, name, object, source: String::new() }
}

/// All objects of a type that match, page by page.
///
/// # Errors
/// Refusals.
pub async fn list(
    cx: &Context,
    resource: &Resource,
    namespace: Option<&str>,
    query: &Query,
) -> Result<Vec<Document>> {
    #[derive(serde::Deserialize)]
    struct Page {
        #[serde(default)]
        metadata: Meta,
        #[serde(default)]
        items: Option<Vec<gantry_machinery::patch::strategic::Object>>,
    }
    #[derive(serde::Deserialize, Default)]
    struct Meta {
        #[serde(rename = "continue", default)]
        token: String,
    }
    let limit = if query.chunk > 0 { query.chunk.to_string() } else { String::new() };
    let (mut out, mut token) = (Vec::new(), String::new());
    loop {
        let path = crate::rest::with_query(
            &resource.path(namespace),
            &[
                ("labelSelector", &query.selector),
                ("fieldSelector", &query.field_selector),
                ("limit", &limit),
                ("continue", &token),
            ],
        );
        let body = cx.rest().await?.call(Method::GET, &path, crate::rest::JSON, None).await?;
        let page: Page = serde_json::from_slice(&body)?;
        out.extend(page.items.unwrap_or_default().into_iter().map(Document::new));
        token = page.metadata.token;
        if token.is_empty() {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_name_types_and_objects() {
        let check = |line: &str, expected: &str| {
            let operands: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let shown = match targets(&operands) {
                Ok(t) => format!(
                    "{}|{}",
                    t.types.join(" "),
                    t.named.iter().map(|(t, n)| format!("{t}/{n}")).collect::<Vec<_>>().join(" ")
                ),
                Err(e) => e.bare()[..20].to_owned(),
            };
            assert_eq!(shown, expected, "{line}");
        };
        check("pods", "pods|");
        check("pods,svc", "pods svc|");
        check("pods a b", "|pods/a pods/b");
        check("pods,svc a", "|pods/a svc/a");
        check("pod/a svc/b", "|pod/a svc/b");
        check("pod/a b", "there is no need to ");
        check("pod/", "arguments in resourc");
        check("", "|");
    }
}
