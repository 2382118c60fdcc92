use super::*;
use crate::schema::builtin;

fn deployment() -> GroupVersionKind {
    GroupVersionKind { group: "apps".into(), version: "v1".into(), kind: "Deployment".into() }
}

fn core(kind: &'static str) -> GroupVersionKind {
    GroupVersionKind { group: "".into(), version: "v1".into(), kind: kind.into() }
}

fn refused_as(gvk: &GroupVersionKind, media: Media, body: &str, want: &str) {
    let got = decode_body(builtin(), body.as_bytes(), media, gvk, FieldValidation::Strict).unwrap_err();
    assert_eq!((got.code(), got.reason(), got.message()), (400, "BadRequest", want), "{body}");
}

fn refused(body: &str, want: &str) {
    refused_as(&deployment(), Media::Json, body, want);
}

fn unfit(body: &str, why: &str) {
    refused(body, &format!("Deployment in version \"v1\" cannot be handled as a Deployment: {why}"));
}

fn in_container(inner: &str) -> String {
    format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{inner}]}}}}}}}}"#)
}

#[test]
fn type_errors_are_go_s() {
    let field = |word, rest: &str| format!("json: cannot unmarshal {word} into Go struct field {rest}");
    let check = |body: &str, word, rest: &str| unfit(body, &field(word, rest));
    check(r#"{"spec":{"replicas":"3"}}"#, "string", "DeploymentSpec.spec.replicas of type int32");
    check(r#"{"spec":{"replicas":1.0}}"#, "number 1.0", "DeploymentSpec.spec.replicas of type int32");
    check(
        r#"{"spec":{"replicas":3000000000}}"#,
        "number 3000000000",
        "DeploymentSpec.spec.replicas of type int32",
    );
    check(r#"{"spec":{"replicas":1e2}}"#, "number 1e2", "DeploymentSpec.spec.replicas of type int32");
    check(r#"{"spec":[]}"#, "array", "Deployment.spec of type v1.DeploymentSpec");
    check(r#"{"spec":{"paused":"true"}}"#, "string", "DeploymentSpec.spec.paused of type bool");
    check(r#"{"metadata":"a"}"#, "string", "Deployment.metadata of type v1.ObjectMeta");
    check(r#"{"metadata":{"labels":{"a":1}}}"#, "number", "ObjectMeta.metadata.labels of type string");
    check(
        r#"{"metadata":{"labels":["a"]}}"#,
        "array",
        "ObjectMeta.metadata.labels of type map[string]string",
    );
    check(
        r#"{"metadata":{"creationTimestamp":5}}"#,
        "number",
        "ObjectMeta.metadata.creationTimestamp of type string",
    );
    check(
        r#"{"spec":{"template":{"spec":{"containers":{}}}}}"#,
        "object",
        "PodSpec.spec.template.spec.containers of type []v1.Container",
    );
    check(&in_container("5"), "number", "PodSpec.spec.template.spec.containers of type v1.Container");
    check(
        &in_container(r#"{"name":5,"ports":[{"containerPort":"x"}]}"#),
        "number",
        "Container.spec.template.spec.containers.name of type string",
    );
    check(
        &in_container(r#"{"livenessProbe":{"httpGet":{"port":1.5}}}"#),
        "number 1.5",
        "HTTPGetAction.spec.template.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
    );
    check(
        &in_container(r#"{"livenessProbe":{"httpGet":{"port":true}}}"#),
        "bool",
        "HTTPGetAction.spec.template.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
    );
    check(
        &in_container(r#"{"livenessProbe":{"exec":5}}"#),
        "number",
        "Probe.spec.template.spec.containers.livenessProbe.ProbeHandler.exec of type v1.ExecAction",
    );
    check(
        &in_container(r#"{"resources":{"limits":5}}"#),
        "number",
        "ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList",
    );
    check(
        r#"{"spec":{"template":{"spec":{"restartPolicy":5}}}}"#,
        "number",
        "PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
    );
}

#[test]
fn values_with_their_own_decoder_beat_other_errors() {
    let quantity =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    unfit(&in_container(r#"{"name":5,"resources":{"limits":{"cpu":"abc"}}}"#), quantity);
    unfit(&in_container(r#"{"resources":{"limits":{"cpu":true}}}"#), quantity);
    unfit(
        r#"{"spec":{"replicas":"a"},"metadata":{"creationTimestamp":"yesterday"}}"#,
        r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
    );
    refused_as(
        &core("Secret"),
        Media::Json,
        r#"{"data":{"a":"&&"}}"#,
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0",
    );
}

#[test]
fn strict_names_every_field_once() {
    unfit(
        r#"{"spec":{"foo":1,"foo":2,"template":{"spec":{"containers":[{"nme":"a","name":"x","name":"y"}]}},"x.y":{}}}"#,
        "strict decoding error: unknown field \"spec.foo\", \
         unknown field \"spec.template.spec.containers[0].nme\", \
         duplicate field \"spec.template.spec.containers[0].name\", unknown field \"spec.x.y\"",
    );
    unfit(
        r#"{"metadata":{"annotations":{"a/b":"1","a/b":"2"}}}"#,
        "strict decoding error: duplicate field \"metadata.annotations.a/b\"",
    );
    refused_as(
        &deployment(),
        Media::Yaml,
        "kind: Deployment\napiVersion: apps/v1\nmetadata:\n  name: a\n  name: b\nspec:\n  foo: 1\n  foo: 2\n",
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
         yaml: unmarshal errors:\n  line 5: key \"name\" already set in map\n  line 8: key \"foo\" already set \
         in map, unknown field \"spec.foo\"",
    );
}

#[test]
fn what_is_not_json_or_not_this_kind() {
    let unknown = |body: &str, why: &str, shown: &str| {
        refused(
            body,
            &format!(
                "the object provided is unrecognized (must be of type Deployment): \
                 couldn't get version/kind; json parse error: {why} ({shown})"
            ),
        );
    };
    unknown("", "unexpected end of JSON input", "<empty>");
    unknown("{\"a\" 1}", "invalid character '1' after object key", "{\"a\" 1}");
    unknown("{\"a\":01}", "invalid character '1' after object key:value pair", "{\"a\":01}");
    unknown("{\"a\":1,}", "invalid character '}' looking for beginning of object key string", "{\"a\":1,}");
    unknown("{\"a\":[1 2]}", "invalid character '2' after array element", "{\"a\":[1 2]}");
    unknown("{a:1}", "invalid character 'a' looking for beginning of object key string", "{a:1}");
    unknown(
        r#"{"apiVersion":"apps/v1","kind":"Deployment"}x"#,
        "invalid character 'x' after top-level value",
        r#"{"apiVersion":"apps/v1","kind" ..."#,
    );
    unknown(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","a":tru}"#,
        "invalid character '}' in literal true (expecting 'e')",
        r#"{"apiVersion":"apps/v1","kind" ..."#,
    );
    unknown(
        "[]",
        r#"json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#,
        "5b5d",
    );
    unknown(
        r#"{"apiVersion":5,"kind":"Deployment"}"#,
        "json: cannot unmarshal number into Go struct field .apiVersion of type string",
        r#"{"apiVersion":5,"kind":"Deploy ..."#,
    );
    refused(
        r#"{"apiVersion":"a/b/c","kind":"x"}"#,
        r#"the object provided is unrecognized (must be of type Deployment): unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c","kind":" ...)"#,
    );
    refused(
        r#"{"apiVersion":"apps/v1","kind":"Depl"}"#,
        r#"Depl in version "v1" cannot be handled as a Deployment: no kind "Depl" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
    );
    refused(
        r#"{"apiVersion":"v1","kind":"Pod"}"#,
        r#"Pod in version "v1" cannot be handled as a Deployment: converting (v1.Pod) to (apps.Deployment): unknown conversion"#,
    );
    refused(
        r#"{"apiVersion":"apps/v1beta1","kind":"Deployment","metadata":{"name":"a"}}"#,
        "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
    );
}

#[test]
fn accepted_bodies_read_as_go_writes_them() {
    let check = |gvk: &GroupVersionKind, body: &str, want: &str| {
        let got = decode_body(builtin(), body.as_bytes(), Media::Json, gvk, FieldValidation::Warn).unwrap();
        let want: Value = serde_json::from_str(want).unwrap();
        assert_eq!(got.document.into_value(), want, "{body}");
    };
    check(
        &core("Secret"),
        r#"{"metadata":{"name":"a","creationTimestamp":null},"data":{"a":"YQ==","b":null},"immutable":null,"x":1}"#,
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"a":"YQ==","b":""}}"#,
    );
    check(
        &GroupVersionKind {
            group: "rbac.authorization.k8s.io".into(),
            version: "v1".into(),
            kind: "Role".into(),
        },
        r#"{"metadata":{"name":"a","labels":{}}}"#,
        r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"a"},"rules":null}"#,
    );
    check(
        &core("Event"),
        r#"{"metadata":{"name":"a"},"involvedObject":{"namespace":"default"}}"#,
        r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"a"},"involvedObject":{"namespace":"default"},
            "source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,
            "reportingComponent":"","reportingInstance":""}"#,
    );
    check(
        &deployment(),
        r#"{"metadata":{"name":"a"},"spec":{"replicas":0,"template":{"spec":{"containers":[
            {"name":"c","resources":{"limits":{"cpu":1.5,"memory":"1024Ki"}}}]}}},"status":{"replicas":0}}"#,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":0,"selector":null,
            "strategy":{},"template":{"metadata":{},"spec":{"containers":[
            {"name":"c","resources":{"limits":{"cpu":"1500m","memory":"1Mi"}}}]}}},"status":{}}"#,
    );
}

#[test]
fn normalize_restores_what_code_left_out() {
    let schema = builtin().gvk(&deployment()).unwrap();
    let mut doc: Value =
        serde_json::from_str(r#"{"metadata":{"labels":{},"name":"a","uid":""},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":null}}"#)
            .unwrap();
    super::super::normalize(schema, doc.as_object_mut().unwrap());
    let want: Value = serde_json::from_str(
        r#"{"metadata":{"name":"a"},"spec":{"selector":{"matchLabels":{"a":"b"}},"strategy":{},
            "template":{"metadata":{},"spec":{"containers":null}}},"status":{}}"#,
    )
    .unwrap();
    assert_eq!(doc, want);
}
