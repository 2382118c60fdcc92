//! What a request to the kubelet asks for in terms of authorization (KEP-2862): one of several subresources of
//! `nodes` suffices. Pure.

use http::Method;

/// The verb, and the subresources any of which allows the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub verb: &'static str,
    pub subresources: Vec<&'static str>,
}

fn within(root: &str, path: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub fn asked(method: &Method, path: &str) -> Asked {
    let verb = match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    let find = |table: &[(&str, &'static str)]| {
        table.iter().find(|(root, _)| within(root, path)).map(|(_, subresource)| *subresource)
    };
    let fine = find(&[
        ("/pods", "pods"),
        ("/healthz", "healthz"),
        ("/configz", "configz"),
        ("/runningpods", "pods"),
    ]);
    let coarse = find(&[
        ("/stats", "stats"),
        ("/metrics", "metrics"),
        ("/logs", "log"),
        ("/checkpoint", "checkpoint"),
        ("/statusz", "statusz"),
        ("/flagz", "configz"),
    ]);
    Asked { verb, subresources: fine.into_iter().chain([coarse.unwrap_or("proxy")]).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_upstreams() {
        let check = |method: Method, path: &str, verb: &str, want: &[&str]| {
            let got = asked(&method, path);
            assert_eq!((got.verb, got.subresources.as_slice()), (verb, want), "{path}");
        };
        check(Method::GET, "/pods", "get", &["pods", "proxy"]);
        check(Method::GET, "/podsabc", "get", &["proxy"]);
        check(Method::GET, "/runningpods/", "get", &["pods", "proxy"]);
        check(Method::GET, "/healthz/syncloop", "get", &["healthz", "proxy"]);
        check(Method::GET, "/configz", "get", &["configz", "proxy"]);
        check(Method::GET, "/stats/summary", "get", &["stats"]);
        check(Method::GET, "/metrics/cadvisor", "get", &["metrics"]);
        check(Method::GET, "/logs/", "get", &["log"]);
        check(Method::POST, "/checkpoint/a/b/c", "create", &["checkpoint"]);
        check(Method::POST, "/exec/ns/p/c", "create", &["proxy"]);
        check(Method::GET, "/containerLogs/ns/p/c", "get", &["proxy"]);
        check(Method::HEAD, "/statusz", "", &["statusz"]);
    }
}
