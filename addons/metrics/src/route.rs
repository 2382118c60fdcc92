//! Paths, and what authorization is asked about them. Pure.

use crate::query::decode;
use http::Method;

pub const GROUP: &str = "metrics.k8s.io";
pub const VERSION: &str = "v1beta1";

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// A page of discovery or of OpenAPI.
    Page(Page),
    /// Nodes, or the one named.
    Nodes {
        name: Option<String>,
    },
    /// Pods of a namespace or of all, or the one named.
    Pods {
        namespace: Option<String>,
        name: Option<String>,
    },
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Groups,
    Group,
    Resources,
    OpenApi2,
    OpenApi3Index,
    OpenApi3,
}

/// Where a path leads.
pub fn route(path: &str) -> Route {
    let parts: Vec<String> =
        path.split('/').filter(|p| !p.is_empty()).map(|part| decode(part, false)).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let below = match parts.as_slice() {
        ["apis"] => return Route::Page(Page::Groups),
        ["apis", GROUP] => return Route::Page(Page::Group),
        ["openapi", "v2"] => return Route::Page(Page::OpenApi2),
        ["openapi", "v3"] => return Route::Page(Page::OpenApi3Index),
        ["openapi", "v3", "apis", GROUP, VERSION] => return Route::Page(Page::OpenApi3),
        ["apis", GROUP, VERSION, below @ ..] => below,
        _ => return Route::Nothing,
    };
    let text = |part: &str| Some(part.to_owned());
    match *below {
        [] => Route::Page(Page::Resources),
        ["nodes"] => Route::Nodes { name: None },
        ["nodes", name] => Route::Nodes { name: text(name) },
        ["pods"] => Route::Pods { namespace: None, name: None },
        ["namespaces", ns, "pods"] => Route::Pods { namespace: text(ns), name: None },
        ["namespaces", ns, "pods", name] => Route::Pods { namespace: text(ns), name: text(name) },
        _ => Route::Nothing,
    }
}

/// A question of authorization: about a resource of ours, or about a path where there is no resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    pub verb: String,
    pub resource: &'static str,
    pub namespace: String,
    pub name: String,
    pub path: String,
}

/// What a request asks for. `single` is the name a list's field selector limits it to.
pub fn asked(method: &Method, path: &str, route: &Route, watch: bool, single: Option<&str>) -> Asked {
    let (resource, namespace, name) = match route {
        Route::Nodes { name } => ("nodes", &None, name),
        Route::Pods { namespace, name } => ("pods", namespace, name),
        Route::Page(_) | Route::Nothing => {
            let verb = method.as_str().to_ascii_lowercase();
            return Asked { verb, path: path.to_owned(), ..Asked::default() };
        }
    };
    let verb = match (method.as_str(), name.is_some()) {
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "delete",
        ("DELETE", false) => "deletecollection",
        _ if watch => "watch",
        (_, true) => "get",
        (_, false) => "list",
    };
    let name = name.as_deref().or(single).unwrap_or_default().to_owned();
    let namespace = namespace.clone().unwrap_or_default();
    Asked { verb: verb.to_owned(), resource, namespace, name, path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood() {
        let check = |method: &str, path: &str, want: &str| {
            let found = route(path);
            let a = asked(&method.parse().unwrap(), path, &found, false, None);
            let about = if a.resource.is_empty() {
                format!("{found:?} {} {}", a.verb, a.path)
            } else {
                format!("{} {} {:?} {:?}", a.verb, a.resource, a.namespace, a.name)
            };
            assert_eq!(about, want, "{method} {path}");
        };
        check("GET", "/apis", "Page(Groups) get /apis");
        check("GET", "/apis/metrics.k8s.io/v1beta1/", "Page(Resources) get /apis/metrics.k8s.io/v1beta1/");
        check("GET", "/apis/metrics.k8s.io/v1beta1/nodes", "list nodes \"\" \"\"");
        check("GET", "/apis/metrics.k8s.io/v1beta1/nodes/n%2E1", "get nodes \"\" \"n.1\"");
        check("GET", "/apis/metrics.k8s.io/v1beta1/pods", "list pods \"\" \"\"");
        check("HEAD", "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods/b", "get pods \"a\" \"b\"");
        check("DELETE", "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods", "deletecollection pods \"a\" \"\"");
        check("POST", "/apis/metrics.k8s.io/v1beta1/nodes", "create nodes \"\" \"\"");
        check("GET", "/apis/metrics.k8s.io/v1/nodes", "Nothing get /apis/metrics.k8s.io/v1/nodes");
        check("GET", "/nodes", "Nothing get /nodes");
        let one = asked(&Method::GET, "", &route("/apis/metrics.k8s.io/v1beta1/pods"), true, Some("x"));
        assert_eq!((one.verb.as_str(), one.name.as_str()), ("watch", "x"));
    }
}
