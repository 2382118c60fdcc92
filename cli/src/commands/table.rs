//! Every command, a row each.

use super::{Command, Run, apply, create, delete, exec, get, logs, rollout, version, wait};

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
        Command { name: $name, aliases: $aliases, usage: "SUBCOMMAND", help: $help, flags: &[], run: Run::Group($below) }
    };
}

pub(super) use {group, online};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        aliases: &[],
        usage: "-f FILENAME",
        help: "Create a resource from a file or from stdin",
        flags: create::FLAGS,
        run: Run::Both(|cx, args| Box::pin(create::run(cx, args)), create::COMMANDS),
    },
    online!("get", &[], "(TYPE[.VERSION][.GROUP] [NAME | -l label] | TYPE[.VERSION][.GROUP]/NAME ...) [flags]", "Display one or many resources", get::FLAGS, get::run),
    online!("delete", &[], "([-f FILENAME] | TYPE [(NAME | -l label | --all)])", "Delete resources by file names, stdin, resources and names, or by resources and label selector", delete::FLAGS, delete::run),
    online!("apply", &[], "-f FILENAME", "Apply a configuration to a resource by file name or stdin", apply::FLAGS, apply::run),
    group!("rollout", &[], "Manage the rollout of a resource", rollout::COMMANDS),
    online!("logs", &[], "[-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]", "Print the logs for a container in a pod", logs::FLAGS, logs::run),
    online!("exec", &[], "(POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]", "Execute a command in a container", exec::FLAGS, exec::run),
    online!("attach", &[], "(POD | TYPE/NAME) -c CONTAINER", "Attach to a running container", exec::ATTACH_FLAGS, exec::attach),
    online!("wait", &[], "([-f FILENAME] | resource.group/resource.name | resource.group [(-l label | --all)]) [--for=create|--for=delete|--for condition=available|--for=jsonpath='{}'[=value]]", "Experimental: Wait for a specific condition on one or many resources", wait::FLAGS, wait::run),
    online!("version", &[], "", "Print the client and server version information", version::FLAGS, version::run),
];
