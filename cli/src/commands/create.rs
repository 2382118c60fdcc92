//! `create`: from manifests, or common kinds from flags.

use super::table::{group, online};
use super::{Command, Outcome, Run, common, create_rbac as rbac};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, array, list, on, text};
use crate::print::{DryRun, Said};
use crate::resources::builder::{self, Query};
use crate::resources::files::Manifest;
use crate::rest;
use base64::Engine;
use gantry_types::Document;
use http::Method;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

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

const FROM: &[Flag] = generator![
    array("from-file", "Key file can be specified using its file path."),
    common::LITERAL,
    array("from-env-file", "Specify the path to a file to read lines of key=val pairs."),
    on("append-hash", "Not supported."),
    text("type", "The type of secret to create"),
];
const TCP: &[Flag] = generator![
    list("tcp", "Port pairs can be specified as '<port>:<targetPort>'."),
    text("clusterip", "Assign your own ClusterIP or set to 'None' for a 'headless' service."),
    text("node-port", "Port used to expose the service on each node in a cluster.").default("0"),
    text("external-name", "External name of service"),
];

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
        FROM,
        config_map
    ),
    group!("secret", &[], "Create a secret using a specified subcommand", SECRETS),
    group!("service", &["svc"], "Create a service using a specified subcommand", SERVICES),
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
        deployment
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
        job
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
        priority_class
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

const SECRETS: &[Command] = &[
    online!(
        "generic",
        &[],
        "NAME [--type=string] [--from-file=[key=]source] [--from-literal=key1=value1]",
        "Create a secret from a local file, directory, or literal value",
        FROM,
        secret
    ),
    online!(
        "docker-registry",
        &[],
        "NAME --docker-username=user --docker-password=password",
        "Create a secret for use with a Docker registry",
        generator![
            text("docker-server", "Server location for Docker registry")
                .default("https://index.docker.io/v1/"),
            text("docker-username", "Username for Docker registry authentication"),
            text("docker-password", "Password for Docker registry authentication"),
            text("docker-email", "Email for Docker registry"),
            array("from-file", "Key files can be specified using their file path."),
        ],
        docker_secret
    ),
    online!(
        "tls",
        &[],
        "NAME --cert=path/to/cert/file --key=path/to/key/file",
        "Create a TLS secret",
        generator![
            text("cert", "Path to PEM encoded public key certificate."),
            text("key", "Path to private key associated with given certificate."),
        ],
        tls_secret
    ),
];

const SERVICES: &[Command] = &[
    online!(
        "clusterip",
        &[],
        "NAME [--tcp=<port>:<targetPort>]",
        "Create a ClusterIP service",
        TCP,
        cluster_ip
    ),
    online!("nodeport", &[], "NAME [--tcp=port:targetPort]", "Create a NodePort service", TCP, node_port),
    online!(
        "loadbalancer",
        &[],
        "NAME [--tcp=port:targetPort]",
        "Create a LoadBalancer service",
        TCP,
        load_balancer
    ),
    online!(
        "externalname",
        &[],
        "NAME --external-name external.name",
        "Create an ExternalName service",
        TCP,
        external_name
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
        match create(&cx, &args, info).await {
            Ok(()) => {}
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}

/// Creates one object and says so.
async fn create(cx: &Context, args: &Args, mut info: crate::resources::Info) -> Outcome {
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
        Ok(made) => said.tell(&info.with(made), "created"),
        Err(e) if info.source.is_empty() => Err(match e {
            Error::Api(mut s) if s.reason != "Invalid" => {
                // As kubectl wraps most, the answer is no longer the server's own.
                let kind = info.resource.kind.to_lowercase();
                let words = match kind.as_str() {
                    "namespace" | "role" | "clusterrole" | "pod" => return Err(Error::Api(s)),
                    "secret" => "secret ".to_owned(),
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
    let mut object = Document::from_typed(&object)?;
    let dry = DryRun::read(args)?;
    let explicit = !cx.global.namespace.is_empty();
    let mut info = builder::info(cx, Manifest { source: String::new(), object: object.clone() }).await?;
    if dry == DryRun::Client && !explicit && info.resource.namespaced {
        // What is only shown names no namespace nobody asked for.
        object.set_meta_str("namespace", "");
        info.object = object;
    }
    create(cx, args, info).await
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

/// The keys and contents of `--from-literal`, `--from-file` and `--from-env-file`.
fn sources(args: &Args) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut out = BTreeMap::new();
    let mut add = |key: String, value: Vec<u8>| match out.insert(key.clone(), value) {
        None => Ok(()),
        Some(_) => {
            Err(message(format!("cannot add key {key}, another key by that name already exists in Data")))
        }
    };
    for literal in args.list("from-literal") {
        let (key, value) = common::key_value(&literal)?;
        add(key, value.into_bytes())?;
    }
    for source in args.list("from-file") {
        let (key, path) = match source.split_once('=') {
            Some((k, p)) => (k.to_owned(), p.to_owned()),
            None => (String::new(), source.clone()),
        };
        let base = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let read = |p: &Path| {
            std::fs::read(p)
                .map_err(|_| message(format!("error reading {}: no such file or directory", p.display())))
        };
        let path = Path::new(&path);
        if path.is_dir() {
            if !key.is_empty() {
                return Err(message("cannot give a key name for a directory path"));
            }
            for entry in std::fs::read_dir(path)? {
                let file = entry?.path();
                if file.is_file() {
                    add(base(&file), read(&file)?)?;
                }
            }
        } else {
            add(if key.is_empty() { base(path) } else { key }, read(path)?)?;
        }
    }
    for file in args.list("from-env-file") {
        for line in std::fs::read_to_string(&file)?.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = match line.split_once('=') {
                Some((k, v)) => (k.to_owned(), v.to_owned()),
                None => (line.to_owned(), std::env::var(line).unwrap_or_default()),
            };
            add(key, value.into_bytes())?;
        }
    }
    Ok(out)
}

fn encoded(data: &BTreeMap<String, Vec<u8>>) -> BTreeMap<&str, String> {
    data.iter().map(|(k, v)| (k.as_str(), base64::engine::general_purpose::STANDARD.encode(v))).collect()
}

async fn config_map(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create configmap")?;
    let (mut text, mut binary) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in sources(&args)? {
        match String::from_utf8(value) {
            Ok(v) => drop(text.insert(key, v)),
            Err(e) => drop(binary.insert(key, e.into_bytes())),
        }
    }
    let mut d =
        Document::from_typed(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name)}))?;
    if !text.is_empty() {
        d.set_at(&["data"], text);
    }
    if !binary.is_empty() {
        d.set_at(&["binaryData"], encoded(&binary));
    }
    generated(&cx, &args, d.map()).await
}

async fn secret(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create secret generic")?;
    let data = sources(&args)?;
    let mut d = Document::from_typed(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(name)}))?;
    if !data.is_empty() {
        d.set_at(&["data"], encoded(&data));
    }
    if !args.text("type").is_empty() {
        d.set_at(&["type"], args.text("type"));
    }
    generated(&cx, &args, d.map()).await
}

async fn docker_secret(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create secret docker-registry")?;
    let files = args.list("from-file");
    let config = if let Some(file) = files.first() {
        std::fs::read(file.split_once('=').map_or(file.as_str(), |(_, p)| p))?
    } else {
        let (user, password) = (args.text("docker-username"), args.text("docker-password"));
        if user.is_empty() || password.is_empty() {
            return Err(message(
                "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
            ));
        }
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut entry = BTreeMap::from([("auth", auth.as_str()), ("username", user), ("password", password)]);
        if !args.text("docker-email").is_empty() {
            entry.insert("email", args.text("docker-email"));
        }
        serde_json::to_vec(&json!({"auths": {args.text("docker-server"): entry}}))?
    };
    let data = BTreeMap::from([(".dockerconfigjson".to_owned(), config)]);
    generated(
        &cx,
        &args,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(name),
        "type": "kubernetes.io/dockerconfigjson", "data": encoded(&data)}),
    )
    .await
}

async fn tls_secret(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create secret tls")?;
    let read = |flag: &str| {
        let path = args.text(flag);
        if path.is_empty() {
            return Err(message(format!("{flag} must be specified")));
        }
        std::fs::read(path).map_err(|_| message(format!("open {path}: no such file or directory")))
    };
    let data = BTreeMap::from([("tls.crt".to_owned(), read("cert")?), ("tls.key".to_owned(), read("key")?)]);
    generated(
        &cx,
        &args,
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(name),
        "type": "kubernetes.io/tls", "data": encoded(&data)}),
    )
    .await
}

async fn service(cx: Context, args: Args, kind: &str, command: &str) -> Outcome {
    let name = common::one_name(&args, command)?;
    let mut ports = Vec::new();
    for pair in args.list("tcp") {
        let (port, target) = pair.split_once(':').unwrap_or((&pair, &pair));
        let number: u16 = port.parse().map_err(|_| {
            message(format!("invalid port: strconv.Atoi: parsing \"{port}\": invalid syntax"))
        })?;
        let mut d = Document::from_typed(
            &json!({"name": pair.replace(':', "-"), "port": number, "protocol": "TCP"}),
        )?;
        match target.parse::<u16>() {
            Ok(n) => d.set_at(&["targetPort"], n),
            Err(_) => d.set_at(&["targetPort"], target),
        }
        let node_port = args.int("node-port")?;
        if kind == "NodePort" && node_port > 0 {
            d.set_at(&["nodePort"], node_port);
        }
        ports.push(d.into_map());
    }
    let headless = args.text("clusterip") == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        return Err(message("at least one tcp port specifier must be provided"));
    }
    let mut d = Document::from_typed(&json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"type": kind, "selector": {"app": name}}}))?;
    if !ports.is_empty() {
        d.set_at(&["spec", "ports"], ports);
    }
    if !args.text("clusterip").is_empty() {
        d.set_at(&["spec", "clusterIP"], args.text("clusterip"));
    }
    if kind == "ExternalName" {
        if args.text("external-name").is_empty() {
            return Err(message("external-name must be specified"));
        }
        d.set_at(&["spec", "externalName"], args.text("external-name"));
    }
    generated(&cx, &args, d.map()).await
}

async fn cluster_ip(cx: Context, args: Args) -> Outcome {
    service(cx, args, "ClusterIP", "create service clusterip").await
}

async fn node_port(cx: Context, args: Args) -> Outcome {
    service(cx, args, "NodePort", "create service nodeport").await
}

async fn load_balancer(cx: Context, args: Args) -> Outcome {
    service(cx, args, "LoadBalancer", "create service loadbalancer").await
}

async fn external_name(cx: Context, args: Args) -> Outcome {
    service(cx, args, "ExternalName", "create service externalname").await
}

/// The name and the command after `--`.
fn name_and_command(args: &Args, what: &str) -> Result<(String, Vec<String>)> {
    let split = args.dash.unwrap_or(args.operands.len());
    let (names, command) = args.operands.split_at(split);
    let [name] = names else {
        return Err(usage(what, format!("exactly one NAME is required, got {}", names.len())));
    };
    Ok((name.clone(), command.to_vec()))
}

async fn deployment(cx: Context, args: Args) -> Outcome {
    let (name, command) = name_and_command(&args, "create deployment")?;
    let images = args.list("image");
    if images.is_empty() {
        return Err(message("required flag(s) \"image\" not set"));
    }
    let mut containers = Vec::new();
    for image in &images {
        let last = image.rsplit('/').next().unwrap_or(image);
        let mut container: String = last.split(['@', ':']).next().unwrap_or(last).to_lowercase();
        container.retain(|c| c.is_ascii_alphanumeric() || c == '-');
        let mut d = Document::from_typed(&json!({"name": container, "image": image}))?;
        if !command.is_empty() {
            d.set_at(&["command"], &command);
        }
        let port = args.int("port")?;
        if port >= 0 {
            d.set_at(&["ports"], [json!({"containerPort": port})]);
        }
        containers.push(d.into_map());
    }
    let labels = json!({"app": name});
    generated(
        &cx,
        &args,
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": args.int("replicas")?, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}}}}),
    )
    .await
}

async fn job(cx: Context, args: Args) -> Outcome {
    let (name, command) = name_and_command(&args, "create job")?;
    let from = args.text("from");
    if from.is_empty() == args.text("image").is_empty() {
        return Err(message("either --image or --from must be specified"));
    }
    if !from.is_empty() {
        let (infos, errors) = builder::fetch(&cx, &[from.to_owned()], &Query::default()).await?;
        Error::all(errors)?;
        let Some(info) = infos.first().filter(|i| i.resource.kind == "CronJob") else {
            return Err(message("from must be an existing cronjob"));
        };
        let template: gantry_machinery::patch::strategic::Object =
            info.object.get_at(&["spec", "jobTemplate"]).unwrap_or_default();
        let mut d = Document::new(template);
        d.set_type("batch/v1", "Job");
        d.set_meta_str("name", &name);
        d.set_at(&["metadata", "annotations", "cronjob.kubernetes.io/instantiate"], "manual");
        d.set_at(
            &["metadata", "ownerReferences"],
            [json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "name": info.name, "uid": info.object.uid(), "controller": true})],
        );
        return generated(&cx, &args, d.map()).await;
    }
    let mut container = Document::from_typed(&json!({"name": name, "image": args.text("image")}))?;
    if !command.is_empty() {
        container.set_at(&["command"], command);
    }
    generated(
        &cx,
        &args,
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(&name),
        "spec": {"template": {"spec": {"containers": [container.map()], "restartPolicy": "Never"}}}}),
    )
    .await
}

async fn priority_class(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create priorityclass")?;
    let mut d = Document::from_typed(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": meta(name), "value": args.int("value")?, "preemptionPolicy": args.text("preemption-policy")}))?;
    if args.on("global-default") {
        d.set_at(&["globalDefault"], true);
    }
    if !args.text("description").is_empty() {
        d.set_at(&["description"], args.text("description"));
    }
    generated(&cx, &args, d.map()).await
}
