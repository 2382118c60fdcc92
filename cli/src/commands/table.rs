//! Every command, a row each.

use super::{
    Command, Run, api, apply, auth, autoscale, certificate, completion, config, cp, create, delete, describe,
    diff, drain, edit, events, exec, explain, expose, get, logs, mark, node, patch, port_forward, rollout,
    run, set, top, version, wait, why,
};

macro_rules! online {
    ($name:literal, $aliases:expr, $usage:literal, $help:literal, $flags:expr, $run:path) => {
        Command {
            name: $name,
            aliases: $aliases,
            usage: $usage,
            help: $help,
            flags: $flags,
            run: Run::Online(|cx, args| Box::pin($run(cx, args))),
        }
    };
}

macro_rules! group {
    ($name:literal, $aliases:expr, $help:literal, $below:expr) => {
        Command {
            name: $name,
            aliases: $aliases,
            usage: "SUBCOMMAND",
            help: $help,
            flags: &[],
            run: Run::Group($below),
        }
    };
}

macro_rules! local {
    ($name:literal, $aliases:expr, $usage:literal, $help:literal, $flags:expr, $run:path) => {
        Command {
            name: $name,
            aliases: $aliases,
            usage: $usage,
            help: $help,
            flags: $flags,
            run: Run::Local($run),
        }
    };
}

pub(super) use {group, local, online};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        aliases: &[],
        usage: "-f FILENAME",
        help: "Create a resource from a file or from stdin",
        flags: create::FLAGS,
        run: Run::Both(|cx, args| Box::pin(create::run(cx, args)), create::COMMANDS),
    },
    online!(
        "get",
        &[],
        "(TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...) [flags]",
        "Display one or many resources",
        get::FLAGS,
        get::run
    ),
    online!(
        "delete",
        &[],
        "([-f FILENAME] | TYPE [(NAME | -l label | --all)])",
        "Delete resources by file names, stdin, resources and names, or by resources and label selector",
        delete::FLAGS,
        delete::run
    ),
    online!(
        "apply",
        &[],
        "-f FILENAME",
        "Apply a configuration to a resource by file name or stdin",
        apply::FLAGS,
        apply::run
    ),
    group!("rollout", &[], "Manage the rollout of a resource", rollout::COMMANDS),
    online!(
        "logs",
        &[],
        "[-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]",
        "Print the logs for a container in a pod",
        logs::FLAGS,
        logs::run
    ),
    online!(
        "exec",
        &[],
        "(POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]",
        "Execute a command in a container",
        exec::FLAGS,
        exec::run
    ),
    online!(
        "attach",
        &[],
        "(POD | TYPE/NAME) -c CONTAINER",
        "Attach to a running container",
        exec::ATTACH_FLAGS,
        exec::attach
    ),
    online!(
        "wait",
        &[],
        "([-f FILENAME] | resource.group/resource.name | resource.group [(-l label | --all)]) [--for=create|--for=delete|--for condition=available|--for=jsonpath='{}'[=value]]",
        "Experimental: Wait for a specific condition on one or many resources",
        wait::FLAGS,
        wait::run
    ),
    online!(
        "describe",
        &[],
        "(-f FILENAME | TYPE [NAME_PREFIX | -l label] | TYPE/NAME)",
        "Show details of a specific resource or group of resources",
        describe::FLAGS,
        describe::run
    ),
    online!(
        "why",
        &[],
        "(TYPE NAME | TYPE/NAME) [-o json|yaml]",
        "Find out what keeps an object from what it should be, and what would have to change",
        why::FLAGS,
        why::run
    ),
    online!(
        "explain",
        &[],
        "TYPE [--recursive=FALSE|TRUE] [--api-version=api-version-group]",
        "Get documentation for a resource",
        explain::FLAGS,
        explain::run
    ),
    online!(
        "edit",
        &[],
        "(RESOURCE/NAME | -f FILENAME)",
        "Edit a resource on the server",
        edit::FLAGS,
        edit::run
    ),
    online!(
        "patch",
        &[],
        "(-f FILENAME | TYPE NAME) [-p PATCH|--patch-file FILE]",
        "Update fields of a resource",
        patch::PATCH_FLAGS,
        patch::patch
    ),
    online!(
        "replace",
        &[],
        "-f FILENAME",
        "Replace a resource by file name or stdin",
        patch::REPLACE_FLAGS,
        patch::replace
    ),
    online!(
        "diff",
        &[],
        "-f FILENAME",
        "Diff the live version against a would-be applied version",
        diff::FLAGS,
        diff::run
    ),
    online!(
        "scale",
        &[],
        "[--resource-version=version] [--current-replicas=count] --replicas=COUNT (-f FILENAME | TYPE NAME)",
        "Set a new size for a deployment, replica set, or replication controller",
        patch::SCALE_FLAGS,
        patch::scale
    ),
    online!(
        "autoscale",
        &[],
        "(-f FILENAME | TYPE NAME | TYPE/NAME) [--min=MINPODS] --max=MAXPODS [--cpu=CPU] [--memory=MEMORY]",
        "Auto-scale a deployment, replica set, stateful set, or replication controller",
        autoscale::FLAGS,
        autoscale::run
    ),
    online!(
        "label",
        &[],
        "(-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N",
        "Update the labels on a resource",
        mark::FLAGS,
        mark::label
    ),
    online!(
        "annotate",
        &[],
        "(-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N",
        "Update the annotations on a resource",
        mark::FLAGS,
        mark::annotate
    ),
    group!("set", &[], "Set specific features on objects", set::COMMANDS),
    online!(
        "run",
        &[],
        "NAME --image=image [--env=\"key=value\"] [--port=port] -- [COMMAND] [args...]",
        "Run a particular image on the cluster",
        run::FLAGS,
        run::run
    ),
    online!(
        "expose",
        &[],
        "(-f FILENAME | TYPE NAME) [--port=port] [--protocol=TCP|UDP|SCTP] [--target-port=number-or-name]",
        "Take a replication controller, service, deployment or pod and expose it as a new Kubernetes service",
        expose::FLAGS,
        expose::run
    ),
    online!(
        "port-forward",
        &[],
        "TYPE/NAME [options] [LOCAL_PORT:]REMOTE_PORT",
        "Forward one or more local ports to a pod",
        port_forward::FLAGS,
        port_forward::run
    ),
    online!(
        "cp",
        &[],
        "<file-spec-src> <file-spec-dest>",
        "Copy files and directories to and from containers",
        cp::FLAGS,
        cp::run
    ),
    online!("cordon", &[], "NODE", "Mark node as unschedulable", node::CORDON_FLAGS, node::cordon),
    online!("uncordon", &[], "NODE", "Mark node as schedulable", node::CORDON_FLAGS, node::uncordon),
    online!("drain", &[], "NODE", "Drain node in preparation for maintenance", drain::FLAGS, drain::run),
    online!(
        "taint",
        &[],
        "NODE NAME KEY_1=VAL_1:TAINT_EFFECT_1",
        "Update the taints on one or more nodes",
        node::TAINT_FLAGS,
        node::taint
    ),
    group!("certificate", &[], "Modify certificate resources", certificate::COMMANDS),
    group!("auth", &[], "Inspect authorization", auth::COMMANDS),
    group!("config", &[], "Modify kubeconfig files", config::COMMANDS),
    local!(
        "completion",
        &[],
        "SHELL",
        "Output shell completion code for the specified shell (bash, zsh, fish)",
        &[],
        completion::run
    ),
    online!("cluster-info", &[], "", "Display cluster information", &[], api::cluster_info),
    online!(
        "api-resources",
        &[],
        "",
        "Print the supported API resources on the server",
        api::RESOURCES_FLAGS,
        api::resources
    ),
    online!(
        "api-versions",
        &[],
        "",
        "Print the supported API versions on the server, in the form of \"group/version\"",
        &[],
        api::versions
    ),
    group!("top", &[], "Display resource (CPU/memory) usage", top::COMMANDS),
    online!("events", &["event"], "", "List events", events::FLAGS, events::run),
    online!(
        "version",
        &[],
        "",
        "Print the client and server version information",
        version::FLAGS,
        version::run
    ),
];
