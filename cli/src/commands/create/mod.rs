//! `create`: from manifests, or common kinds from flags.

mod data;
mod policy;
mod rbac;
mod service;
mod workload;

use super::table::{group, online};
use super::{Command, Outcome, Run, common};
use crate::context::Context;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, list, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};
use crate::resources::files::Manifest;
use crate::rest;
use gantry_types::Document;
use http::Method;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::SELECTOR,
    common::DRY_RUN,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-create"),
    on("edit", "Not supported."),
    text("raw", "Raw URI to POST to the server."),
];

/// The flags every generator takes.
macro_rules! generator {
    ($($flag:expr),* $(,)?) => {
        &[
            common::DRY_RUN,
            common::OUTPUT,
            common::SHOW_MANAGED,
            common::VALIDATE,
            common::SAVE_CONFIG,
            common::field_manager("kubectl-create"),
            $($flag),*
        ]
    };
}
pub(super) use generator;

pub const COMMANDS: &[Command] = &[
    online!(
        "namespace",
        &["ns"],
        "NAME",
        "Create a namespace with the specified name",
        generator![],
        namespace
    ),
    online!(
        "serviceaccount",
        &["sa"],
        "NAME",
        "Create a service account with the specified name",
        generator![],
        service_account
    ),
    online!(
        "configmap",
        &["cm"],
        "NAME [--from-file=[key=]source] [--from-literal=key1=value1]",
        "Create a config map from a local file, directory or literal value",
        data::FROM,
        data::config_map
    ),
    group!("secret", &[], "Create a secret using a specified subcommand", data::SECRETS),
    group!("service", &["svc"], "Create a service using a specified subcommand", service::SERVICES),
    online!(
        "deployment",
        &["deploy"],
        "NAME --image=image -- [COMMAND] [args...]",
        "Create a deployment with the specified name",
        generator![
            list("image", "Image names to run."),
            text("replicas", "Number of replicas to create.").default("1").short('r'),
            text("port", "The containerPort that this deployment exposes.").default("-1"),
        ],
        workload::deployment
    ),
    online!(
        "job",
        &[],
        "NAME --image=image [--from=cronjob/name] -- [COMMAND] [args...]",
        "Create a job with the specified name",
        generator![
            text("image", "Image name to run."),
            text("from", "The name of the resource to create a Job from (only cronjob is supported)."),
        ],
        workload::job
    ),
    online!(
        "cronjob",
        &["cj"],
        "NAME --image=image --schedule='0/5 * * * ?' -- [COMMAND] [args...] [flags]",
        "Create a cron job with the specified name",
        generator![
            text("image", "Image name to run."),
            text("schedule", "A schedule in the Cron format the job should be run with."),
            text("restart", "job's restart policy. supported values: OnFailure, Never"),
        ],
        workload::cron_job
    ),
    online!(
        "quota",
        &["resourcequota"],
        "NAME [--hard=key1=value1,key2=value2] [--scopes=Scope1,Scope2]",
        "Create a quota with the specified name",
        generator![
            text("hard", "A comma-delimited set of resource=quantity pairs that define a hard limit."),
            text(
                "scopes",
                "A comma-delimited set of quota scopes that must all match each object tracked by the quota."
            ),
        ],
        policy::quota
    ),
    online!(
        "poddisruptionbudget",
        &["pdb"],
        "NAME --selector=SELECTOR --min-available=N",
        "Create a pod disruption budget with the specified name",
        generator![
            text("min-available", "The minimum number or percentage of available pods this budget requires."),
            text(
                "max-unavailable",
                "The maximum number or percentage of unavailable pods this budget requires."
            ),
            text(
                "selector",
                "A label selector to use for this budget. Only equality-based selector requirements are supported."
            ),
        ],
        policy::disruption_budget
    ),
    online!(
        "priorityclass",
        &["pc"],
        "NAME --value=VALUE --global-default=BOOL",
        "Create a priority class with the specified name",
        generator![
            text("value", "the value of this priority class.").default("0"),
            on(
                "global-default",
                "global-default specifies whether this PriorityClass should be considered as the default priority."
            ),
            text("description", "description is an arbitrary string."),
            text(
                "preemption-policy",
                "preemption-policy is the policy for preempting pods with lower priority."
            )
            .default("PreemptLowerPriority"),
        ],
        policy::priority_class
    ),
    online!(
        "role",
        &[],
        "NAME --verb=verb --resource=resource.group/subresource",
        "Create a role with single rule",
        rbac::ROLE,
        rbac::role
    ),
    online!(
        "clusterrole",
        &[],
        "NAME --verb=verb --resource=resource.group",
        "Create a cluster role",
        rbac::ROLE,
        rbac::cluster_role
    ),
    online!(
        "rolebinding",
        &[],
        "NAME --clusterrole=NAME|--role=NAME [--user=username]",
        "Create a role binding for a particular role or cluster role",
        rbac::BINDING,
        rbac::role_binding
    ),
    online!(
        "clusterrolebinding",
        &[],
        "NAME --clusterrole=NAME [--user=username]",
        "Create a cluster role binding for a particular cluster role",
        rbac::BINDING,
        rbac::cluster_role_binding
    ),
    online!(
        "token",
        &[],
        "SERVICE_ACCOUNT_NAME",
        "Request a service account token",
        rbac::TOKEN,
        rbac::token
    ),
];

pub async fn run(cx: Context, args: Args) -> Outcome {
    if args.given("raw") {
        let data = crate::resources::files::raw(&args.list("filename"))?;
        let path = args.text("raw");
        let body = cx.rest().await?.call(Method::POST, path, rest::JSON, Some((rest::JSON, data))).await?;
        crate::term::bytes(&body);
        return Ok(());
    }
    let query = Query::read(&args);
    if query.files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    super::no_operands(&args, "create")?;
    let (infos, mut errors) = builder::from_files(&cx, &query).await?;
    if infos.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to create"));
    }
    for info in infos {
        match create(&cx, &args, info, "created").await {
            Ok(()) => {}
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}

/// Creates one object and says so.
async fn create(cx: &Context, args: &Args, mut info: crate::resources::Info, done: &str) -> Outcome {
    let dry = DryRun::read(args)?;
    let said = Said::read(args, dry)?;
    if args.on("save-config") {
        common::set_last_applied(&mut info.object);
    }
    if dry == DryRun::Client {
        return said.tell(&info, "created");
    }
    let validation = common::validation(args.text("validate"))?;
    let path = rest::with_query(
        &info.resource.path(info.namespace.as_deref()),
        &[("fieldManager", args.text("field-manager")), ("fieldValidation", validation), dry.pair()],
    );
    match cx.rest().await?.send(Method::POST, &path, &info.object).await {
        Ok(made) => said.tell(&info.with(made), done),
        Err(e) if info.source.is_empty() => Err(match e {
            Error::Api(mut s) => {
                // As kubectl wraps most, the answer is no longer the server's own.
                let kind = info.resource.kind.to_lowercase();
                let words = match kind.as_str() {
                    "namespace" | "role" | "clusterrole" | "pod" | "horizontalpodautoscaler" => {
                        return Err(Error::Api(s));
                    }
                    "secret" => "secret ".to_owned(),
                    "resourcequota" => "quota: ".to_owned(),
                    "poddisruptionbudget" => "poddisruptionbudgets: ".to_owned(),
                    "service" => {
                        format!("{} service: ", info.object.str_at(&["spec", "type"]).unwrap_or("ClusterIP"))
                    }
                    other => format!("{other}: "),
                };
                s.message = format!("failed to create {words}{}", s.message);
                Error::Message(s.message)
            }
            other => other,
        }),
        Err(e) => Err(e.during("creating", &info.source)),
    }
}

/// Creates a generated object.
///
/// # Errors
/// Refusals.
pub async fn generated(cx: &Context, args: &Args, object: impl Serialize) -> Outcome {
    generated_as(cx, args, object, "created").await
}

/// As [`generated`], said in another word.
///
/// # Errors
/// Refusals.
pub async fn generated_as(cx: &Context, args: &Args, object: impl Serialize, done: &str) -> Outcome {
    let mut object = Document::from_typed(&object)?;
    let dry = DryRun::read(args)?;
    let explicit = !cx.global.namespace.is_empty();
    let mut info = builder::info(cx, Manifest { source: String::new(), object: object.clone() }).await?;
    if dry == DryRun::Client && !explicit && info.resource.namespaced {
        // What is only shown names no namespace nobody asked for.
        object.set_meta_str("namespace", "");
        info.object = object;
    }
    create(cx, args, info, done).await
}

fn meta(name: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("name", name.to_owned())])
}

async fn namespace(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create namespace")?;
    generated(&cx, &args, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta(name)})).await
}

async fn service_account(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create serviceaccount")?;
    generated(&cx, &args, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name)})).await
}
