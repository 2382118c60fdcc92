//! The operations on resources, as OpenAPI writes them.

use crate::Style;
use crate::discovery::{Resource, Version};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const PRODUCES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const WRITE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

/// The paths of one group version. `definition` names the schema of a kind; every name asked for is collected
/// in `roots`.
pub(crate) struct Paths<'a> {
    pub style: Style,
    pub group: &'a str,
    pub version: &'a Version,
    pub definition: &'a dyn Fn(&str, &str, &str) -> String,
    pub roots: BTreeSet<String>,
    pub out: Map<String, Value>,
}

/// `rbac.authorization.k8s.io` as `RbacAuthorization`; the core group as `Core`.
fn camel(group: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split('.').map(capital).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect())
}

struct Operation<'a> {
    /// The method, in lower case.
    method: &'a str,
    action: &'a str,
    id: String,
    /// Group, version and kind.
    gvk: (&'a str, &'a str, &'a str),
    query: &'a [(&'a str, &'a str)],
    /// The definition of the body, and whether it must be there.
    body: Option<(String, bool)>,
    answer: Option<String>,
    codes: &'a [&'a str],
}

impl Paths<'_> {
    pub fn build(&mut self) {
        let version = self.version;
        for resource in &version.resources {
            self.resource(resource);
        }
    }

    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version.name)
        } else {
            format!("/apis/{}/{}", self.group, self.version.name)
        }
    }

    fn define(&mut self, gvk: (&str, &str, &str)) -> String {
        let name = (self.definition)(gvk.0, gvk.1, gvk.2);
        self.roots.insert(name.clone());
        name
    }

    fn meta(&mut self, kind: &str) -> String {
        let name = format!("{META}{kind}");
        self.roots.insert(name.clone());
        name
    }

    fn resource(&mut self, r: &Resource) {
        let (group, version) = (self.group, self.version);
        let gvk = (group, &*version.name, &*r.kind);
        let gv = format!("{}{}", camel(group), capital(&version.name));
        let scope = if r.namespaced { "Namespaced" } else { "" };
        let base = match r.namespaced {
            true => format!("{}/namespaces/{{namespace}}/{}", self.root(), r.name),
            false => format!("{}/{}", self.root(), r.name),
        };
        let item = format!("{base}/{{name}}");
        let kind = &r.kind;
        let own = self.define(gvk);
        let status = self.meta("Status");
        let has = |verb: &str| r.verbs.iter().any(|v| v == verb);
        let mut collection = Vec::new();
        if has("list") {
            let list = self.define((group, &version.name, &format!("{kind}List")));
            let operation = |id: String| Operation {
                method: "get",
                action: "list",
                id,
                gvk,
                query: LIST,
                body: None,
                answer: Some(list.clone()),
                codes: &["200"],
            };
            if r.namespaced {
                let all = operation(format!("list{gv}{kind}ForAllNamespaces"));
                let path = format!("{}/{}", self.root(), r.name);
                self.put(&path, false, false, vec![all]);
            }
            collection.push(operation(format!("list{gv}{scope}{kind}")));
        }
        if has("create") {
            collection.push(Operation {
                method: "post",
                action: "post",
                id: format!("create{gv}{scope}{kind}"),
                gvk,
                query: WRITE,
                body: Some((own.clone(), true)),
                answer: Some(own.clone()),
                codes: &["200", "201", "202"],
            });
        }
        let options = self.meta("DeleteOptions");
        let delete_all = [DELETE, &LIST[1..9]].concat();
        if has("deletecollection") {
            collection.push(Operation {
                method: "delete",
                action: "deletecollection",
                id: format!("delete{gv}Collection{scope}{kind}"),
                gvk,
                query: &delete_all,
                body: Some((options.clone(), false)),
                answer: Some(status.clone()),
                codes: &["200"],
            });
            let last = collection.pop();
            self.put(&base, r.namespaced, false, collection.into_iter().chain(last).collect());
        } else {
            self.put(&base, r.namespaced, false, collection);
        }
        let operations = item_operations(&r.verbs, &gv, scope, kind, gvk, &own);
        let mut operations = operations;
        if has("delete") {
            operations.push(Operation {
                method: "delete",
                action: "delete",
                id: format!("delete{gv}{scope}{kind}"),
                gvk,
                query: DELETE,
                body: Some((options, false)),
                answer: Some(status),
                codes: &["200", "202"],
            });
        }
        self.put(&item, r.namespaced, true, operations);
        for sub in &r.subresources {
            self.subresource(r, sub, &item, &gv, scope);
        }
    }

    fn subresource(&mut self, parent: &Resource, sub: &Resource, item: &str, gv: &str, scope: &str) {
        let (group, version) = (self.group, self.version);
        let (g, v) = match &sub.group_version {
            Some((g, v)) => (&**g, &**v),
            None => (group, &*version.name),
        };
        let gvk = (g, v, &*sub.kind);
        let suffix = format!("{}{}", parent.kind, capital(&sub.name));
        let path = format!("{item}/{}", sub.name);
        let connects = sub.kind.ends_with("Options");
        let operations = if connects {
            let methods: [(&str, &str); 5] = [
                ("get", "get"),
                ("create", "post"),
                ("update", "put"),
                ("patch", "patch"),
                ("delete", "delete"),
            ];
            methods
                .into_iter()
                .filter(|(verb, _)| sub.verbs.iter().any(|v| v == verb))
                .map(|(_, method)| Operation {
                    method,
                    action: "connect",
                    id: format!("connect{gv}{}{scope}{suffix}", capital(method)),
                    gvk,
                    query: &[],
                    body: None,
                    answer: None,
                    codes: &["200"],
                })
                .collect()
        } else {
            let own = self.define(gvk);
            let mut operations = item_operations(&sub.verbs, gv, scope, &suffix, gvk, &own);
            if sub.verbs.iter().any(|v| v == "create") {
                operations.push(Operation {
                    method: "post",
                    action: "post",
                    id: format!("create{gv}{scope}{suffix}"),
                    gvk,
                    query: WRITE,
                    body: Some((own.clone(), true)),
                    answer: Some(own),
                    codes: &["200", "201", "202"],
                });
            }
            operations
        };
        self.put(&path, parent.namespaced, true, operations);
    }

    /// Writes the operations of a path, if there are any.
    fn put(&mut self, path: &str, namespace: bool, name: bool, operations: Vec<Operation<'_>>) {
        if operations.is_empty() {
            return;
        }
        let mut entry = Map::new();
        let mut parameters = Vec::new();
        for (wanted, text) in [(name, "name"), (namespace, "namespace")] {
            if wanted {
                parameters.push(self.parameter("path", text, "string"));
            }
        }
        parameters.push(self.parameter("query", "pretty", "string"));
        entry.insert("parameters".into(), parameters.into());
        for operation in operations {
            if operation.method == "patch" {
                self.meta("Patch");
            }
            entry.insert(operation.method.to_owned(), self.operation(&operation));
        }
        self.out.insert(path.to_owned(), Value::Object(entry));
    }

    fn parameter(&self, place: &str, name: &str, ty: &str) -> Value {
        let mut out = json!({ "in": place, "name": name });
        match self.style {
            Style::V2 => {
                out["type"] = ty.into();
                out["uniqueItems"] = true.into();
            }
            Style::V3 => out["schema"] = json!({ "type": ty, "uniqueItems": true }),
        }
        if place == "path" {
            out["required"] = true.into();
        }
        out
    }

    fn operation(&self, o: &Operation<'_>) -> Value {
        let mut tag = camel(self.group);
        // Tags begin in lower case.
        tag.replace_range(..1, &tag[..1].to_lowercase());
        let mut out = json!({
            "operationId": o.id,
            "tags": [format!("{tag}_{}", self.version.name)],
            "x-kubernetes-action": o.action,
            "x-kubernetes-group-version-kind": { "group": o.gvk.0, "version": o.gvk.1, "kind": o.gvk.2 },
        });
        let mut parameters: Vec<Value> =
            o.query.iter().map(|(name, ty)| self.parameter("query", name, ty)).collect();
        let is_patch = o.method == "patch" && o.action != "connect";
        let mut responses = Map::new();
        responses.insert("401".into(), json!({ "description": "Unauthorized" }));
        for code in o.codes {
            let text = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let mut response = json!({ "description": text });
            match (&o.answer, self.style) {
                (Some(name), Style::V3) => {
                    let content: Map<String, Value> = PRODUCES
                        .iter()
                        .map(|m| ((*m).to_owned(), json!({ "schema": self.style.reference(name) })))
                        .collect();
                    response["content"] = Value::Object(content);
                }
                (Some(name), Style::V2) => response["schema"] = self.style.reference(name),
                (None, Style::V3) => {
                    response["content"] = json!({ "*/*": { "schema": { "type": "string" } } });
                }
                (None, Style::V2) => response["schema"] = json!({ "type": "string" }),
            }
            responses.insert((*code).to_owned(), response);
        }
        out["responses"] = Value::Object(responses);
        let body = match &o.body {
            _ if is_patch => Some((format!("{META}Patch"), true)),
            body => body.clone(),
        };
        if let Some((name, required)) = body {
            let schema = self.style.reference(&name);
            if self.style == Style::V2 {
                let mut parameter = json!({ "in": "body", "name": "body", "schema": schema });
                if required {
                    parameter["required"] = true.into();
                }
                parameters.insert(0, parameter);
            } else {
                let media: &[&str] = if is_patch { &PATCHES } else { &["*/*"] };
                let content: Map<String, Value> =
                    media.iter().map(|m| ((*m).to_owned(), json!({ "schema": schema }))).collect();
                out["requestBody"] = json!({ "content": content });
                if required {
                    out["requestBody"]["required"] = true.into();
                }
            }
        }
        if self.style == Style::V2 {
            out["consumes"] = if is_patch { json!(PATCHES) } else { json!(["*/*"]) };
            out["produces"] = if o.answer.is_some() { json!(PRODUCES) } else { json!(["*/*"]) };
            out["schemes"] = json!(["https"]);
        }
        if !parameters.is_empty() {
            out["parameters"] = parameters.into();
        }
        out
    }
}

/// Read, replace and patch, as far as the verbs allow.
fn item_operations<'a>(
    verbs: &[std::borrow::Cow<'static, str>],
    gv: &str,
    scope: &str,
    suffix: &str,
    gvk: (&'a str, &'a str, &'a str),
    own: &str,
) -> Vec<Operation<'a>> {
    let mut out = Vec::new();
    let mut add = |verb: &str, method, word: &str, query, has_body: bool, codes| {
        if verbs.iter().any(|v| v == verb) {
            out.push(Operation {
                method,
                action: method,
                id: format!("{word}{gv}{scope}{suffix}"),
                gvk,
                query,
                body: has_body.then(|| (own.to_owned(), true)),
                answer: Some(own.to_owned()),
                codes,
            });
        }
    };
    add("get", "get", "read", &[], false, &["200"]);
    add("update", "put", "replace", WRITE, true, &["200", "201"]);
    add("patch", "patch", "patch", PATCH, false, &["200", "201"]);
    out
}
