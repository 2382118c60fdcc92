//! What a request asks for, read off its path, query and method, as upstream's request info resolver does.

use super::query::Query;
use http::Method;

/// The parsed request. Empty strings where a part is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    pub is_resource: bool,
    pub verb: &'static str,
    /// `api` or `apis`.
    pub api_prefix: &'static str,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// What follows the subresource, for proxies: starts with a slash when present.
    pub rest: String,
}

/// Resources below a namespace path that are the namespace's own subresources.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

fn decode(segment: &str) -> String {
    super::query::percent_decode(segment, false)
}

fn lower_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "connect",
    }
}

impl RequestInfo {
    /// Reads the request line. Anything outside `/api/<v>/…` and `/apis/<g>/<v>/…` is not a resource request
    /// and its verb is the method's name.
    pub fn parse(method: &Method, path: &str, query: &Query) -> Self {
        let plain = Self { verb: lower_method(method), ..Self::default() };
        let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let api_prefix = match parts.first() {
            Some(&"api") => "api",
            Some(&"apis") => "apis",
            _ => return plain,
        };
        let skip = if api_prefix == "api" { 2 } else { 3 };
        if parts.len() <= skip {
            return plain;
        }
        let mut info = Self { is_resource: true, api_prefix, ..Self::default() };
        if api_prefix == "apis" {
            info.group = decode(parts[1]);
        }
        info.version = decode(parts[skip - 1]);
        let mut rest_at = skip;
        parts.drain(..skip);
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        if parts.first() == Some(&"watch") && parts.len() > 1 {
            info.verb = "watch";
            parts.remove(0);
            rest_at += 1;
        }
        if parts.first() == Some(&"namespaces") && parts.len() > 1 {
            info.namespace = decode(parts[1]);
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2]) {
                parts.drain(..2);
                rest_at += 2;
            }
        }
        info.resource = parts.first().map(|s| decode(s)).unwrap_or_default();
        info.name = parts.get(1).map(|s| decode(s)).unwrap_or_default();
        info.subresource = parts.get(2).map(|s| decode(s)).unwrap_or_default();
        if parts.len() > 3 || (parts.len() == 3 && path.ends_with('/')) {
            let consumed: usize = path.match_indices('/').nth(rest_at + 3).map_or(path.len(), |(i, _)| i);
            info.rest = path[consumed..].to_owned();
        }
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.is_true("watch") { "watch" } else { "list" };
        } else if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        // A list or watch of one name by field selector counts as a request for that name.
        if matches!(info.verb, "list" | "watch" | "deletecollection")
            && info.name.is_empty()
            && let Some(name) = query.get("fieldSelector").and_then(selected_name)
        {
            info.name = name;
        }
        info
    }

    /// `pods` or `pods/status`.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// Whether the request may go on for long and must not be cut by the deadline or counted in flight.
    pub fn long_running(&self) -> bool {
        self.is_resource
            && (self.verb == "watch"
                || matches!(self.subresource.as_str(), "proxy" | "attach" | "exec" | "log" | "portforward"))
    }
}

/// The name in `metadata.name=x`, where that is one of the requirements.
fn selected_name(selector: &str) -> Option<String> {
    selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (!value.is_empty() && !value.contains('/')).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, uri: &str, want: (&'static str, &str, &str, &str, &str, &str, &str)) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let i = RequestInfo::parse(&method, path, &Query::parse(query));
        let got = (i.verb, &*i.group, &*i.namespace, &*i.resource, &*i.name, &*i.subresource, &*i.rest);
        assert_eq!(got, want, "{uri}");
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        check(Method::GET, "/api/v1/pods", ("list", "", "", "pods", "", "", ""));
        check(Method::GET, "/api/v1/pods?watch=1", ("watch", "", "", "pods", "", "", ""));
        check(Method::GET, "/api/v1/namespaces/a/pods/b/log", ("get", "", "a", "pods", "b", "log", ""));
        check(Method::GET, "/api/v1/namespaces/a", ("get", "", "a", "namespaces", "a", "", ""));
        check(
            Method::PUT,
            "/api/v1/namespaces/a/finalize",
            ("update", "", "a", "namespaces", "a", "finalize", ""),
        );
        check(
            Method::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            ("deletecollection", "apps", "a", "deployments", "", "", ""),
        );
        check(
            Method::GET,
            "/api/v1/namespaces/a/services/b:80/proxy/x/y",
            ("get", "", "a", "services", "b:80", "proxy", "/x/y"),
        );
        check(Method::GET, "/api/v1/nodes/n/proxy/", ("get", "", "", "nodes", "n", "proxy", "/"));
        check(Method::GET, "/api/v1/watch/namespaces/a/pods", ("watch", "", "a", "pods", "", "", ""));
        check(
            Method::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx",
            ("list", "", "", "pods", "x", "", ""),
        );
        check(Method::GET, "/healthz", ("get", "", "", "", "", "", ""));
        check(Method::POST, "/apis/apps", ("post", "", "", "", "", "", ""));
    }
}
