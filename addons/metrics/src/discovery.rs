//! What is served, told: discovery and OpenAPI. Fixed texts.

use crate::route::{GROUP, Page, VERSION};
use http::HeaderMap;
use http::header::ACCEPT;
use sha2::{Digest, Sha256};
use std::sync::OnceLock;

const OPENAPI_V2: &str = include_str!("openapi_v2.json");
const OPENAPI_V3: &str = include_str!("openapi_v3.json");

const JSON: &str = "application/json";
const AGGREGATED: [(&str, &str); 2] = [
    ("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    ("v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"),
];

/// A page: its content type and text.
pub struct Document {
    pub content_type: &'static str,
    pub body: String,
}

impl Document {
    fn json(body: String) -> Self {
        Self { content_type: JSON, body }
    }
}

/// The document of a page.
pub fn page(page: Page, headers: &HeaderMap) -> Document {
    match page {
        Page::Groups => match aggregated_version(headers) {
            Some((version, content_type)) => Document { content_type, body: aggregated(version) },
            None => Document::json(format!(
                "{{\"kind\":\"APIGroupList\",\"apiVersion\":\"v1\",\"groups\":[{{{}}}]}}\n",
                group()
            )),
        },
        Page::Group => {
            Document::json(format!("{{\"kind\":\"APIGroup\",\"apiVersion\":\"v1\",{}}}\n", group()))
        }
        Page::Resources => Document::json(resources()),
        Page::OpenApi2 => Document::json(OPENAPI_V2.to_owned()),
        Page::OpenApi3 => Document::json(OPENAPI_V3.to_owned()),
        Page::OpenApi3Index => {
            let place = format!("/openapi/v3/apis/{GROUP}/{VERSION}?hash={}", hash());
            let key = format!("apis/{GROUP}/{VERSION}");
            Document::json(format!("{{\"paths\":{{\"{key}\":{{\"serverRelativeURL\":\"{place}\"}}}}}}\n"))
        }
    }
}

/// The form of aggregated discovery a client takes, if any; the parameters of media types may come in any order.
fn aggregated_version(headers: &HeaderMap) -> Option<(&'static str, &'static str)> {
    let accept = headers.get(ACCEPT)?.to_str().ok()?;
    accept.split(',').find_map(|range| {
        let has = |parameter: &str| range.split(';').any(|p| p.trim() == parameter);
        let known = has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList");
        AGGREGATED.into_iter().find(|(version, _)| known && has(&format!("v={version}")))
    })
}

fn group() -> String {
    let version = format!("{{\"groupVersion\":\"{GROUP}/{VERSION}\",\"version\":\"{VERSION}\"}}");
    format!("\"name\":\"{GROUP}\",\"versions\":[{version}],\"preferredVersion\":{version}")
}

fn resources() -> String {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        format!(
            "{{\"name\":\"{name}\",\"singularName\":\"\",\"namespaced\":{namespaced},\"kind\":\"{kind}\",\"verbs\":[\"get\",\"list\"]}}"
        )
    };
    format!(
        "{{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"{GROUP}/{VERSION}\",\"resources\":[{},{}]}}\n",
        resource("nodes", "NodeMetrics", false),
        resource("pods", "PodMetrics", true)
    )
}

fn aggregated(version: &str) -> String {
    let resource = |name: &str, kind: &str, scope: &str| {
        format!(
            "{{\"resource\":\"{name}\",\"responseKind\":{{\"group\":\"{GROUP}\",\"version\":\"{VERSION}\",\"kind\":\"{kind}\"}},\"scope\":\"{scope}\",\"singularResource\":\"\",\"verbs\":[\"get\",\"list\"]}}"
        )
    };
    format!(
        "{{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/{version}\",\"metadata\":{{}},\"items\":[{{\"metadata\":{{\"name\":\"{GROUP}\"}},\"versions\":[{{\"version\":\"{VERSION}\",\"resources\":[{},{}],\"freshness\":\"Current\"}}]}}]}}\n",
        resource("nodes", "NodeMetrics", "Cluster"),
        resource("pods", "PodMetrics", "Namespaced")
    )
}

/// Changes with the document.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| Sha256::digest(OPENAPI_V3).iter().take(16).map(|b| format!("{b:02X}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::Document as Tree;

    #[test]
    fn pages_are_json_in_the_accepted_form() {
        let check = |which: Page, accept: &str, want_type: &str, want_kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            let found = page(which, &headers);
            let tree = Tree::from_json(found.body.as_bytes()).unwrap();
            assert_eq!((found.content_type, tree.kind()), (want_type, want_kind), "{accept}");
            tree
        };
        check(Page::Groups, "application/json", JSON, "APIGroupList");
        let new =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;q=0.9";
        let tree = check(Page::Groups, new, AGGREGATED[0].1, "APIGroupDiscoveryList");
        assert_eq!(tree.api_version(), "apidiscovery.k8s.io/v2");
        let old = "application/json;as=APIGroupDiscoveryList;v=v2beta1;g=apidiscovery.k8s.io";
        check(Page::Groups, old, AGGREGATED[1].1, "APIGroupDiscoveryList");
        check(Page::Group, "*/*", JSON, "APIGroup");
        check(Page::Resources, "*/*", JSON, "APIResourceList");
        check(Page::OpenApi2, "*/*", JSON, "");
        check(Page::OpenApi3Index, "*/*", JSON, "");
        check(Page::OpenApi3, "*/*", JSON, "");
    }

    #[test]
    fn openapi_names_every_schema_it_refers_to() {
        for (text, prefix, place) in [
            (OPENAPI_V2, "#/definitions/", vec!["definitions"]),
            (OPENAPI_V3, "#/components/schemas/", vec!["components", "schemas"]),
        ] {
            let tree = Tree::from_json(text.as_bytes()).unwrap();
            let references: Vec<&str> =
                text.split(prefix).skip(1).filter_map(|rest| rest.split('"').next()).collect();
            assert!(references.len() > 10);
            for name in references {
                let path: Vec<&str> = place.iter().copied().chain([name]).collect();
                assert!(tree.has(&path), "{prefix}{name}");
            }
        }
    }
}
