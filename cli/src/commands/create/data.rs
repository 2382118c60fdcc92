//! `create configmap` and `create secret`: data from literals and files.

use super::super::table::online;
use super::super::{Command, Outcome, Run, common};
use super::{generated, generator, meta};
use crate::context::Context;
use crate::error::{Result, message};
use crate::flags::{Args, Flag, array, on, text};
use base64::Engine;
use gantry_types::Document;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

pub const FROM: &[Flag] = generator![
    array("from-file", "Key file can be specified using its file path."),
    common::LITERAL,
    array("from-env-file", "Specify the path to a file to read lines of key=val pairs."),
    on("append-hash", "Not supported."),
    text("type", "The type of secret to create"),
];

pub const SECRETS: &[Command] = &[
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

pub async fn config_map(cx: Context, args: Args) -> Outcome {
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
