//! `config`: showing and changing kubeconfig files.

use super::table::local;
use super::{Command, Outcome, Run, common};
use crate::config::file::{self, List};
use crate::error::{Result, message, usage};
use crate::flags::global::Global;
use crate::flags::{Args, Flag, on, text};
use crate::print::{Format, tabs, yaml};
use base64::Engine;
use gantry_types::Document;
use gantry_types::field::go_quote;

const VIEW: &[Flag] = &[
    common::OUTPUT,
    on("raw", "Display raw byte data and sensitive data"),
    on("flatten", "Flatten the resulting kubeconfig file into self-contained output"),
    on("minify", "Remove all information not used by current-context from the output"),
    on("merge", "Merge the full hierarchy of kubeconfig files").default("true"),
];
const CONTEXTS: &[Flag] = &[
    common::OUTPUT,
    on("no-headers", "When using the default or custom-column output format, don't print headers."),
];
const CLUSTER: &[Flag] = &[
    on("embed-certs", "embed-certs for the cluster entry in kubeconfig"),
    text("proxy-url", "proxy-url for the cluster entry in kubeconfig"),
];
const CREDENTIALS: &[Flag] = &[
    on("embed-certs", "Embed client cert/key for the user entry in kubeconfig"),
    text("username", "username for the user entry in kubeconfig"),
    text("password", "password for the user entry in kubeconfig"),
];
const CONTEXT: &[Flag] = &[on("current", "Modify the current context")];

pub const COMMANDS: &[Command] = &[
    local!(
        "view",
        &[],
        "[flags]",
        "Display merged kubeconfig settings or a specified kubeconfig file",
        VIEW,
        view
    ),
    local!("current-context", &[], "", "Display the current-context", &[], current),
    local!(
        "use-context",
        &["use"],
        "CONTEXT_NAME",
        "Set the current-context in a kubeconfig file",
        &[],
        use_context
    ),
    local!(
        "get-contexts",
        &[],
        "[(-o|--output=)name)]",
        "Describe one or many contexts",
        CONTEXTS,
        get_contexts
    ),
    local!("get-clusters", &[], "", "Display clusters defined in the kubeconfig", &[], get_clusters),
    local!("get-users", &[], "", "Display users defined in the kubeconfig", &[], get_users),
    local!(
        "set-cluster",
        &[],
        "NAME [--server=server] [--certificate-authority=path]",
        "Set a cluster entry in kubeconfig",
        CLUSTER,
        set_cluster
    ),
    local!(
        "set-credentials",
        &[],
        "NAME [--client-certificate=path] [--client-key=path] [--token=token]",
        "Set a user entry in kubeconfig",
        CREDENTIALS,
        set_credentials
    ),
    local!(
        "set-context",
        &[],
        "[NAME | --current] [--cluster=name] [--user=name] [--namespace=name]",
        "Set a context entry in kubeconfig",
        CONTEXT,
        set_context
    ),
    local!(
        "delete-cluster",
        &[],
        "NAME",
        "Delete the specified cluster from the kubeconfig",
        &[],
        delete_cluster
    ),
    local!("delete-user", &[], "NAME", "Delete the specified user from the kubeconfig", &[], delete_user),
    local!(
        "delete-context",
        &[],
        "NAME",
        "Delete the specified context from the kubeconfig",
        &[],
        delete_context
    ),
    local!(
        "rename-context",
        &[],
        "CONTEXT_NAME NEW_NAME",
        "Rename a context from the kubeconfig file",
        &[],
        rename_context
    ),
    local!("unset", &[], "PROPERTY_NAME", "Unset an individual value in a kubeconfig file", &[], unset),
    local!(
        "set",
        &[],
        "PROPERTY_NAME PROPERTY_VALUE",
        "Set an individual value in a kubeconfig file",
        &[],
        set
    ),
];

fn one<'a>(args: &'a Args, command: &str) -> Result<&'a str> {
    match args.operands.as_slice() {
        [one] => Ok(one),
        other => Err(usage(command, format!("Unexpected args: [{}]", other.join(" ")))),
    }
}

fn current_of(d: &Document) -> String {
    d.str_at(&["current-context"]).unwrap_or_default().to_owned()
}

fn view(global: Global, args: Args) -> Outcome {
    let mut d = file::merged(&global)?;
    if args.on("minify") {
        minify(&mut d, &global)?;
    }
    if args.on("flatten") {
        for (list, pairs) in [
            (List::Clusters, &[("certificate-authority", "certificate-authority-data")][..]),
            (
                List::Users,
                &[("client-certificate", "client-certificate-data"), ("client-key", "client-key-data")][..],
            ),
        ] {
            let mut all = file::entries(&d, list);
            for entry in &mut all {
                for (path, data) in pairs {
                    if let Some(from) = entry.str_at(&[list.singular(), path]).map(str::to_owned) {
                        entry.set_at(&[list.singular(), data], embedded(&from)?);
                        entry.remove_at(&[list.singular(), path]);
                    }
                }
            }
            file::set_entries(&mut d, list, all);
        }
    }
    if !args.on("raw") {
        redact(&mut d);
    }
    match args.text("output") {
        "" | "yaml" => out!("{}", yaml::text(&d.into_value())),
        other => out!("{}", Format::parse(other, false)?.object(&d)?),
    }
    Ok(())
}

fn redact(d: &mut Document) {
    for list in [List::Clusters, List::Users] {
        let mut all = file::entries(d, list);
        for entry in &mut all {
            for (field, word) in [
                ("certificate-authority-data", "DATA+OMITTED"),
                ("client-certificate-data", "DATA+OMITTED"),
                ("client-key-data", "DATA+OMITTED"),
                ("token", "REDACTED"),
                ("password", "REDACTED"),
            ] {
                if entry.has(&[list.singular(), field]) {
                    entry.set_at(&[list.singular(), field], word);
                }
            }
        }
        file::set_entries(d, list, all);
    }
}

fn minify(d: &mut Document, global: &Global) -> Outcome {
    let wanted = if global.context.is_empty() { current_of(d) } else { global.context.clone() };
    if wanted.is_empty() {
        return Err(message("current-context must exist in order to minify"));
    }
    let mut contexts = file::entries(d, List::Contexts);
    contexts.retain(|c| file::name(c) == wanted);
    let Some(context) = contexts.first().cloned() else {
        return Err(message(format!("cannot locate context {wanted}")));
    };
    d.set_at(&["current-context"], wanted);
    file::set_entries(d, List::Contexts, contexts);
    for list in [List::Clusters, List::Users] {
        let name = context.str_at(&["context", list.singular()]).unwrap_or_default();
        let mut all = file::entries(d, list);
        all.retain(|e| file::name(e) == name);
        file::set_entries(d, list, all);
    }
    Ok(())
}

fn current(global: Global, _args: Args) -> Outcome {
    let name = current_of(&file::merged(&global)?);
    if name.is_empty() {
        return Err(message("current-context is not set"));
    }
    outln!("{name}");
    Ok(())
}

fn use_context(global: Global, args: Args) -> Outcome {
    let name = one(&args, "config use-context")?;
    let all = file::entries(&file::merged(&global)?, List::Contexts);
    if !all.iter().any(|c| file::name(c) == name) {
        return Err(message(format!("no context exists with the name: {}", go_quote(name))));
    }
    let path = file::target(&global, |d| !current_of(d).is_empty())?;
    let mut d = file::read(&path)?;
    d.set_at(&["current-context"], name);
    file::write(&path, &d)?;
    outln!("Switched to context {}.", go_quote(name));
    Ok(())
}

fn get_contexts(global: Global, args: Args) -> Outcome {
    let d = file::merged(&global)?;
    let current = current_of(&d);
    let all = file::entries(&d, List::Contexts);
    let mut shown: Vec<&Document> = Vec::new();
    for name in &args.operands {
        match all.iter().find(|c| file::name(c) == name) {
            Some(c) => shown.push(c),
            None => return Err(message(format!("context {name} not found"))),
        }
    }
    if args.operands.is_empty() {
        shown = all.iter().collect();
    }
    shown.sort_by_key(|c| file::name(c).to_owned());
    if args.text("output") == "name" {
        for c in shown {
            outln!("{}", file::name(c));
        }
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !args.on("no-headers") {
        rows.push(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).to_vec());
    }
    for c in shown {
        let at = |f: &str| c.str_at(&["context", f]).unwrap_or_default().to_owned();
        let mark = if file::name(c) == current { "*" } else { "" };
        rows.push(vec![mark.into(), file::name(c).into(), at("cluster"), at("user"), at("namespace")]);
    }
    out!("{}", tabs::table(&rows));
    Ok(())
}

fn names(global: &Global, list: List) -> Outcome {
    outln!("NAME");
    let mut all: Vec<String> =
        file::entries(&file::merged(global)?, list).iter().map(|e| file::name(e).to_owned()).collect();
    all.sort();
    for name in all {
        outln!("{name}");
    }
    Ok(())
}

fn get_clusters(global: Global, _args: Args) -> Outcome {
    names(&global, List::Clusters)
}

fn get_users(global: Global, _args: Args) -> Outcome {
    names(&global, List::Users)
}

fn embedded(path: &str) -> Result<String> {
    let data = std::fs::read(path).map_err(|e| message(format!("could not read {path}: {e}")))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(data))
}

/// Changes one entry, making it where there is none; whether it was there.
fn change(
    global: &Global,
    list: List,
    name: &str,
    edit: impl FnOnce(&mut Document) -> Outcome,
) -> Result<bool> {
    let has = |d: &Document| file::entries(d, list).iter().any(|e| file::name(e) == name);
    let path = file::target(global, has)?;
    let mut d = file::read(&path)?;
    let mut all = file::entries(&d, list);
    let there = all.iter().position(|e| file::name(e) == name);
    let mut entry = match there {
        Some(at) => all.remove(at),
        None => {
            let mut fresh = Document::default();
            fresh.set_at(&["name"], name);
            fresh.set_at(&[list.singular()], std::collections::BTreeMap::<String, String>::new());
            fresh
        }
    };
    edit(&mut entry)?;
    all.push(entry);
    file::set_entries(&mut d, list, all);
    file::write(&path, &d)?;
    Ok(there.is_some())
}

/// Sets a file's path or its content, as asked.
fn certificate(entry: &mut Document, list: List, field: &str, path: &str, embed: bool) -> Outcome {
    if path.is_empty() {
        return Ok(());
    }
    let data = format!("{field}-data");
    if embed {
        entry.set_at(&[list.singular(), &data], embedded(path)?);
        entry.remove_at(&[list.singular(), field]);
    } else {
        let full = std::path::absolute(path)?.to_string_lossy().into_owned();
        entry.set_at(&[list.singular(), field], full);
        entry.remove_at(&[list.singular(), &data]);
    }
    Ok(())
}

fn set_cluster(global: Global, args: Args) -> Outcome {
    let name = one(&args, "config set-cluster")?;
    change(&global, List::Clusters, name, |entry| {
        for (field, value) in [
            ("server", global.server.as_str()),
            ("tls-server-name", &global.tls_server_name),
            ("proxy-url", args.text("proxy-url")),
        ] {
            if !value.is_empty() {
                entry.set_at(&["cluster", field], value);
            }
        }
        if args.given("insecure-skip-tls-verify") {
            entry.set_at(&["cluster", "insecure-skip-tls-verify"], global.insecure);
        }
        let embed = args.on("embed-certs");
        certificate(entry, List::Clusters, "certificate-authority", &global.certificate_authority, embed)
    })?;
    outln!("Cluster {} set.", go_quote(name));
    Ok(())
}

fn set_credentials(global: Global, args: Args) -> Outcome {
    let name = one(&args, "config set-credentials")?;
    change(&global, List::Users, name, |entry| {
        for (field, value) in [
            ("token", global.token.as_str()),
            ("username", args.text("username")),
            ("password", args.text("password")),
        ] {
            if !value.is_empty() {
                entry.set_at(&["user", field], value);
            }
        }
        let embed = args.on("embed-certs");
        certificate(entry, List::Users, "client-certificate", &global.client_certificate, embed)?;
        certificate(entry, List::Users, "client-key", &global.client_key, embed)
    })?;
    outln!("User {} set.", go_quote(name));
    Ok(())
}

fn set_context(global: Global, args: Args) -> Outcome {
    let name = if args.on("current") {
        let name = current_of(&file::merged(&global)?);
        if name.is_empty() {
            return Err(message("no current context is set"));
        }
        name
    } else {
        match args.operands.as_slice() {
            [one] => one.clone(),
            _ => {
                return Err(usage(
                    "config set-context",
                    "you must specify a non-empty context name or --current",
                ));
            }
        }
    };
    let there = change(&global, List::Contexts, &name, |entry| {
        for (field, value) in
            [("cluster", &global.cluster), ("user", &global.user), ("namespace", &global.namespace)]
        {
            if args.given(field) {
                entry.set_at(&["context", field], value);
            }
        }
        Ok(())
    })?;
    outln!("Context {} {}.", go_quote(&name), if there { "modified" } else { "created" });
    Ok(())
}

fn remove(global: &Global, args: &Args, list: List) -> Outcome {
    let what = list.singular();
    let name = one(args, &format!("config delete-{what}"))?;
    let path = file::target(global, |d| file::entries(d, list).iter().any(|e| file::name(e) == name))?;
    let mut d = file::read(&path)?;
    let mut all = file::entries(&d, list);
    let before = all.len();
    all.retain(|e| file::name(e) != name);
    if all.len() == before {
        return Err(message(format!("cannot delete {what} {name}, not in {}", path.display())));
    }
    if list == List::Contexts && current_of(&d) == name {
        eprintln!(
            "warning: this removed your active context, use \"kctl config use-context\" to select a different one"
        );
    }
    file::set_entries(&mut d, list, all);
    file::write(&path, &d)?;
    outln!("deleted {what} {name} from {}", path.display());
    Ok(())
}

fn delete_cluster(global: Global, args: Args) -> Outcome {
    remove(&global, &args, List::Clusters)
}

fn delete_user(global: Global, args: Args) -> Outcome {
    remove(&global, &args, List::Users)
}

fn delete_context(global: Global, args: Args) -> Outcome {
    remove(&global, &args, List::Contexts)
}

fn rename_context(global: Global, args: Args) -> Outcome {
    let [old, new] = args.operands.as_slice() else {
        return Err(usage("config rename-context", "CONTEXT_NAME and NEW_NAME are required"));
    };
    let path =
        file::target(&global, |d| file::entries(d, List::Contexts).iter().any(|e| file::name(e) == old))?;
    let mut d = file::read(&path)?;
    let mut all = file::entries(&d, List::Contexts);
    if all.iter().any(|e| file::name(e) == new) {
        return Err(message(format!(
            "cannot rename the context {}, the context {} already exists in {}",
            go_quote(old),
            go_quote(new),
            path.display()
        )));
    }
    let Some(entry) = all.iter_mut().find(|e| file::name(e) == old) else {
        return Err(message(format!(
            "cannot rename the context {}, it's not in {}",
            go_quote(old),
            path.display()
        )));
    };
    entry.set_at(&["name"], new);
    file::set_entries(&mut d, List::Contexts, all);
    if current_of(&d) == *old {
        d.set_at(&["current-context"], new);
    }
    file::write(&path, &d)?;
    outln!("Context {} renamed to {}.", go_quote(old), go_quote(new));
    Ok(())
}

/// Goes to a property like `contexts.name.namespace` of the right file and changes it there.
fn property(global: &Global, name: &str, value: Option<&str>) -> Outcome {
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        ["current-context"] => {
            let path = file::target(global, |d| !current_of(d).is_empty())?;
            let mut d = file::read(&path)?;
            d.set_at(&["current-context"], value.unwrap_or_default());
            file::write(&path, &d)
        }
        [plural, middle @ .., field] if !middle.is_empty() => {
            let list = [List::Clusters, List::Users, List::Contexts]
                .into_iter()
                .find(|l| l.plural() == *plural)
                .ok_or_else(|| message(format!("unable to parse {name}: unknown property")))?;
            change(global, list, &middle.join("."), |entry| {
                match value {
                    Some(v) => entry.set_at(&[list.singular(), field], v),
                    None => drop(entry.remove_at(&[list.singular(), field])),
                }
                Ok(())
            })
            .map(drop)
        }
        _ => Err(message(format!("unable to parse {name}: unknown property"))),
    }
}

fn unset(global: Global, args: Args) -> Outcome {
    let name = one(&args, "config unset")?;
    property(&global, name, None)?;
    outln!("Property {} unset.", go_quote(name));
    Ok(())
}

fn set(global: Global, args: Args) -> Outcome {
    let [name, value] = args.operands.as_slice() else {
        return Err(usage("config set", "PROPERTY_NAME and PROPERTY_VALUE are required"));
    };
    property(&global, name, Some(value))?;
    outln!("Property {} set.", go_quote(name));
    Ok(())
}
