use super::*;
use gantry_types::reader::ObjectEvent;
use gantry_types::{Object, Revision};

fn object(json: &str) -> Object {
    let mut meta = Object::parse_meta(json.as_bytes()).unwrap();
    if let Some(node) = PodRefs::read(json.as_bytes()).ok().map(|r| r.node) {
        meta.fields = Box::new([("spec.nodeName", node.into())]);
    }
    Object::new(meta, Revision(1), json.to_owned().into())
}

const POD: &str = r#"{"metadata":{"name":"p","namespace":"a","uid":"1"},"spec":{"nodeName":"n1","serviceAccountName":"sa",
  "imagePullSecrets":[{"name":"pull"}],
  "containers":[{"name":"c","envFrom":[{"configMapRef":{"name":"cm-from"}}],"env":[{"name":"E","valueFrom":{"secretKeyRef":{"name":"sec-env","key":"k"}}}]}],
  "volumes":[{"name":"v","secret":{"secretName":"sec-vol"}},{"name":"w","projected":{"sources":[{"configMap":{"name":"cm-proj"}}]}},
    {"name":"d","persistentVolumeClaim":{"claimName":"data"}},{"name":"e","ephemeral":{"volumeClaimTemplate":{}}}]}}"#;
const PV: &str = r#"{"metadata":{"name":"pv1","uid":"2"},"spec":{"claimRef":{"namespace":"a","name":"data"},
  "csi":{"driver":"d","nodeStageSecretRef":{"namespace":"store","name":"stage"}}}}"#;

fn ask(node: &str, text: &str) -> Attributes {
    let fields: Vec<&str> = text.split(' ').collect();
    let (resource, subresource) = fields[2].split_once('/').unwrap_or((fields[2], ""));
    let or_empty = |i: usize| fields.get(i).filter(|f| **f != "-").map_or(String::new(), |f| (*f).to_owned());
    Attributes {
        user: UserInfo {
            name: format!("system:node:{node}"),
            groups: vec!["system:nodes".into()],
            ..UserInfo::default()
        },
        verb: fields[0].into(),
        group: if fields[1] == "core" { String::new() } else { fields[1].into() },
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: or_empty(3),
        name: or_empty(4),
        field_selector: fields.get(5).map(|s| (*s).to_owned()),
        resource_request: true,
        ..Attributes::default()
    }
}

#[test]
fn nodes_reach_what_their_pods_need() {
    let authorizer = NodeAuthorizer::default();
    let put = |kind, json: &str| {
        authorizer.graph().write().apply(kind, &ObjectEvent::Applied(object(json))).unwrap()
    };
    put(Kind::Pod, POD);
    put(Kind::Volume, PV);
    let allowed = |text: &str| {
        assert_eq!(authorizer.authorize(&ask("n1", text)), yes(), "{text}");
    };
    let refused = |node: &str, text: &str, why: &str| {
        assert_eq!(authorizer.authorize(&ask(node, text)), no(why), "{node} {text}");
    };
    for name in ["sec-env", "sec-vol", "pull"] {
        allowed(&format!("get core secrets a {name}"));
    }
    allowed("watch core configmaps a cm-proj");
    allowed("get core configmaps a cm-from");
    allowed("get core persistentvolumeclaims a data");
    allowed("get core persistentvolumeclaims a p-e");
    allowed("get core persistentvolumes - pv1");
    allowed("get core secrets store stage");
    allowed("create core serviceaccounts/token a sa");
    allowed("get core pods a p");
    allowed("list core pods - - spec.nodeName=n1");
    allowed("list core pods - - status.phase!=Failed,spec.nodeName==n1");
    allowed("update coordination.k8s.io leases kube-node-lease n1");
    allowed("get core nodes - n1");
    allowed("patch core nodes/status - n1");
    allowed("create core events a e");
    let unrelated = "no relationship found between node 'n2' and this object";
    refused("n2", "get core secrets a sec-env", unrelated);
    refused("n2", "get core persistentvolumes - pv1", unrelated);
    refused("n2", "create core serviceaccounts/token a sa", unrelated);
    refused("n1", "list core secrets a -", "No Object name found");
    refused("n1", "update core secrets a sec-env", "can only read resources of this type");
    refused("n1", "list core pods - -", "can only list/watch pods with spec.nodeName field selector");
    refused(
        "n1",
        "list core pods - - spec.nodeName!=n1",
        "can only list/watch pods with spec.nodeName field selector",
    );
    refused("n1", "get core nodes - n2", "node 'n1' cannot read 'n2', only its own Node object");
    refused("n1", "list core nodes - -", "node 'n1' cannot read all nodes, only its own Node object");
    refused(
        "n1",
        "get coordination.k8s.io leases kube-node-lease n2",
        "can only access node lease with the same name as the requesting node",
    );
    refused(
        "n1",
        "get coordination.k8s.io leases a n1",
        "can only access leases in the \"kube-node-lease\" system namespace",
    );
    refused("n1", "delete core services a s", "");
    // What is gone leads nowhere.
    authorizer.graph().write().apply(Kind::Pod, &ObjectEvent::Deleted(object(POD))).unwrap();
    refused("n1", "get core secrets a sec-env", "no relationship found between node 'n1' and this object");
    refused(
        "n1",
        "get core persistentvolumes - pv1",
        "no relationship found between node 'n1' and this object",
    );
}

#[test]
fn moving_and_mirror_pods() {
    let authorizer = NodeAuthorizer::default();
    let put = |json: &str| {
        authorizer.graph().write().apply(Kind::Pod, &ObjectEvent::Applied(object(json))).unwrap()
    };
    put(POD);
    put(&POD.replace(r#""uid":"1""#, r#""uid":"9""#).replace("n1", "n2"));
    assert!(!authorizer.graph().read().reaches(Kind::Secret, "a", "sec-env", "n1"));
    assert!(authorizer.graph().read().reaches(Kind::Secret, "a", "sec-env", "n2"));
    let mirror =
        POD.replace(r#""uid":"1""#, r#""uid":"3","annotations":{"kubernetes.io/config.mirror":"x"}"#);
    put(&mirror);
    assert!(!authorizer.graph().read().reaches(Kind::Secret, "a", "sec-env", "n1"));
    assert!(authorizer.graph().read().reaches(Kind::Pod, "a", "p", "n1"));
}
