//! Limits, quotas and what classes of runtimes cost.

use super::*;
use crate::quota::{Change, QuotaStore};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::ResourceQuota as Quota;
use parking_lot::Mutex;

const RANGE: (&str, &str) = (
    "limitranges/a/r",
    r#"{"metadata":{"name":"r","namespace":"a"},"spec":{"limits":[{"type":"Container","min":{"cpu":"100m"},"max":{"cpu":"2"},"default":{"cpu":"1"},"defaultRequest":{"cpu":"500m"},"maxLimitRequestRatio":{"cpu":"4"}},{"type":"Pod","max":{"cpu":"3"}},{"type":"PersistentVolumeClaim","min":{"storage":"1Gi"},"max":{"storage":"2Gi"}}]}}"#,
);

fn pod_with(resources: &[&str]) -> String {
    let containers: Vec<String> = resources
        .iter()
        .enumerate()
        .map(|(i, r)| format!(r#"{{"name":"c{i}","image":"x","resources":{r}}}"#))
        .collect();
    format!(
        r#"{{"metadata":{{"name":"p","namespace":"a"}},"spec":{{"containers":[{}]}}}}"#,
        containers.join(",")
    )
}

#[test]
fn containers_get_what_they_do_not_state() {
    let c = chain(&[NS, SA, RANGE]);
    let pod =
        run(&c, "CREATE pods a/p", Some(&pod_with(&["{}", r#"{"requests":{"cpu":"1"}}"#])), None).unwrap();
    let containers: Vec<k8s_openapi::api::core::v1::Container> = pod.get_at(&["spec", "containers"]).unwrap();
    let of = |i: usize| {
        let r = containers[i].resources.clone().unwrap();
        (r.requests.unwrap()["cpu"].0.clone(), r.limits.unwrap()["cpu"].0.clone())
    };
    assert_eq!((of(0), of(1)), (("500m".into(), "1".into()), ("1".into(), "1".into())));
    assert_eq!(
        pod.annotation("kubernetes.io/limit-ranger"),
        Some(
            "LimitRanger plugin set: cpu request for container c0; cpu limit for container c0; cpu limit for container c1"
        )
    );
}

#[test]
fn limits_are_held() {
    let c = chain(&[NS, SA, RANGE]);
    let refused_pod = |resources: &[&str], why: &str| {
        let why = format!(r#"pods "p" is forbidden: {why}"#);
        refused(&c, "CREATE pods a/p", Some(&pod_with(resources)), None, 403, &why);
    };
    refused_pod(
        &[r#"{"requests":{"cpu":"50m"},"limits":{"cpu":"100m"}}"#],
        "minimum cpu usage per Container is 100m, but request is 50m",
    );
    refused_pod(
        &[r#"{"requests":{"cpu":"100m"},"limits":{"cpu":"3"}}"#],
        "[maximum cpu usage per Container is 2, but limit is 3, cpu max limit to request ratio per Container is 4, but provided ratio is 30.000000]",
    );
    let two = r#"{"requests":{"cpu":"2"},"limits":{"cpu":"2"}}"#;
    refused_pod(&[two, two], "maximum cpu usage per Pod is 3, but limit is 4");
    let claim = |size: &str| {
        format!(
            r#"{{"metadata":{{"name":"d","namespace":"a"}},"spec":{{"resources":{{"requests":{{"storage":"{size}"}}}}}}}}"#
        )
    };
    let what = "CREATE persistentvolumeclaims a/d";
    run(&c, what, Some(&claim("2Gi")), None).unwrap();
    let why = r#"persistentvolumeclaims "d" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"#;
    refused(&c, what, Some(&claim("3Gi")), None, 403, why);
    let why = r#"persistentvolumeclaims "d" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"#;
    refused(&c, what, Some(&claim("1Mi")), None, 403, why);
}

#[test]
fn runtime_classes_cost_and_place() {
    let class = (
        "runtimeclasses//kata",
        r#"{"metadata":{"name":"kata"},"handler":"kata","overhead":{"podFixed":{"cpu":"250m"}},"scheduling":{"nodeSelector":{"kata":"yes"},"tolerations":[{"key":"kata","operator":"Exists","effect":"NoSchedule"}]}}"#,
    );
    let c = chain(&[NS, SA, class]);
    let with = |fields: &str| POD.replace(r#""containers""#, &format!(r#"{fields},"containers""#));
    let made = run(
        &c,
        "CREATE pods a/p",
        Some(&with(r#""runtimeClassName":"kata","nodeSelector":{"a":"b"},"tolerations":[{"key":"kata","operator":"Exists"}]"#)),
        None,
    )
    .unwrap();
    assert_eq!(made.str_at(&["spec", "overhead", "cpu"]), Some("250m"));
    assert_eq!(made.str_at(&["spec", "nodeSelector", "kata"]), Some("yes"));
    assert_eq!(made.str_at(&["spec", "nodeSelector", "a"]), Some("b"));
    let tolerations: Vec<k8s_openapi::api::core::v1::Toleration> =
        made.get_at(&["spec", "tolerations"]).unwrap();
    assert_eq!(tolerations.iter().filter(|t| t.key.as_deref() == Some("kata")).count(), 1);
    let no = |fields: &str, why: &str| {
        let why = format!(r#"pods "p" is forbidden: {why}"#);
        refused(&c, "CREATE pods a/p", Some(&with(fields)), None, 403, &why);
    };
    no(r#""runtimeClassName":"x""#, r#"pod rejected: RuntimeClass "x" not found"#);
    no(
        r#""runtimeClassName":"kata","overhead":{"cpu":"1"}"#,
        "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    );
    no(
        r#""overhead":{"cpu":"1"}"#,
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    );
    no(
        r#""runtimeClassName":"kata","nodeSelector":{"kata":"no"}"#,
        "conflict: runtimeClass.scheduling.nodeSelector[kata] = yes; pod.spec.nodeSelector[kata] = no",
    );
}

/// Quotas in memory.
struct Held(Mutex<Vec<Quota>>);

#[async_trait]
impl QuotaStore for Held {
    async fn change(&self, _: &str, name: &str, dry_run: bool, change: &Change<'_>) -> StatusResult<()> {
        let mut all = self.0.lock();
        let quota = all.iter_mut().find(|q| q.metadata.name.as_deref() == Some(name)).unwrap();
        if let Some(used) = change(quota)?
            && !dry_run
        {
            quota.status.get_or_insert_default().used = Some(gantry_machinery::quota::write(&used));
        }
        Ok(())
    }
}

#[test]
fn quotas_are_taken_before_the_store_is_asked() {
    let quota = |name: &str, hard: &str, used: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"a"}},"spec":{{}},"status":{{"hard":{hard},"used":{used}}}}}"#
        )
    };
    let (a, b) = (
        quota("qa", r#"{"pods":"5","count/configmaps":"1"}"#, r#"{"pods":"0","count/configmaps":"0"}"#),
        quota("qb", r#"{"pods":"1"}"#, r#"{"pods":"0"}"#),
    );
    let store =
        Arc::new(Held(Mutex::new([&a, &b].iter().map(|json| serde_json::from_str(json).unwrap()).collect())));
    let object = |key: &str, json: &str| {
        let meta = Object::parse_meta(json.as_bytes()).unwrap();
        (key.to_owned(), Object::new(meta, Revision(1), json.as_bytes().to_vec().into()))
    };
    // What the cache has never changes here: the store decides.
    let reader =
        Fixed(vec![object("resourcequotas/a/qa", &a), object("resourcequotas/a/qb", &b), object(NS.0, NS.1)]);
    let plugin = ResourceQuota::new(Arc::new(reader), store.clone(), Vec::new());
    let c = Chain::new(vec![Box::new(plugin)]);
    let used = |i: usize, name: &str| store.0.lock()[i].status.clone().unwrap().used.unwrap()[name].0.clone();

    run(&c, "CREATE pods a/p", Some(POD), None).unwrap();
    assert_eq!((used(0, "pods"), used(1, "pods")), ("1".into(), "1".into()));
    let why =
        r#"pods "p" is forbidden: exceeded quota: qb, requested: pods=1, used: pods=1, limited: pods=1"#;
    refused(&c, "CREATE pods a/p", Some(POD), None, 403, why);
    // What the first quota gave was taken back when the second refused.
    assert_eq!((used(0, "pods"), used(1, "pods")), ("1".into(), "1".into()));
    run(&c, "CREATE configmaps a/x", Some("{}"), None).unwrap();
    let why = r#"configmaps "x" is forbidden: exceeded quota: qa, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"#;
    refused(&c, "CREATE configmaps a/x", Some("{}"), None, 403, why);
    run(&c, "UPDATE configmaps a/x", Some("{}"), Some("{}")).unwrap();
    run(&c, "CREATE pods/binding a/p", Some("{}"), None).unwrap();
}
