//! `exec` and `attach`: a container's streams joined to ours.

use super::{Outcome, common, pods};
use crate::context::Context;
use crate::error::{Error, Result, message, usage};
use crate::flags::{Args, Flag, on, text};
use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use std::io::IsTerminal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

pub const FLAGS: &[Flag] = &[
    on("stdin", "Pass stdin to the container").short('i'),
    on("tty", "Stdin is a TTY").short('t'),
    on("quiet", "Only print output from the remote session").short('q'),
    text("container", "Container name.").short('c'),
    text("pod-running-timeout", "Accepted for compatibility.").default("1m0s"),
    common::FILENAME,
];

pub const ATTACH_FLAGS: &[Flag] = &[
    on("stdin", "Pass stdin to the container").short('i'),
    on("tty", "Stdin is a TTY").short('t'),
    on("quiet", "Only print output from the remote session").short('q'),
    text("container", "Container name.").short('c'),
    text("pod-running-timeout", "Accepted for compatibility.").default("1m0s"),
    text("detach-keys", "Accepted for compatibility."),
];

const BUFFER: usize = 64 << 10;

pub async fn run(cx: Context, args: Args) -> Outcome {
    let given = &args.operands;
    let split = match args.dash {
        Some(at) => at,
        None if given.len() > 1 => {
            return Err(usage(
                "exec",
                "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead",
            ));
        }
        None => given.len(),
    };
    let (targets, command) = given.split_at(split);
    let [target] = targets else {
        return Err(message("pod, type/name or --filename must be specified"));
    };
    if command.is_empty() {
        return Err(message("you must specify at least one command for the container"));
    }
    let pod = first(&cx, target).await?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return Err(message(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = pods::container(&pod, args.text("container"), args.on("quiet"))?;
    let streams = Streams::of(&args);
    session(&cx, &pod, &container, Some(command), streams).await
}

pub async fn attach(cx: Context, args: Args) -> Outcome {
    let target = match args.operands.as_slice() {
        [one] => one.clone(),
        [kind, name] => format!("{kind}/{name}"),
        [] => return Err(message("at least 1 argument is required for attach")),
        more => {
            return Err(message(format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: [{}]",
                more.len(),
                more.join(" ")
            )));
        }
    };
    let pod = first(&cx, &target).await?;
    let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
    if phase == "Succeeded" || phase == "Failed" {
        return Err(message(format!(
            "cannot attach a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = pods::container(&pod, args.text("container"), args.on("quiet"))?;
    attach_to(&cx, &pod, &container, Streams::of(&args), args.on("quiet")).await
}

/// Attaches to a container whose terminal, if any, decides ours.
pub async fn attach_to(
    cx: &Context,
    pod: &Pod,
    container: &str,
    mut streams: Streams,
    quiet: bool,
) -> Outcome {
    let spec = pod.spec.as_ref();
    let tty = spec.is_some_and(|s| s.containers.iter().any(|c| c.name == container && c.tty == Some(true)));
    if streams.tty && !tty {
        streams.tty = false;
        if !quiet {
            eprintln!("error: Unable to use a TTY - container {container} did not allocate one");
        }
    } else if !streams.tty && tty && streams.stdin && crate::term::stdin_is_terminal() {
        // The container's terminal echoes; ours must not.
        streams.tty = true;
    }
    if streams.stdin && !quiet {
        eprintln!("If you don't see a command prompt, try pressing enter.");
    }
    session(cx, pod, container, None, streams).await
}

async fn first(cx: &Context, target: &str) -> Result<Pod> {
    pods::of(cx, target).await?.into_iter().next().ok_or_else(|| message("expected a resource"))
}

/// Which of our streams are joined.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    pub stdin: bool,
    pub tty: bool,
}

impl Streams {
    /// From `-i` and `-t`; no terminal where ours is none.
    pub fn of(args: &Args) -> Self {
        let (stdin, mut tty) = (args.on("stdin"), args.on("tty"));
        if tty && !(stdin && std::io::stdin().is_terminal()) {
            tty = false;
            if !args.on("quiet") {
                eprintln!("Unable to use a TTY - input is not a terminal or the right kind of file");
            }
        }
        Self { stdin, tty }
    }
}

/// A pod's exec or attach call.
///
/// # Errors
/// Refusals and broken connections.
pub async fn open(
    cx: &Context,
    pod: &Pod,
    command: Option<&[String]>,
    params: &AttachParams,
) -> Result<AttachedProcess> {
    let ns = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(cx.upgrading().await?, &ns);
    let opened = match command {
        Some(command) => api.exec(&name, command, params).await,
        None => api.attach(&name, params).await,
    };
    opened.map_err(told)
}

/// A client library's error as ours.
pub fn told(e: kube::Error) -> Error {
    match e {
        kube::Error::Api(status) => {
            match serde_json::to_vec(&*status).ok().and_then(|b| gantry_types::Document::from_json(&b).ok()) {
                Some(mut d) => {
                    d.set_type("v1", "Status");
                    match d.to_typed() {
                        Ok(body) => Error::Api(Box::new(body)),
                        Err(_) => message(status.message.clone()),
                    }
                }
                None => message(status.message.clone()),
            }
        }
        other => message(other.to_string()),
    }
}

async fn session(
    cx: &Context,
    pod: &Pod,
    container: &str,
    command: Option<&[String]>,
    streams: Streams,
) -> Outcome {
    let mut params = AttachParams::default()
        .container(container)
        .stdin(streams.stdin)
        .stdout(true)
        .stderr(!streams.tty)
        .tty(streams.tty);
    params.max_stdin_buf_size = Some(BUFFER);
    params.max_stdout_buf_size = Some(BUFFER);
    params.max_stderr_buf_size = Some(BUFFER);
    let mut process = open(cx, pod, command, &params).await?;
    let _raw = if streams.tty { Raw::enter() } else { None };
    if let Some(mut sizes) = process.terminal_size() {
        tokio::spawn(async move {
            let Ok(mut changes) =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
            else {
                return;
            };
            loop {
                if let Some((height, width)) = size()
                    && sizes.send(TerminalSize { height, width }).await.is_err()
                {
                    return;
                }
                if changes.recv().await.is_none() {
                    return;
                }
            }
        });
    }
    if let Some(mut sink) = process.stdin() {
        tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            let mut buffer = vec![0; BUFFER];
            while let Ok(n) = input.read(&mut buffer).await {
                if n == 0 || sink.write_all(&buffer[..n]).await.is_err() || sink.flush().await.is_err() {
                    break;
                }
            }
            // The end of our input is the end of theirs.
            let _ = sink.shutdown().await;
        });
    }
    let status = process.take_status();
    let out = process.stdout().map(|s| copy(s, false));
    let err = process.stderr().map(|s| copy(s, true));
    let streams = async {
        tokio::join!(
            async {
                if let Some(out) = out {
                    out.await;
                }
            },
            async {
                if let Some(err) = err {
                    err.await;
                }
            }
        )
    };
    let (_, status) = tokio::join!(streams, async {
        match status {
            Some(s) => s.await,
            None => None,
        }
    });
    match status {
        Some(s) => ended(&s),
        None if command.is_none() => Ok(()),
        None => Err(message("the connection ended before the command's result came")),
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to_stderr: bool) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        if to_stderr {
            // Nowhere is left to say that standard error is gone.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), &buffer[..n]);
        } else {
            crate::term::bytes(&buffer[..n]);
        }
    }
}

/// The command's result: its exit code is ours.
pub fn ended(status: &Status) -> Outcome {
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.as_ref().and_then(|d| d.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|c| c.reason.as_deref() == Some("ExitCode"))
        .and_then(|c| c.message.as_ref()?.parse::<i32>().ok());
    match code {
        Some(code) => Err(Error::Exit(code, format!("command terminated with exit code {code}"))),
        None => Err(match status.reason.as_deref() {
            Some(reason) if !reason.is_empty() => {
                Error::Plain(format!("error: {reason}: {}", status.message.clone().unwrap_or_default()))
            }
            _ => message(status.message.clone().unwrap_or_default()),
        }),
    }
}

/// The terminal's rows and columns.
fn size() -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the given place and keeps nothing.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}

/// The terminal in raw mode until dropped.
struct Raw(nix::sys::termios::Termios);

impl Raw {
    fn enter() -> Option<Self> {
        use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that went away needs no restoring.
        let _ = nix::sys::termios::tcsetattr(std::io::stdin(), nix::sys::termios::SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_become_exit_codes() {
        let check = |json: &str, code: i32, text: &str| {
            let e = ended(&serde_json::from_str(json).unwrap()).err();
            assert_eq!(e.map_or((0, String::new()), |e| (e.code(), e.text())), (code, text.to_owned()));
        };
        check(r#"{"status":"Success"}"#, 0, "");
        check(
            r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#,
            7,
            "command terminated with exit code 7",
        );
        check(
            r#"{"status":"Failure","reason":"InternalError","message":"boom"}"#,
            1,
            "error: InternalError: boom",
        );
    }
}
