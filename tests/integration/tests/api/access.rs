//! Who may do what: RBAC as it changes, service account tokens, nodes.

use crate::{NS, named, plain, text, world};
use gantry_testkit::{Backing, Http, Identity, build, eventually};
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

async fn granted(http: &Http, path: &str, status: u16) {
    eventually(&format!("{path} answers {status}"), async || {
        (http.get(path).await.status == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rights_come_and_go() {
    let (cluster, admin) = world(Backing::Embedded).await;
    let jane = cluster.http(&Identity::user("jane"));
    let pods = format!("{NS}/pods");
    jane.get(&pods).await.expect(403);
    let (role, binding) = build::grant("readers", "jane", &[""], &["pods"], &["get", "list"]);
    admin.post(&format!("{RBAC}/clusterroles"), &plain(&role)).await.expect(201);
    admin.post(&format!("{RBAC}/clusterrolebindings"), &plain(&binding)).await.expect(201);
    granted(&jane, &pods, 200).await;
    jane.get("/api/v1/pods").await.expect(200);
    jane.post(&pods, &plain(&build::pod("p"))).await.expect(403);
    jane.get(&format!("{NS}/secrets")).await.expect(403);
    // The reviews agree.
    let review = |verb: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "t"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, allowed) in [("list", true), ("delete", false)] {
        assert_eq!(jane.post(path, &review(verb)).await.expect(201)["status"]["allowed"], json!(allowed));
    }
    let mut asked = review("get");
    asked["spec"]["user"] = json!("jane");
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(admin.post(path, &asked).await.expect(201)["status"]["allowed"], json!(true));
    admin.delete(&format!("{RBAC}/clusterrolebindings/readers")).await.expect(200);
    granted(&jane, &pods, 403).await;
}

#[tokio::test]
async fn a_group_is_granted_too() {
    let (cluster, admin) = world(Backing::Embedded).await;
    let binding = json!({
        "metadata": {"name": "devs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}],
    });
    admin.post(&format!("{RBAC}/namespaces/t/rolebindings"), &binding).await.expect(201);
    let dev = cluster.http(&Identity::User { name: "joe".into(), group: "devs".into() });
    granted(&dev, &format!("{NS}/configmaps"), 200).await;
    dev.get("/api/v1/namespaces/default/configmaps").await.expect(403);
    dev.get(&format!("{NS}/secrets")).await.expect(403);
    let me = dev.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    assert_eq!(text(&me["status"]["userInfo"]["username"]), "joe");
    assert_eq!(me["status"]["userInfo"]["groups"], json!(["devs", "system:authenticated"]));
}

async fn token(admin: &Http, account: &str, spec: Value) -> String {
    let path = format!("{NS}/serviceaccounts/{account}/token");
    let answer = admin.post(&path, &json!({"spec": spec})).await.expect(201);
    text(&answer["status"]["token"]).to_owned()
}

#[tokio::test]
async fn tokens_hold_as_long_as_what_they_are_bound_to() {
    let (cluster, admin) = world(Backing::Embedded).await;
    admin.post(&format!("{NS}/serviceaccounts"), &named("bot")).await.expect(201);
    let mut pod = plain(&build::pod("p"));
    pod["spec"]["serviceAccountName"] = json!("bot");
    let pod = admin.post(&format!("{NS}/pods"), &pod).await.expect(201);
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]}});
    let free = cluster.http(&Identity::Token(token(&admin, "bot", json!({})).await));
    let tied = cluster.http(&Identity::Token(token(&admin, "bot", bound).await));
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    for http in [&free, &tied] {
        let me = http.post(review, &json!({})).await.expect(201);
        let user = &me["status"]["userInfo"];
        assert_eq!(text(&user["username"]), "system:serviceaccount:t:bot");
        assert_eq!(
            user["groups"],
            json!(["system:serviceaccounts", "system:serviceaccounts:t", "system:authenticated"])
        );
    }
    let me = tied.post(review, &json!({})).await.expect(201);
    assert_eq!(me["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    free.get(&format!("{NS}/pods")).await.expect(403);
    let elsewhere = token(&admin, "bot", json!({"audiences": ["elsewhere"]})).await;
    cluster.http(&Identity::Token(elsewhere.clone())).get("/version").await.expect(401);
    let asked = json!({"spec": {"token": elsewhere, "audiences": ["elsewhere"]}});
    let seen = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &asked).await.expect(201);
    assert_eq!(
        (&seen["status"]["authenticated"], &seen["status"]["audiences"]),
        (&json!(true), &json!(["elsewhere"]))
    );
    // The pod goes and takes its token along; then the account.
    admin.delete(&format!("{NS}/pods/p")).await.expect(200);
    granted(&tied, "/version", 401).await;
    free.get("/version").await.expect(200);
    admin.delete(&format!("{NS}/serviceaccounts/bot")).await.expect(200);
    granted(&free, "/version", 401).await;
}

#[tokio::test]
async fn keys_are_published() {
    let (cluster, _admin) = world(Backing::Embedded).await;
    let anyone = cluster.http(&Identity::nobody());
    anyone.get("/.well-known/openid-configuration").await.expect(403);
    let (_, admin) = (0, cluster.http(&Identity::Admin));
    let found = admin.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(text(&found["issuer"]), "https://kubernetes.default.svc");
    let keys = admin.get("/openid/v1/jwks").await.expect(200);
    assert_eq!((text(&keys["keys"][0]["use"]), text(&keys["keys"][0]["alg"])), ("sig", "ES256"));
}

#[tokio::test]
async fn a_node_reaches_what_its_pods_need() {
    let (cluster, admin) = world(Backing::Embedded).await;
    for name in ["mine", "other"] {
        admin.post(&format!("{NS}/secrets"), &named(name)).await.expect(201);
        admin.post(&format!("{NS}/configmaps"), &named(name)).await.expect(201);
    }
    let node = cluster.http(&Identity::node("n1"));
    node.post("/api/v1/nodes", &plain(&build::node("n1"))).await.expect(201);
    node.post("/api/v1/nodes", &plain(&build::node("n2"))).await.expect(403);
    node.get(&format!("{NS}/secrets/mine")).await.expect(403);
    let mut pod = plain(&build::pod("p"));
    pod["spec"]["volumes"] = json!([{"name": "s", "secret": {"secretName": "mine"}}]);
    pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "mine"}}]);
    admin.post(&format!("{NS}/pods"), &pod).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    admin.post(&format!("{NS}/pods/p/binding"), &binding).await.expect(201);
    granted(&node, &format!("{NS}/secrets/mine"), 200).await;
    node.get(&format!("{NS}/configmaps/mine")).await.expect(200);
    node.get(&format!("{NS}/secrets/other")).await.expect(403);
    node.get(&format!("{NS}/secrets")).await.expect(403);
    node.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.expect(200);
    cluster.http(&Identity::node("n2")).get(&format!("{NS}/secrets/mine")).await.expect(403);
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    node.patch("strategic", "/api/v1/nodes/n1/status", &status).await.expect(200);
    node.patch("strategic", &format!("{NS}/pods/p/status"), &json!({"status": {"phase": "Running"}}))
        .await
        .expect(200);
    admin.delete(&format!("{NS}/pods/p?gracePeriodSeconds=0")).await.expect(200);
    granted(&node, &format!("{NS}/secrets/mine"), 403).await;
}

#[tokio::test]
async fn acting_as_another() {
    let (cluster, admin) = world(Backing::Embedded).await;
    let as_jane =
        [("impersonate-user", "jane"), ("impersonate-group", "devs"), ("impersonate-extra-scopes", "a")];
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let mut headers = as_jane.to_vec();
    headers.push(("content-type", "application/json"));
    let me = admin.send("POST", path, &headers, "{}").await.expect(201);
    let user = &me["status"]["userInfo"];
    assert_eq!(
        (text(&user["username"]), &user["groups"]),
        ("jane", &json!(["devs", "system:authenticated"]))
    );
    assert_eq!(user["extra"], json!({"scopes": ["a"]}));
    admin.send("GET", &format!("{NS}/pods"), &as_jane, "").await.expect(403);
    cluster.http(&Identity::nobody()).send("GET", "/version", &as_jane, "").await.expect(403);
}
