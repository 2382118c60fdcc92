use super::*;
use gantry_types::k8s_openapi::jiff::Timestamp;

fn quota(json: &str) -> ResourceQuota {
    serde_json::from_str(json).unwrap()
}

fn pod(json: &str) -> Pod {
    serde_json::from_str(json).unwrap()
}

fn resource(group: &'static str, plural: &'static str) -> GroupResource {
    GroupResource::new(group, plural)
}

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

const POD: &str = r#"{"metadata":{"name":"p"},"spec":{"priorityClassName":"high","containers":[{"name":"c","resources":{"requests":{"cpu":"500m","memory":"1Gi","hugepages-2Mi":"4Mi","x.com/gpu":"1"},"limits":{"cpu":"1","hugepages-2Mi":"4Mi","x.com/gpu":"1"}}}]}}"#;

#[test]
fn pods_cost_what_they_ask_for() {
    let check = |json: &str, want: &str| {
        let usage = Measure::Pods.usage(Item::Pod(&pod(json)), now());
        assert_eq!(format(&usage), want, "{json}");
    };
    check(
        POD,
        "count/pods=1,cpu=500m,hugepages-2Mi=4Mi,limits.cpu=1,memory=1Gi,pods=1,requests.cpu=500m,requests.hugepages-2Mi=4Mi,requests.memory=1Gi,requests.x.com/gpu=1",
    );
    // Ended pods, and pods that should have.
    check(r#"{"spec":{"containers":[]},"status":{"phase":"Failed"}}"#, "count/pods=1");
    check(
        r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":30},"spec":{"containers":[]}}"#,
        "count/pods=1",
    );
    check(
        r#"{"metadata":{"deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":90},"spec":{"containers":[]}}"#,
        "count/pods=1,pods=1",
    );
    // Sidecars run beside, init containers before; overhead comes on top, of limits only where there are any.
    check(
        r#"{"spec":{"overhead":{"cpu":"100m","memory":"1Mi"},"containers":[{"name":"c","resources":{"requests":{"cpu":"1"},"limits":{"cpu":"2"}}}],"initContainers":[{"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"200m"}}},{"name":"i","resources":{"requests":{"cpu":"3"}}}]}}"#,
        "count/pods=1,cpu=3300m,limits.cpu=2100m,memory=1Mi,pods=1,requests.cpu=3300m,requests.memory=1Mi",
    );
    // The pod's own amounts replace its containers'.
    check(
        r#"{"spec":{"resources":{"requests":{"cpu":"4"}},"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]}}"#,
        "count/pods=1,cpu=4,pods=1,requests.cpu=4",
    );
    // While a resize is under way the larger counts.
    check(
        r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]},"status":{"containerStatuses":[{"name":"c","image":"","imageID":"","ready":true,"restartCount":0,"allocatedResources":{"cpu":"2"},"resources":{"requests":{"cpu":"2"}}}]}}"#,
        "count/pods=1,cpu=2,pods=1,requests.cpu=2",
    );
}

#[test]
fn services_and_claims_cost_what_they_take() {
    let service = |json: &str, want: &str| {
        let service: Service = serde_json::from_str(json).unwrap();
        assert_eq!(format(&Measure::Services.usage(Item::Service(&service), now())), want);
    };
    service("{}", "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0");
    service(
        r#"{"spec":{"type":"NodePort","ports":[{"port":1},{"port":2}]}}"#,
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=2",
    );
    service(
        r#"{"spec":{"type":"LoadBalancer","allocateLoadBalancerNodePorts":false,"ports":[{"port":1,"nodePort":30000},{"port":2}]}}"#,
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1",
    );
    let claim = |json: &str, want: &str| {
        let claim: PersistentVolumeClaim = serde_json::from_str(json).unwrap();
        assert_eq!(format(&Measure::Claims.usage(Item::Claim(&claim), now())), want);
    };
    claim(
        r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"1Gi"}}},"status":{"allocatedResources":{"storage":"2Gi"}}}"#,
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi",
    );
    let count = |group, plural, want: &str| {
        assert_eq!(format(&Measure::of(&resource(group, plural)).usage(Item::Other, now())), want);
    };
    count("", "secrets", "count/secrets=1,secrets=1");
    count("apps", "deployments", "count/deployments.apps=1");
}

#[test]
fn scopes_choose_pods() {
    let check = |scope: &str, json: &str, want: bool| {
        let spec = format!(r#"{{"spec":{scope},"status":{{"hard":{{"pods":"1"}}}}}}"#);
        assert_eq!(Measure::Pods.matches(&quota(&spec), Item::Pod(&pod(json))), want, "{scope} {json}");
    };
    let selector = |name: &str, operator: &str, values: &str| {
        format!(
            r#"{{"scopeSelector":{{"matchExpressions":[{{"scopeName":"{name}","operator":"{operator}","values":[{values}]}}]}}}}"#
        )
    };
    let plain = r#"{"spec":{"containers":[]}}"#;
    let dated = r#"{"spec":{"activeDeadlineSeconds":5,"containers":[]}}"#;
    check(r#"{"scopes":["BestEffort"]}"#, plain, true);
    check(r#"{"scopes":["BestEffort"]}"#, POD, false);
    check(r#"{"scopes":["NotBestEffort","NotTerminating"]}"#, POD, true);
    check(r#"{"scopes":["Terminating"]}"#, dated, true);
    check(r#"{"scopes":["Terminating"]}"#, plain, false);
    check(&selector("PriorityClass", "In", r#""high","low""#), POD, true);
    check(&selector("PriorityClass", "In", r#""low""#), POD, false);
    check(&selector("PriorityClass", "NotIn", r#""low""#), plain, true);
    check(&selector("PriorityClass", "Exists", ""), plain, false);
    check(&selector("PriorityClass", "DoesNotExist", ""), plain, true);
    let far = r#"{"spec":{"containers":[],"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"k","namespaces":["x"]}]}}}}"#;
    check(r#"{"scopes":["CrossNamespacePodAffinity"]}"#, far, true);
    check(r#"{"scopes":["CrossNamespacePodAffinity"]}"#, POD, false);
}

fn charged(quota_json: &str, json: &str, old: Option<&str>) -> Result<String, String> {
    let (new, old) = (pod(json), old.map(pod));
    let rq = Charge {
        measure: &Measure::Pods,
        item: Item::Pod(&new),
        old: old.as_ref().map(Item::Pod),
        report: false,
        now: now(),
    };
    charge(&quota(quota_json), &rq).map(|a| format(&a)).map_err(|e| e.to_string())
}

#[test]
fn quotas_are_charged_or_refuse() {
    let check = |hard: &str, used: &str, want: Result<&str, &str>| {
        let json =
            format!(r#"{{"metadata":{{"name":"q"}},"status":{{"hard":{{{hard}}},"used":{{{used}}}}}}}"#);
        assert_eq!(charged(&json, POD, None), want.map(str::to_owned).map_err(str::to_owned));
    };
    check(r#""secrets":"1""#, "", Ok(""));
    check(r#""pods":"2","cpu":"1""#, r#""pods":"1","cpu":"500m""#, Ok("cpu=500m,pods=1"));
    check(
        r#""pods":"2","cpu":"1","requests.memory":"512Mi""#,
        r#""pods":"2","cpu":"600m","requests.memory":"0""#,
        Err(
            "exceeded quota: q, requested: cpu=500m,pods=1,requests.memory=1Gi, used: cpu=600m,pods=2,requests.memory=0, limited: cpu=1,pods=2,requests.memory=512Mi",
        ),
    );
    check(r#""pods":"2""#, "", Err("status unknown for quota: q, resources: pods"));
    check(
        r#""pods":"2","limits.memory":"1Gi""#,
        r#""pods":"0","limits.memory":"0""#,
        Err("failed quota: q: must specify limits.memory for: c"),
    );
}

#[test]
fn changes_cost_the_difference() {
    let json = r#"{"metadata":{"name":"q"},"status":{"hard":{"cpu":"1"},"used":{"cpu":"1"}}}"#;
    assert_eq!(charged(json, POD, Some(POD)), Ok(String::new()));
    let grown = POD.replace("500m", "600m");
    let why = "exceeded quota: q, requested: cpu=100m, used: cpu=1, limited: cpu=1";
    assert_eq!(charged(json, &grown, Some(POD)), Err(why.to_owned()));
    assert_eq!(charged(json, POD, Some(&grown)), Ok(String::new()));
}

#[test]
fn a_charge_is_taken_back() {
    let (a, b) = (
        Amounts::from([("cpu".to_owned(), "2".parse().unwrap())]),
        Amounts::from([("cpu".to_owned(), "500m".parse().unwrap())]),
    );
    assert_eq!(format(&release(&a, &b)), "cpu=1500m");
    assert_eq!(format(&release(&b, &a)), "cpu=0");
}

#[test]
fn what_is_limited_needs_a_quota() {
    let limited: Vec<Limited> = serde_json::from_str(
        r#"[{"resource":"pods","matchScopes":[{"scopeName":"PriorityClass","operator":"In","values":["high","top"]}]},
            {"resource":"pods","matchContains":["requests.cpu"]},
            {"resource":"persistentvolumeclaims","matchContains":[".storageclass.storage.k8s.io/requests.storage"]},
            {"apiGroup":"apps","resource":"deployments","matchContains":["count/deployments"]}]"#,
    )
    .unwrap();
    let high = r#"{"spec":{"priorityClassName":"high","containers":[]}}"#;
    let cpu = r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]}}"#;
    let plain = r#"{"spec":{"containers":[]}}"#;
    let scoped = r#"{"spec":{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}}}"#;
    let of_cpu = r#"{"status":{"hard":{"requests.cpu":"4"},"used":{"requests.cpu":"0"}}}"#;
    let of_pods = r#"{"status":{"hard":{"pods":"4"},"used":{"pods":"0"}}}"#;
    let check = |new: &str, old: Option<&str>, quotas: &[&str], want: &str| {
        let quotas: Vec<ResourceQuota> = quotas.iter().map(|q| quota(q)).collect();
        let (new, old) = (pod(new), old.map(pod));
        let rq = Charge {
            measure: &Measure::Pods,
            item: Item::Pod(&new),
            old: old.as_ref().map(Item::Pod),
            report: false,
            now: now(),
        };
        let found = uncovered(&limited, &resource("", "pods"), &quotas, &rq).map(|u| u.to_string());
        assert_eq!(found.as_deref().unwrap_or(""), want, "{new:?}");
    };
    let scope = "insufficient quota to match these scopes: [{PriorityClass In [high top]}]";
    check(high, None, &[], scope);
    check(high, None, &[of_pods], scope);
    check(high, None, &[scoped], "");
    check(r#"{"spec":{"priorityClassName":"top","containers":[]}}"#, None, &[scoped], scope);
    check(plain, None, &[], "");
    check(cpu, None, &[of_pods], "insufficient quota to consume: requests.cpu");
    check(cpu, None, &[of_pods, of_cpu], "");
    // What was there before takes nothing more.
    check(cpu, Some(cpu), &[], "");
    check(cpu, Some(plain), &[], "insufficient quota to consume: requests.cpu");

    let claim: PersistentVolumeClaim = serde_json::from_str(
        r#"{"spec":{"storageClassName":"gold","resources":{"requests":{"storage":"1Gi"}}}}"#,
    )
    .unwrap();
    let check = |group: &'static str, plural: &'static str, want: &str| {
        let resource = resource(group, plural);
        let measure = Measure::of(&resource);
        let item = if plural == "deployments" { Item::Other } else { Item::Claim(&claim) };
        let rq = Charge { measure: &measure, item, old: None, report: false, now: now() };
        let found = uncovered(&limited, &resource, &[], &rq).map(|u| u.to_string());
        assert_eq!(found.as_deref().unwrap_or(""), want, "{plural}");
    };
    check(
        "",
        "persistentvolumeclaims",
        "insufficient quota to consume: gold.storageclass.storage.k8s.io/requests.storage",
    );
    check("apps", "deployments", "insufficient quota to consume: count/deployments.apps");
    check("extensions", "deployments", "");
}
