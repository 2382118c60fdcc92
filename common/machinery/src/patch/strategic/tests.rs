use super::*;
use crate::schema::builtin;
use proptest::prelude::*;

fn schema() -> Schema<'static> {
    builtin().kind("", "v1", "Pod").unwrap()
}

fn object(v: Value) -> Object {
    v.as_object().unwrap().clone()
}

fn run(original: Value, patch: Value) -> Result<Value, String> {
    let doc = Document::new(object(original));
    apply(doc, object(patch), schema()).map(Document::into_value).map_err(|e| e.to_string())
}

macro_rules! json {
    ($($t:tt)*) => { serde_json::json!($($t)*) };
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn patches_apply_as_the_schema_says() {
    let check = |original: Value, patch: Value, want: Value| {
        assert_eq!(run(original, patch.clone()), Ok(want), "{patch}");
    };
    let two = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]);
    check(
        pod(two.clone()),
        pod(json!([{"name": "b", "image": "3"}])),
        pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3"}])),
    );
    // New items go before those only the server has, as upstream's merge has it.
    check(
        pod(two.clone()),
        pod(json!([{"name": "c"}])),
        pod(json!([{"name": "c"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
    );
    check(
        pod(two.clone()),
        pod(json!([{"name": "a", "$patch": "delete"}])),
        pod(json!([{"name": "b", "image": "2"}])),
    );
    check(pod(two.clone()), pod(json!([{"$patch": "replace"}, {"name": "z"}])), pod(json!([{"name": "z"}])));
    check(
        pod(two.clone()),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
        pod(json!([{"name": "b", "image": "2"}, {"name": "a", "image": "1"}])),
    );
    check(
        json!({"metadata": {"labels": {"a": "1"}}}),
        json!({"metadata": {"labels": null}}),
        json!({"metadata": {}}),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}}),
        json!({"metadata": {"finalizers": ["a", "c"]}}),
    );
    check(
        json!({"metadata": {"finalizers": ["a"]}}),
        json!({"metadata": {"finalizers": ["b", "a"]}}),
        json!({"metadata": {"finalizers": ["b", "a"]}}),
    );
    check(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}),
    );
    check(
        json!({"spec": {"nodeSelector": {"a": "1"}}}),
        json!({"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}}}),
        json!({"spec": {"nodeSelector": {"b": "2"}}}),
    );
    check(json!({"spec": {"x": 1}}), json!({"spec": {"$patch": "delete"}}), json!({"spec": {}}));
    check(json!({}), json!({"spec": {"a": null, "b": {"c": null}}}), json!({"spec": {"b": {}}}));
    // Tolerations have no patch strategy: replaced whole.
    check(
        json!({"spec": {"tolerations": [{"key": "a"}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}]}}),
    );
}

#[test]
fn failures_read_as_upstream() {
    let check = |original: Value, patch: Value, want: &str| {
        assert_eq!(run(original, patch.clone()).unwrap_err(), want, "{patch}");
    };
    let one = || pod(json!([{"name": "a"}]));
    check(one(), pod(json!([{"image": "x"}])), "map: map[image:x] does not contain declared merge key: name");
    check(one(), json!({"spec": {"$patch": "odd"}}), "unknown patch type: odd in map: map[$patch:odd]");
    check(one(), json!({"spec": {"$retainKeys": ["a"], "b": 1}}), "invalid patch format of retainKeys");
    check(
        one(),
        json!({"spec": {"$setElementOrder/containers": 1}}),
        "expected a []interface {}, but received a int64",
    );
    check(
        json!({"spec": {"nope": {"a": 1}}}),
        json!({"spec": {"nope": {"a": 2}}}),
        "unable to find api field in struct PodSpec for the json field \"nope\"",
    );
    check(
        one(),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}}),
        "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:a] map[name:b]]\n",
    );
    check(
        one(),
        pod(json!([{"name": "a", "$patch": "merge"}])),
        "merging lists cannot yet be specified in the patch",
    );
}

#[test]
fn diffs_use_directives() {
    let check = |a: Value, b: Value, want: Value| {
        assert_eq!(Value::Object(two_way(&object(a), &object(b), schema()).unwrap()), want);
    };
    check(
        pod(json!([{"name": "a", "image": "1"}, {"name": "b"}])),
        pod(json!([{"name": "a", "image": "2"}])),
        json!({"spec": {
            "$setElementOrder/containers": [{"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}]
        }}),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"finalizers": ["b", "c"]}}),
        json!({"metadata": {
            "$setElementOrder/finalizers": ["b", "c"],
            "$deleteFromPrimitiveList/finalizers": ["a"],
            "finalizers": ["c"]
        }}),
    );
    check(
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}),
        json!({"spec": {
            "$setElementOrder/volumes": [{"name": "v"}],
            "volumes": [{"name": "v", "$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/"}}]
        }}),
    );
}

#[test]
fn three_ways_spare_what_others_set() {
    let last = object(json!({"metadata": {"labels": {"a": "1", "b": "2"}}}));
    let next = object(json!({"metadata": {"labels": {"a": "9"}}}));
    let live = object(
        json!({"metadata": {"labels": {"a": "1", "b": "2", "other": "x"}}, "spec": {"nodeName": "n"}}),
    );
    let patch = three_way(&last, &next, &live, schema(), true).unwrap();
    assert_eq!(Value::Object(patch.clone()), json!({"metadata": {"labels": {"a": "9", "b": null}}}));
    let done = apply(Document::new(live.clone()), patch, schema()).unwrap();
    assert_eq!(
        done.into_value(),
        json!({"metadata": {"labels": {"a": "9", "other": "x"}}, "spec": {"nodeName": "n"}})
    );
    let mut others = live;
    others["metadata"]["labels"]["a"] = "5".into();
    assert!(matches!(three_way(&last, &next, &others, schema(), false), Err(PatchError::Conflict(..))));
    assert!(three_way(&last, &next, &others, schema(), true).is_ok());
}

/// Pods with the things strategic merge treats apart: keyed lists, sets, plain lists and maps.
fn any_pod() -> impl Strategy<Value = Object> {
    let port = (1i64..4, "[a-b]").prop_map(|(p, n)| json!({"containerPort": p, "name": n}));
    let ports = proptest::collection::vec(port, 0..3).prop_map(|mut l| {
        l.dedup_by_key(|p| p["containerPort"].clone());
        l.sort_by_key(|p| p["containerPort"].as_i64());
        l.dedup_by_key(|p| p["containerPort"].clone());
        l
    });
    let containers = proptest::collection::btree_map("[a-d]", (ports, "[x-y]"), 0..4)
        .prop_map(|m| {
            m.into_iter()
                .map(|(n, (ports, image))| json!({"name": n, "image": image, "ports": ports}))
                .collect::<Vec<_>>()
        })
        .prop_shuffle();
    let finalizers = proptest::collection::btree_set("[a-e]", 0..4)
        .prop_map(|s| s.into_iter().collect::<Vec<_>>())
        .prop_shuffle();
    let labels = proptest::collection::btree_map("[a-c]", "[a-b]", 0..3);
    let args = proptest::collection::vec("[a-c]", 0..3);
    (containers, finalizers, labels, args).prop_map(|(c, f, l, t)| {
        let tolerations: Vec<Value> = t.iter().map(|k| json!({"key": k})).collect();
        object(json!({
            "metadata": {"finalizers": f, "labels": l},
            "spec": {"containers": c, "tolerations": tolerations}
        }))
    })
}

proptest! {
    #[test]
    fn a_diff_applied_is_the_target(a in any_pod(), b in any_pod()) {
        let patch = two_way(&a, &b, schema()).unwrap();
        let done = apply(Document::new(a), patch, schema()).unwrap();
        prop_assert_eq!(done.into_map(), b);
    }

    #[test]
    fn a_three_way_nobody_disturbed_is_the_target(a in any_pod(), b in any_pod()) {
        let patch = three_way(&a, &b, &a, schema(), false).unwrap();
        let done = apply(Document::new(a), patch, schema()).unwrap();
        prop_assert_eq!(done.into_map(), b);
    }
}
