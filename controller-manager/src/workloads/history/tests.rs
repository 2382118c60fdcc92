use super::*;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, PodSpec};

fn template(image: &str) -> PodTemplateSpec {
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some([("app".into(), "web".into())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container { image: Some(image.into()), ..Container::default() }],
            ..PodSpec::default()
        }),
    }
}

fn owner() -> StatefulSet {
    StatefulSet {
        metadata: ObjectMeta {
            name: Some("web".into()),
            namespace: Some("n".into()),
            uid: Some("u".into()),
            annotations: Some([("note".into(), "kept".into())].into()),
            ..ObjectMeta::default()
        },
        ..StatefulSet::default()
    }
}

/// `image number`, by which a revision is also called.
fn revisions(text: &str) -> Revisions {
    let of = |entry: &str| {
        let (image, number) = entry.split_once(' ').unwrap();
        let mut revision = new(&owner(), &template(image), number.parse().unwrap(), 0);
        revision.metadata.name = Some(entry.replace(' ', "-"));
        Arc::new(revision)
    };
    text.split(',').filter(|e| !e.is_empty()).map(of).collect()
}

fn check(known: &str, image: &str, expected: &str) {
    let found = match update(&owner(), &template(image), &revisions(known), 0) {
        Update::Newest(r) => format!("newest {}", r.metadata.name.as_deref().unwrap()),
        Update::Renumber(r) => format!("renumber {} to {}", r.metadata.name.as_deref().unwrap(), r.revision),
        Update::Create(r) => format!("create {}", r.revision),
    };
    assert_eq!(found, expected, "{known}: {image}");
}

#[test]
fn a_template_is_found_renumbered_or_new() {
    check("", "a", "create 1");
    check("a 1", "a", "newest a-1");
    check("a 1,b 2", "b", "newest b-2");
    check("a 1,b 2", "a", "renumber a-1 to 3");
    check("a 1,b 2", "c", "create 3");
    check("a 1,b 4,a 7", "a", "newest a-7");
}

#[test]
fn data_are_upstreams_patch_and_come_back() {
    let data = data(&template("<a>"));
    assert_eq!(
        serde_json::to_string(&data).unwrap(),
        r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"image":"<a>","name":""}]}}}}"#
    );
    assert!(go_json(&data).contains(r#""image":"\u003ca\u003e""#));
    let Effect::Create { body, .. } = create(&new(&owner(), &template("<a>"), 1, 0)) else { panic!() };
    assert!(String::from_utf8(body.0).unwrap().contains(r#""image":"\u003ca\u003e""#));
    let revision = new(&owner(), &template("<a>"), 1, 0);
    assert_eq!(super::template(&revision), Some(template("<a>")));
    assert_eq!(super::template(&ControllerRevision::default()), None);
}

#[test]
fn a_revision_is_named_labelled_and_owned() {
    let revision = new(&owner(), &template("a"), 3, 0);
    let meta = &revision.metadata;
    let hash = &meta.labels.as_ref().unwrap()[HASH];
    assert_eq!(meta.name.as_deref(), Some(format!("web-{hash}").as_str()));
    assert_eq!(meta.labels.as_ref().unwrap()["app"], "web");
    assert_eq!(meta.annotations.as_ref().unwrap()["note"], "kept");
    assert_eq!(meta.owner_references.as_ref().unwrap()[0].uid, "u");
    let mut renamed = revision.clone();
    rename(&mut renamed, "web", 1);
    assert_ne!(renamed.metadata.name, revision.metadata.name);
    assert_eq!(name(&"x".repeat(300), "h").len(), 225);
}

#[test]
fn unset_and_empty_fields_make_no_difference() {
    let mut revision = new(&owner(), &template("a"), 1, 0);
    revision.data = Some(RawExtension(
        serde_json::from_str(
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"annotations":{},
                "labels":{"app":"web"}},"spec":{"containers":[{"image":"a","name":""}]}}}}"#,
        )
        .unwrap(),
    ));
    assert!(holds(&revision, &template("a")));
    assert!(!holds(&revision, &template("b")));
    let only = Arc::new(revision);
    assert_eq!(
        update(&owner(), &template("a"), std::slice::from_ref(&only), 0),
        Update::Newest(only.clone())
    );
}

#[test]
fn old_unused_revisions_go() {
    let check = |live: &[&str], limit: i32, expected: &[&str]| {
        let live = live.iter().copied().collect();
        let found = surplus(&revisions("a 1,b 2,c 3,d 4"), &live, limit);
        let names: Vec<_> = found.iter().map(|r| r.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, expected, "{live:?} {limit}");
    };
    check(&["d-4"], 10, &[]);
    check(&["d-4"], 1, &["a-1", "b-2"]);
    check(&["a-1", "d-4"], 1, &["b-2"]);
    check(&["d-4"], 0, &["a-1", "b-2", "c-3"]);
    check(&["d-4"], -1, &[]);
}

#[test]
fn order_is_by_number_then_age_then_name() {
    let mut list = revisions("b 2,a 2,c 1");
    list.sort_by(by_number);
    let names: Vec<_> = list.iter().map(|r| r.metadata.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["c-1", "a-2", "b-2"]);
}
