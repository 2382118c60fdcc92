mod limits;

use crate::*;
use futures::stream::{BoxStream, StreamExt};
use gantry_registry::admission::Operation;
use gantry_types::reader::ObjectEvent;
use gantry_types::user::{Attributes, Decision};
use gantry_types::{Document, Revision, UserInfo, scheme};
use k8s_openapi::api::rbac::v1::PolicyRule;

/// Objects by `resource/namespace/name`.
struct Fixed(Vec<(String, Object)>);

impl ObjectReader for Fixed {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object> {
        let key = format!("{}/{namespace}/{name}", resource.resource);
        self.0.iter().find(|(k, _)| *k == key).map(|(_, o)| o.clone())
    }

    fn list(&self, resource: &GroupResource, _namespace: Option<&str>) -> Vec<Object> {
        let prefix = format!("{}/", resource.resource);
        self.0.iter().filter(|(k, _)| k.starts_with(&prefix)).map(|(_, o)| o.clone()).collect()
    }

    fn subscribe(&self, _resource: &GroupResource) -> BoxStream<'static, ObjectEvent> {
        futures::stream::empty().boxed()
    }
}

struct Nobody;

impl Authorizer for Nobody {
    fn authorize(&self, _: &Attributes) -> Decision {
        Decision::NoOpinion { reason: String::new() }
    }

    fn covers(&self, _: &UserInfo, _: &str, _: &[PolicyRule]) -> Result<(), String> {
        Err(String::new())
    }
}

fn chain(objects: &[(&str, &str)]) -> Chain {
    let objects = objects
        .iter()
        .map(|(key, json)| {
            let body = json.as_bytes();
            let meta = Object::parse_meta(body).unwrap();
            ((*key).to_owned(), Object::new(meta, Revision(1), body.to_vec().into()))
        })
        .collect();
    let deps = Deps {
        reader: Arc::new(Fixed(objects)),
        authorizer: Arc::new(Nobody),
        not_ready_toleration_seconds: 300,
        unreachable_toleration_seconds: 300,
        quotas: None,
        configuration: Default::default(),
    };
    default_chain(&deps, &["NodeRestriction".to_owned()], &[])
}

/// `VERB resource[/subresource] [namespace/]name [as node]`
fn run(chain: &Chain, what: &str, object: Option<&str>, old: Option<&str>) -> Result<Document, Status> {
    let fields: Vec<&str> = what.split(' ').collect();
    let (resource, subresource) = fields[1].split_once('/').unwrap_or((fields[1], ""));
    let (group, plural) = match resource {
        "leases" => ("coordination.k8s.io", resource),
        "priorityclasses" => ("scheduling.k8s.io", resource),
        _ => ("", resource),
    };
    let kind =
        scheme::find_resource(&GroupResource { group: group.into(), resource: plural.to_owned().into() });
    let (namespace, name) = fields[2].split_once('/').unwrap_or(("", fields[2]));
    let operation = match fields[0] {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        _ => Operation::Delete,
    };
    let user = match fields.get(3) {
        Some(node) => UserInfo {
            name: format!("system:node:{node}"),
            groups: vec!["system:nodes".into()],
            ..UserInfo::default()
        },
        None => UserInfo { name: "jane".into(), ..UserInfo::default() },
    };
    let mut object = object.map(|json| Document::from_json(json.as_bytes()).unwrap());
    let old = old.map(|json| Document::from_json(json.as_bytes()).unwrap());
    let mut warnings = Vec::new();
    let mut request = Request {
        operation,
        kind: kind.unwrap(),
        subresource,
        namespace,
        name,
        user: &user,
        object: object.as_mut(),
        old: old.as_ref(),
        dry_run: false,
        warnings: &mut warnings,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        chain.mutate(&mut request).await?;
        chain.validate(&request).await
    })?;
    Ok(object.unwrap_or_default())
}

fn refused(chain: &Chain, what: &str, object: Option<&str>, old: Option<&str>, code: u16, message: &str) {
    let status = run(chain, what, object, old).expect_err(what);
    assert_eq!((status.code(), status.message()), (code, message), "{what}");
}

const NS: (&str, &str) = ("namespaces//a", r#"{"metadata":{"name":"a"},"status":{"phase":"Active"}}"#);
const SA: (&str, &str) = (
    "serviceaccounts/a/default",
    r#"{"metadata":{"name":"default","namespace":"a","uid":"s"},"imagePullSecrets":[{"name":"pull"}]}"#,
);
const NODE: (&str, &str) = ("nodes//n1", r#"{"metadata":{"name":"n1","uid":"u1"}}"#);
const POD: &str =
    r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"containers":[{"name":"c","image":"x"}]}}"#;

#[test]
fn a_plain_pod_gets_what_upstream_gives_it() {
    let pod = run(&chain(&[NS, SA]), "CREATE pods a/p", Some(POD), None).unwrap();
    let volumes: Vec<k8s_openapi::api::core::v1::Volume> = pod.get_at(&["spec", "volumes"]).unwrap();
    let name = volumes[0].name.clone();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    let text = String::from_utf8(pod.to_json()).unwrap().replace(&name, "kube-api-access-xxxxx");
    let expected = r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"containers":[{"image":"x","name":"c","volumeMounts":[{"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","name":"kube-api-access-xxxxx","readOnly":true}]}],"imagePullSecrets":[{"name":"pull"}],"preemptionPolicy":"PreemptLowerPriority","priority":0,"serviceAccount":"default","serviceAccountName":"default","tolerations":[{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300}],"volumes":[{"name":"kube-api-access-xxxxx","projected":{"defaultMode":420,"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"items":[{"key":"ca.crt","path":"ca.crt"}],"name":"kube-root-ca.crt"}},{"downwardAPI":{"items":[{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"},"path":"namespace"}]}}]}}]}}"#;
    let expected = Document::from_json(expected.as_bytes()).unwrap();
    assert_eq!(Document::from_json(text.as_bytes()).unwrap(), expected, "{text}");
}

#[test]
fn accounts_and_mounts() {
    let off =
        SA.1.replace(r#""imagePullSecrets""#, r#""automountServiceAccountToken":false,"imagePullSecrets""#);
    let pod = run(&chain(&[NS, (SA.0, &off)]), "CREATE pods a/p", Some(POD), None).unwrap();
    assert!(!pod.has(&["spec", "volumes"]));
    let on = POD.replace(r#""containers""#, r#""automountServiceAccountToken":true,"containers""#);
    let pod = run(&chain(&[NS, (SA.0, &off)]), "CREATE pods a/p", Some(&on), None).unwrap();
    assert!(pod.has(&["spec", "volumes"]));
    let lost = POD.replace(r#""containers""#, r#""serviceAccountName":"x","containers""#);
    let why = r#"pods "p" is forbidden: error looking up service account a/x: serviceaccount "x" not found"#;
    refused(&chain(&[NS, SA]), "CREATE pods a/p", Some(&lost), None, 403, why);
    let why = r#"pods "p" is forbidden: error looking up service account a/default: serviceaccount "default" not found"#;
    refused(&chain(&[NS]), "CREATE pods a/p", Some(POD), None, 403, why);
}

#[test]
fn namespaces_missing_and_going() {
    refused(&chain(&[]), "CREATE configmaps b/x", Some("{}"), None, 404, r#"namespaces "b" not found"#);
    let going = (
        NS.0,
        r#"{"metadata":{"name":"a","deletionTimestamp":"2030-01-01T00:00:00Z"},"status":{"phase":"Terminating"}}"#,
    );
    let why = r#"configmaps "x" is forbidden: unable to create new content in namespace a because it is being terminated"#;
    refused(&chain(&[going]), "CREATE configmaps a/x", Some("{}"), None, 403, why);
    let status = run(&chain(&[going]), "CREATE configmaps a/x", Some("{}"), None).unwrap_err();
    let cause = &status.body().details.as_ref().unwrap().causes[0];
    assert_eq!(
        (&*cause.reason, &*cause.message, &*cause.field),
        ("NamespaceTerminating", "namespace a is being terminated", "metadata.namespace")
    );
    run(&chain(&[going]), "UPDATE configmaps a/x", Some("{}"), Some("{}")).unwrap();
    let why = r#"namespaces "kube-system" is forbidden: this namespace may not be deleted"#;
    refused(&chain(&[]), "DELETE namespaces kube-system", None, Some("{}"), 403, why);
    run(&chain(&[]), "DELETE namespaces a", None, Some("{}")).unwrap();
}

#[test]
fn priorities() {
    let high =
        ("priorityclasses//high", r#"{"metadata":{"name":"high"},"value":1000,"preemptionPolicy":"Never"}"#);
    let default = ("priorityclasses//std", r#"{"metadata":{"name":"std"},"value":7,"globalDefault":true}"#);
    let c = chain(&[NS, SA, high, default]);
    let with = |field: &str| POD.replace(r#""containers""#, &format!(r#"{field},"containers""#));
    let pod = run(&c, "CREATE pods a/p", Some(&with(r#""priorityClassName":"high""#)), None).unwrap();
    assert_eq!(
        (pod.get_at(&["spec", "priority"]), pod.str_at(&["spec", "preemptionPolicy"])),
        (Some(1000), Some("Never"))
    );
    let pod = run(&c, "CREATE pods a/p", Some(POD), None).unwrap();
    assert_eq!(
        (pod.get_at(&["spec", "priority"]), pod.str_at(&["spec", "priorityClassName"])),
        (Some(7), Some("std"))
    );
    let why = r#"pods "p" is forbidden: no PriorityClass with name none was found"#;
    refused(&c, "CREATE pods a/p", Some(&with(r#""priorityClassName":"none""#)), None, 403, why);
    let why = "pods \"p\" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name";
    refused(&c, "CREATE pods a/p", Some(&with(r#""priority":5,"priorityClassName":"high""#)), None, 403, why);
    let why = r#"priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass std is already marked as default. Only one default can exist"#;
    let other = r#"{"metadata":{"name":"other"},"value":1,"globalDefault":true}"#;
    refused(&c, "CREATE priorityclasses other", Some(other), None, 403, why);
    let pod =
        run(&c, "UPDATE pods a/p", Some(POD), Some(&with(r#""priority":9,"preemptionPolicy":"Never""#)))
            .unwrap();
    assert_eq!(
        (pod.get_at(&["spec", "priority"]), pod.str_at(&["spec", "preemptionPolicy"])),
        (Some(9), Some("Never"))
    );
}

#[test]
fn tolerations_given_are_kept() {
    let c = chain(&[NS, SA]);
    let all = POD.replace(r#""containers""#, r#""tolerations":[{"operator":"Exists"}],"containers""#);
    let pod = run(&c, "CREATE pods a/p", Some(&all), None).unwrap();
    assert_eq!(
        pod.get_at::<Vec<k8s_openapi::api::core::v1::Toleration>>(&["spec", "tolerations"]).unwrap().len(),
        1
    );
}

#[test]
fn nodes_write_what_is_theirs() {
    let c = chain(&[
        NS,
        SA,
        NODE,
        ("namespaces//kube-node-lease", r#"{"metadata":{"name":"kube-node-lease"}}"#),
        (
            "pods/a/p1",
            r#"{"metadata":{"name":"p1","namespace":"a","uid":"pu"},"spec":{"nodeName":"n1","containers":[]}}"#,
        ),
    ]);
    let node = r#"{"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"n1","mine":"x"}}}"#;
    let made = run(&c, "CREATE nodes n1 n1", Some(node), None).unwrap();
    assert_eq!(
        made.get_at::<Vec<k8s_openapi::api::core::v1::Taint>>(&["spec", "taints"]).unwrap()[0].key,
        "node.kubernetes.io/not-ready"
    );
    let why = r#"nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2""#;
    refused(&c, "UPDATE nodes n2 n1", Some(node), Some(node), 403, why);
    let master = node.replace(r#""mine":"x""#, r#""node-role.kubernetes.io/master":"","x.node-restriction.kubernetes.io/y":"","node.kubernetes.io/z":"""#);
    let why = r#"nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: node-role.kubernetes.io/master, x.node-restriction.kubernetes.io/y"#;
    refused(&c, "CREATE nodes n1 n1", Some(&master), None, 403, why);
    let why = r#"nodes "n1" is forbidden: is not allowed to modify labels: node-role.kubernetes.io/master, x.node-restriction.kubernetes.io/y"#;
    refused(&c, "UPDATE nodes n1 n1", Some(&master), Some(node), 403, why);
    let tainted = r#"{"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"n1","mine":"x"}},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}"#;
    refused(
        &c,
        "UPDATE nodes n1 n1",
        Some(node),
        Some(tainted),
        403,
        r#"nodes "n1" is forbidden: node "n1" is not allowed to modify taints"#,
    );
    let why = r#"pods "p" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#;
    refused(
        &c,
        "CREATE pods a/p n1",
        Some(&POD.replace(r#""spec":{"#, r#""spec":{"automountServiceAccountToken":false,"#)),
        None,
        403,
        why,
    );
    let mirror = r#"{"metadata":{"name":"m","namespace":"a","annotations":{"kubernetes.io/config.mirror":"h"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n1","uid":"u1","controller":true}]},"spec":{"nodeName":"n1","containers":[{"name":"c"}],"volumes":[{"name":"h","hostPath":{"path":"/"}}]}}"#;
    run(&c, "CREATE pods a/m n1", Some(mirror), None).unwrap();
    let why = r#"pods "m" is forbidden: node "n1" can not create pods that reference persistentvolumeclaims"#;
    refused(
        &c,
        "CREATE pods a/m n1",
        Some(&mirror.replace(r#""hostPath":{"path":"/"}"#, r#""persistentVolumeClaim":{"claimName":"x"}"#)),
        None,
        403,
        why,
    );
    let why = r#"pods "m" is forbidden: a mirror pod may not reference secrets"#;
    refused(
        &c,
        "CREATE pods a/m n1",
        Some(&mirror.replace(r#""hostPath":{"path":"/"}"#, r#""secret":{"secretName":"x"}"#)),
        None,
        403,
        why,
    );
    run(&c, "DELETE pods a/p1 n1", None, Some("{}")).unwrap();
    let why = r#"pods "p1" is forbidden: node "n2" can only delete pods with spec.nodeName set to itself"#;
    refused(&c, "DELETE pods a/p1 n2", None, Some("{}"), 403, why);
    let why = r#"leases.coordination.k8s.io "n2" is forbidden: can only access node lease with the same name as the requesting node"#;
    refused(&c, "CREATE leases kube-node-lease/n2 n1", Some(r#"{"metadata":{"name":"n2"}}"#), None, 403, why);
    let token = |uid: &str| {
        format!(
            r#"{{"spec":{{"audiences":[""],"boundObjectRef":{{"apiVersion":"v1","kind":"Pod","name":"p1","uid":"{uid}"}}}}}}"#
        )
    };
    let why = r#"serviceaccounts "default" is forbidden: audience "" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"#;
    refused(&c, "CREATE serviceaccounts/token a/default n1", Some(&token("pu")), None, 403, why);
    let why = r#"serviceaccounts "default" is forbidden: node requested token bound to a pod scheduled on a different node"#;
    refused(&c, "CREATE serviceaccounts/token a/default n2", Some(&token("pu")), None, 403, why);
    let why = r#"serviceaccounts "default" is forbidden: node requested token not bound to a pod"#;
    refused(&c, "CREATE serviceaccounts/token a/default n1", Some(r#"{"spec":{}}"#), None, 403, why);
}

#[test]
fn claims_get_a_class_and_a_finalizer() {
    let class = |name: &str, made: &str, rest: &str| {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","creationTimestamp":"{made}","annotations":{{"storageclass.kubernetes.io/is-default-class":"true"}}}},"provisioner":"p"{rest}}}"#
        );
        (format!("storageclasses//{name}"), json)
    };
    let all = [class("old", "2026-01-01T00:00:00Z", ""), class("new", "2026-02-01T00:00:00Z", "")];
    let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let with = |objects: &[(&str, &str)], spec: &str, annotations: &str| {
        let chain = chain(&[&[NS], objects].concat());
        let claim = format!(
            r#"{{"metadata":{{"name":"c","namespace":"a","annotations":{{{annotations}}}}},"spec":{{{spec}}}}}"#
        );
        let made = run(&chain, "CREATE persistentvolumeclaims a/c", Some(&claim), None).unwrap();
        assert_eq!(made.finalizers(), ["kubernetes.io/pvc-protection"]);
        made.str_at(&["spec", "storageClassName"]).map(str::to_owned)
    };
    assert_eq!(with(&all, "", "").as_deref(), Some("new"));
    assert_eq!(with(&[], "", ""), None);
    assert_eq!(with(&all, r#""storageClassName":"""#, "").as_deref(), Some(""));
    assert_eq!(with(&all, "", r#""volume.beta.kubernetes.io/storage-class":"x""#), None);
    let volume = run(&chain(&[]), "CREATE persistentvolumes v", Some(r#"{"metadata":{"name":"v"}}"#), None);
    assert_eq!(volume.unwrap().finalizers(), ["kubernetes.io/pv-protection"]);
}

#[test]
fn claims_grow_where_their_class_lets_them() {
    let grows =
        ("storageclasses//g", r#"{"metadata":{"name":"g"},"provisioner":"p","allowVolumeExpansion":true}"#);
    let stays = ("storageclasses//s", r#"{"metadata":{"name":"s"},"provisioner":"p"}"#);
    let chain = chain(&[NS, grows, stays]);
    let claim = |class: &str, size: &str, phase: &str| {
        format!(
            r#"{{"metadata":{{"name":"c","namespace":"a"}},"spec":{{"storageClassName":"{class}","resources":{{"requests":{{"storage":"{size}"}}}}}},"status":{{"phase":"{phase}"}}}}"#
        )
    };
    let what = "UPDATE persistentvolumeclaims a/c";
    let try_it = |class: &str, from: &str, to: &str, phase: &str| {
        run(&chain, what, Some(&claim(class, to, phase)), Some(&claim(class, from, phase))).map(drop)
    };
    assert!(try_it("g", "1Gi", "2Gi", "Bound").is_ok());
    assert!(try_it("s", "1Gi", "1024Mi", "Bound").is_ok());
    assert!(try_it("s", "2Gi", "1Gi", "Bound").is_ok());
    let no = r#"persistentvolumeclaims "c" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"#;
    for class in ["s", "", "gone"] {
        assert_eq!(try_it(class, "1Gi", "2Gi", "Bound").unwrap_err().message(), no, "{class}");
    }
    let no =
        r#"persistentvolumeclaims "c" is forbidden: Only bound persistent volume claims can be expanded"#;
    assert_eq!(try_it("g", "1Gi", "2Gi", "Pending").unwrap_err().message(), no);
}
