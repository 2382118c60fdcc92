//! Paths. Pure.

use crate::query::decode;
use http::Method;

/// A container a path names; the UID only where the path has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub namespace: String,
    pub pod: String,
    pub uid: Option<String>,
    /// Empty where the path leads to a pod.
    pub container: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Health,
    Pods,
    RunningPods,
    Logs(Target),
    Run(Target),
    Exec(Target),
    Attach(Target),
    PortForward(Target),
    Summary,
    Metrics,
    Resource,
    Cadvisor,
    Probes,
    Config,
    NotFound,
    WrongMethod,
}

pub fn route(method: &Method, path: &str) -> Route {
    let parts: Vec<String> =
        path.trim_start_matches('/').split('/').map(|p| decode(p, false)).filter(|p| !p.is_empty()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let found = match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => Route::Health,
        ["pods"] => Route::Pods,
        ["runningpods"] => Route::RunningPods,
        ["containerLogs", rest @ ..] => container(rest, false).map_or(Route::NotFound, Route::Logs),
        ["run", rest @ ..] => container(rest, true).map_or(Route::NotFound, Route::Run),
        ["exec", rest @ ..] => container(rest, true).map_or(Route::NotFound, Route::Exec),
        ["attach", rest @ ..] => container(rest, true).map_or(Route::NotFound, Route::Attach),
        ["portForward", rest @ ..] => pod(rest).map_or(Route::NotFound, Route::PortForward),
        ["stats", "summary"] => Route::Summary,
        ["metrics"] => Route::Metrics,
        ["metrics", "resource"] => Route::Resource,
        ["metrics", "cadvisor"] => Route::Cadvisor,
        ["metrics", "probes"] => Route::Probes,
        ["configz"] => Route::Config,
        _ => Route::NotFound,
    };
    let allowed = match &found {
        Route::Run(_) => method == Method::POST || method == Method::GET,
        Route::Exec(_) | Route::Attach(_) | Route::PortForward(_) => {
            method == Method::GET || method == Method::POST
        }
        Route::Summary => method == Method::GET || method == Method::POST,
        _ => method == Method::GET || method == Method::HEAD,
    };
    if allowed || found == Route::NotFound { found } else { Route::WrongMethod }
}

fn container(parts: &[&str], with_uid: bool) -> Option<Target> {
    let target = |n: &str, p: &str, u: Option<&str>, c: &str| Target {
        namespace: n.into(),
        pod: p.into(),
        uid: u.map(Into::into),
        container: c.into(),
    };
    match parts {
        [n, p, c] => Some(target(n, p, None, c)),
        [n, p, u, c] if with_uid => Some(target(n, p, Some(u), c)),
        _ => None,
    }
}

fn pod(parts: &[&str]) -> Option<Target> {
    match parts {
        [n, p] => container(&[n, p, ""], false),
        [n, p, u] => container(&[n, p, u, ""], true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_somewhere() {
        let target = |uid: Option<&str>, container: &str| Target {
            namespace: "ns".into(),
            pod: "p".into(),
            uid: uid.map(Into::into),
            container: container.into(),
        };
        let check =
            |method: Method, path: &str, want: Route| assert_eq!(route(&method, path), want, "{path}");
        check(Method::GET, "/healthz", Route::Health);
        check(Method::GET, "/pods/", Route::Pods);
        check(Method::GET, "/runningpods/", Route::RunningPods);
        check(Method::GET, "/containerLogs/ns/p/c", Route::Logs(target(None, "c")));
        check(Method::POST, "/exec/ns/p/c", Route::Exec(target(None, "c")));
        check(Method::GET, "/exec/ns/p/u/c", Route::Exec(target(Some("u"), "c")));
        check(Method::POST, "/attach/ns/p/u/c", Route::Attach(target(Some("u"), "c")));
        check(Method::POST, "/portForward/ns/p", Route::PortForward(target(None, "")));
        check(Method::POST, "/portForward/ns/p/u", Route::PortForward(target(Some("u"), "")));
        check(Method::GET, "/metrics/resource", Route::Resource);
        check(Method::POST, "/pods", Route::WrongMethod);
        check(Method::DELETE, "/exec/ns/p/c", Route::WrongMethod);
        check(Method::GET, "/exec/ns", Route::NotFound);
        check(Method::GET, "/", Route::NotFound);
        check(Method::POST, "/nope", Route::NotFound);
    }
}
