//! Streams into containers and sandboxes: the runtime names a streaming server of its own, to which the request
//! is carried.

use crate::answer::{self, Answer};
use crate::logs;
use crate::query::Query;
use crate::route::Target;
use gantry_kubelet_cri::runtime::Code;
use gantry_kubelet_cri::view::NodeView;
use gantry_kubelet_cri::{CriError, cri};
use gantry_stream::remote::Options;
use gantry_stream::{Error, Kind, carry};
use http::{Request, Uri};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the runtime's streaming server may take to answer a dial.
const DIAL: Duration = Duration::from_secs(30);

/// The streams a query asks for. A terminal has no separate error output.
///
/// # Errors
/// Where it asks for none.
pub fn options(query: &Query) -> Result<Options, &'static str> {
    let tty = query.is_one("tty");
    let options = Options {
        stdin: query.is_one("input"),
        stdout: query.is_one("output"),
        stderr: query.is_one("error") && !tty,
        tty,
    };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err("you must specify at least 1 of stdin, stdout, stderr");
    }
    Ok(options)
}

/// An error of the runtime as an answer.
fn refused(error: &CriError) -> Answer {
    match error.code {
        Code::NotFound => answer::text(404, error.to_string()),
        Code::Other("ResourceExhausted") => {
            let mut answer = answer::text(429, error.to_string());
            answer.headers_mut().insert(http::header::RETRY_AFTER, 60.into());
            answer
        }
        _ => answer::text(500, error.to_string()),
    }
}

/// The pod of a path. A static pod also goes by the UID of its image in the API.
fn pod(view: &dyn NodeView, target: &Target) -> Option<(Arc<Pod>, bool)> {
    let find = |uid| view.pod(&target.namespace, &target.pod, uid);
    let pod = target.uid.as_deref().and_then(|uid| find(Some(uid))).or_else(|| find(None))?;
    let is_static = || {
        let source = pod.metadata.annotations.as_ref().and_then(|a| a.get("kubernetes.io/config.source"));
        source.is_some_and(|s| s != "api")
    };
    let same = target.uid.is_none() || target.uid == pod.metadata.uid || is_static();
    Some((pod, same))
}

/// The ID of the running instance a path names.
fn container(view: &dyn NodeView, target: &Target) -> Result<String, Box<Answer>> {
    let Some((pod, same)) = pod(view, target) else {
        return Err(Box::new(answer::text(404, "pod does not exist")));
    };
    let running = logs::status(&pod, &target.container)
        .filter(|c| same && c.state.as_ref().is_some_and(|s| s.running.is_some()));
    running
        .and_then(|_| view.container_id(&pod, &target.container, false))
        .ok_or_else(|| Box::new(answer::text(500, format!("container not found ({:?})", target.container))))
}

/// Serves `/exec`, or `/attach` where `command` is `None`.
pub async fn command(
    view: &dyn NodeView,
    target: &Target,
    query: &Query,
    command: Option<Vec<String>>,
    request: Request<Incoming>,
) -> Answer {
    let options = match options(query) {
        Ok(options) => options,
        Err(why) => return answer::text(400, why),
    };
    let id = match container(view, target) {
        Ok(id) => id,
        Err(answer) => return *answer,
    };
    let Options { stdin, stdout, stderr, tty } = options;
    let runtime = view.runtime();
    let url = match command {
        Some(cmd) => {
            runtime.exec(cri::ExecRequest { container_id: id, cmd, tty, stdin, stdout, stderr }).await
        }
        None => runtime.attach(cri::AttachRequest { container_id: id, stdin, tty, stdout, stderr }).await,
    };
    carried(url, Kind::Command(options), request).await
}

/// Serves `/portForward`.
pub async fn port_forward(
    view: &dyn NodeView,
    target: &Target,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    let Some((pod, same)) = pod(view, target) else { return answer::text(404, "pod does not exist") };
    if !same {
        return answer::text(404, "pod not found");
    }
    let mut port = Vec::new();
    // Only the older WebSocket protocol names ports up front.
    for text in query.all("port").iter().flat_map(|p| p.split(',')) {
        match text.parse::<u16>() {
            Ok(n) if n > 0 => port.push(i32::from(n)),
            Ok(_) => return answer::text(400, format!("port {text:?} must be > 0")),
            Err(_) => return answer::text(400, format!("unable to parse {text:?} as a port")),
        }
    }
    let Some(pod_sandbox_id) = view.sandbox_id(&pod) else {
        let display = format!("{}_{}", target.pod, target.namespace);
        return answer::text(500, format!("failed to find running sandbox for pod {display:?}"));
    };
    let request_for = cri::PortForwardRequest { pod_sandbox_id, port };
    carried(view.runtime().port_forward(request_for).await, Kind::PortForward, request).await
}

/// Serves `/run`: a command without input, its output as the answer.
pub async fn run(view: &dyn NodeView, target: &Target, query: &Query) -> Answer {
    let id = match container(view, target) {
        Ok(id) => id,
        Err(answer) => return *answer,
    };
    let cmd: Vec<String> = query.get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
    let told = cmd.join(" ");
    match view.runtime().exec_sync(&id, cmd, Duration::ZERO).await {
        Ok(out) if out.exit_code == 0 => answer::json([out.stdout, out.stderr].concat()),
        Ok(out) => {
            let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
            answer::text(500, format!("command '{told}' exited with {}: {stderr}", out.exit_code))
        }
        Err(error) => answer::text(500, error.to_string()),
    }
}

async fn carried(url: Result<String, CriError>, kind: Kind, request: Request<Incoming>) -> Answer {
    let url = match url {
        Ok(url) => url,
        Err(error) => return refused(&error),
    };
    let (authority, address) = match parse(&url) {
        Ok(found) => found,
        Err(why) => return answer::text(500, why),
    };
    let dial = async move {
        let failed = |why: String| Error::Dial(format!("error dialing backend: dial tcp {authority}: {why}"));
        let stream = tokio::time::timeout(DIAL, TcpStream::connect(&authority))
            .await
            .map_err(|_| failed("i/o timeout".into()))?
            .map_err(|e| failed(e.to_string()))?;
        // Latency matters more than packet counts.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    };
    match carry(kind, request, address, dial).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "Error while proxying request");
            answer::text(500, format!("{error}\n"))
        }
    }
}

/// Where a runtime's URL leads, and the request for it.
fn parse(url: &str) -> Result<(String, Request<()>), String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is not a streaming URL: {e}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("streaming URL {url:?} must be http"));
    }
    let authority = uri.authority().ok_or_else(|| format!("streaming URL {url:?} names no host"))?;
    let host = authority.to_string();
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = Request::builder().uri(path).header(http::header::HOST, &host).body(());
    let dial = if authority.port().is_some() { host } else { format!("{host}:80") };
    Ok((dial, request.map_err(|e| e.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_asked_for_with_ones() {
        let check = |query: &str, want: Result<Options, &str>| {
            assert_eq!(options(&Query::parse(query)), want, "{query}");
        };
        let out = Options { stdout: true, ..Options::default() };
        check("output=1", Ok(out));
        check("output=1&error=1&tty=1", Ok(Options { tty: true, ..out }));
        check("output=1&error=1&input=1", Ok(Options { stdin: true, stderr: true, ..out }));
        check("output=true", Err("you must specify at least 1 of stdin, stdout, stderr"));
        check("tty=1&error=1", Err("you must specify at least 1 of stdin, stdout, stderr"));
    }

    #[test]
    fn runtimes_name_their_servers() {
        let (dial, request) = parse("http://127.0.0.1:4321/exec/tok?x=1").unwrap();
        assert_eq!((dial.as_str(), request.uri().to_string().as_str()), ("127.0.0.1:4321", "/exec/tok?x=1"));
        assert_eq!(request.headers()["host"], "127.0.0.1:4321");
        assert_eq!(parse("http://h/x").unwrap().0, "h:80");
        assert!(parse("https://h/x").is_err() && parse("/x").is_err());
    }
}
