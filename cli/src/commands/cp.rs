//! `cp`: files through `tar` in the container and `tar` here.

use super::{Outcome, exec, pods};
use crate::context::Context;
use crate::error::{Result, message};
use crate::flags::{Args, Flag, on, text};
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

pub const FLAGS: &[Flag] = &[
    text("container", "Container name.").short('c'),
    on(
        "no-preserve",
        "The copied file/directory's ownership and permissions will not be preserved in the container",
    ),
    text("retries", "Accepted for compatibility.").default("0"),
];

/// One side of a copy.
#[derive(Debug, PartialEq)]
enum Side {
    Local(String),
    Remote { pod: String, path: String },
}

fn side(spec: &str) -> Result<Side> {
    match spec.split_once(':') {
        None => Ok(Side::Local(spec.to_owned())),
        // A path with a colon in it is ours.
        Some((pod, _)) if pod.starts_with(['.', '/']) => Ok(Side::Local(spec.to_owned())),
        Some((pod, path)) if !pod.is_empty() && !path.is_empty() => {
            Ok(Side::Remote { pod: pod.to_owned(), path: path.to_owned() })
        }
        Some(_) => Err(message("filespec must match the canonical format: [[namespace/]pod:]file/path")),
    }
}

/// The directory and last part of a path.
fn parts(path: &str) -> (String, String) {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit_once('/') {
        Some(("", name)) => ("/".into(), name.into()),
        Some((dir, name)) => (dir.into(), name.into()),
        None if trimmed.is_empty() => ("/".into(), ".".into()),
        None => (".".into(), trimmed.into()),
    }
}

async fn pod(mut cx: Context, spec: &str) -> Result<(Context, Pod)> {
    let mut name = spec.to_owned();
    if let Some((ns, pod)) = spec.split_once('/') {
        cx = Context::new(crate::flags::global::Global { namespace: ns.to_owned(), ..cx.global });
        name = pod.to_owned();
    }
    let found =
        pods::of(&cx, &name).await?.into_iter().next().ok_or_else(|| message("expected a resource"))?;
    Ok((cx, found))
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    let [source, target] = args.operands.as_slice() else {
        return Err(message("source and destination are required"));
    };
    match (side(source)?, side(target)?) {
        (Side::Remote { .. }, Side::Remote { .. }) => {
            Err(message("one of src or dest must be a local file specification"))
        }
        (Side::Local(_), Side::Local(_)) => {
            Err(message("one of src or dest must be a remote file specification"))
        }
        (Side::Local(from), Side::Remote { pod: spec, path }) => {
            if !Path::new(&from).exists() {
                return Err(message(format!("{from} doesn't exist in local filesystem")));
            }
            let (cx, pod) = pod(cx, &spec).await?;
            upload(&cx, &args, &pod, &from, &path).await
        }
        (Side::Remote { pod: spec, path }, Side::Local(to)) => {
            let (cx, pod) = pod(cx, &spec).await?;
            download(&cx, &args, &pod, &path, &to).await
        }
    }
}

fn tar(arguments: &[&str], cwd: &Path, input: Stdio, output: Stdio) -> Result<Child> {
    Command::new("tar")
        .args(arguments)
        .current_dir(cwd)
        .stdin(input)
        .stdout(output)
        .spawn()
        .map_err(|e| message(format!("cannot run tar: {e}")))
}

async fn finish(mut child: Child) -> Outcome {
    match child.wait().await? {
        status if status.success() => Ok(()),
        status => Err(message(format!("local tar failed: {status}"))),
    }
}

/// Whether a command succeeds in the container.
async fn succeeds(cx: &Context, pod: &Pod, container: &str, command: &[&str]) -> Result<bool> {
    let command: Vec<String> = command.iter().map(|s| (*s).to_owned()).collect();
    let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let mut process = exec::open(cx, pod, Some(&command), &params).await?;
    let status = process.take_status();
    for stream in [process.stdout(), process.stderr()].into_iter().flatten() {
        let mut stream = stream;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    }
    Ok(match status {
        Some(s) => s.await.is_some_and(|s| exec::ended(&s).is_ok()),
        None => false,
    })
}

async fn upload(cx: &Context, args: &Args, pod: &Pod, from: &str, to: &str) -> Outcome {
    let container = pods::container(pod, args.text("container"), false)?;
    let source = std::fs::canonicalize(from)?;
    let into_directory = to.ends_with('/') || succeeds(cx, pod, &container, &["test", "-d", to]).await?;
    let name = source.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let (directory, target) =
        if into_directory { (to.trim_end_matches('/').to_owned(), name.clone()) } else { parts(to) };
    let directory = if directory.is_empty() { "/".to_owned() } else { directory };
    let parent = source.parent().unwrap_or(Path::new("/")).to_owned();
    // The archive carries the target's name, so that the other side needs only plain tar.
    let rename = format!("--transform=flags=r;s,^{},{},", escape(&name), target.replace(',', "\\,"));
    let mut local = tar(&["-cf", "-", &rename, "--", &name], &parent, Stdio::null(), Stdio::piped())?;
    let mut command: Vec<String> =
        ["tar", "-xmf", "-", "-C", &directory].iter().map(|s| (*s).to_owned()).collect();
    if args.on("no-preserve") {
        command.splice(1..1, ["--no-same-permissions".to_owned(), "--no-same-owner".to_owned()]);
    }
    let params = AttachParams::default().container(container).stdin(true).stdout(true).stderr(true);
    let mut process = exec::open(cx, pod, Some(&command), &params).await?;
    let status = process.take_status();
    if let (Some(mut sink), Some(mut data)) = (process.stdin(), local.stdout.take()) {
        tokio::io::copy(&mut data, &mut sink).await?;
        tokio::io::AsyncWriteExt::shutdown(&mut sink).await?;
    }
    finish(local).await?;
    let mut said = String::new();
    if let Some(mut err) = process.stderr() {
        err.read_to_string(&mut said).await?;
    }
    eprint!("{said}");
    match status {
        Some(s) => s.await.map_or(Ok(()), |s| exec::ended(&s)),
        None => Ok(()),
    }
}

/// A name as a `sed` pattern that matches just it.
fn escape(name: &str) -> String {
    name.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect()
}

async fn download(cx: &Context, args: &Args, pod: &Pod, from: &str, to: &str) -> Outcome {
    let container = pods::container(pod, args.text("container"), false)?;
    let (directory, name) = parts(from);
    let target = PathBuf::from(to);
    let (cwd, wanted) = if target.is_dir() {
        (target, name.clone())
    } else {
        let parent =
            target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        (parent, target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or(name.clone()))
    };
    std::fs::create_dir_all(&cwd)?;
    let command: Vec<String> =
        ["tar", "cf", "-", "-C", &directory, &name].iter().map(|s| (*s).to_owned()).collect();
    let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let mut process = exec::open(cx, pod, Some(&command), &params).await?;
    let status = process.take_status();
    // GNU tar leaves absolute and climbing names out; links out of the target are not followed by it.
    let rename = format!("--transform=flags=r;s,^{},{},", escape(&name), wanted.replace(',', "\\,"));
    let mut local = tar(&["-xf", "-", &rename], &cwd, Stdio::piped(), Stdio::null())?;
    let mut errors = process.stderr();
    let copied = async {
        if let (Some(mut data), Some(mut sink)) = (process.stdout(), local.stdin.take()) {
            tokio::io::copy(&mut data, &mut sink).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let said = async {
        let mut said = String::new();
        if let Some(err) = &mut errors {
            err.read_to_string(&mut said).await?;
        }
        Ok::<_, std::io::Error>(said)
    };
    let (copied, said) = tokio::join!(copied, said);
    eprint!("{}", said?);
    if let Some(s) = status
        && let Some(s) = s.await
    {
        exec::ended(&s)?;
    }
    copied?;
    finish(local).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_name_sides() {
        let remote = |p: &str, f: &str| Side::Remote { pod: p.into(), path: f.into() };
        assert_eq!(side("a/b:/c").unwrap(), remote("a/b", "/c"));
        assert_eq!(side("./a:b").unwrap(), Side::Local("./a:b".into()));
        assert_eq!(side("x").unwrap(), Side::Local("x".into()));
        assert!(side(":x").is_err());
        assert_eq!(parts("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(parts("b"), (".".into(), "b".into()));
        assert_eq!(parts("/b"), ("/".into(), "b".into()));
        assert_eq!(escape("a.b"), "a\\.b");
    }
}
