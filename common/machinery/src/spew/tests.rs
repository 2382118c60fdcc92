use super::*;

/// FNV-1a in letters, as upstream's controllers write it.
fn hash(text: &str) -> String {
    let sum = text.bytes().fold(0x811c_9dc5_u32, |sum, b| (sum ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let letters = b"bcdfghjklmnpqrstvwxz2456789";
    sum.to_string().bytes().map(|b| char::from(letters[usize::from(b) % letters.len()])).collect()
}

#[derive(serde::Deserialize)]
struct Vector {
    hash: String,
    template: Value,
}

#[test]
fn templates_hash_as_upstreams_controllers_hashed_them() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    for vector in vectors {
        let text = print("v1.PodTemplateSpec", &vector.template).unwrap();
        assert_eq!(hash(&text), vector.hash, "{text}");
    }
}

fn check(of: &str, json: &str, expected: Option<&str>) {
    let value: Value = serde_json::from_str(json).unwrap();
    assert_eq!(print(of, &value).as_deref(), expected, "{json}");
}

#[test]
fn pointers_lists_maps_and_named_types_are_printed() {
    check(
        "v1.AppArmorProfile",
        r#"{"type":"x"}"#,
        Some("(v1.AppArmorProfile){Type:(v1.AppArmorProfileType)x LocalhostProfile:(*string)<nil>}"),
    );
    check(
        "v1.HostAlias",
        r#"{"ip":"a","hostnames":["b","c"]}"#,
        Some("(v1.HostAlias){IP:(string)a Hostnames:([]string)[b c]}"),
    );
    check("map[string]string", r#"{"b":"2","a":"1"}"#, Some("(map[string]string)map[a:1 b:2]"));
    check("*int64", "30", Some("(*int64)30"));
    check("*int64", "null", Some("(*int64)<nil>"));
    check(
        "intstr.IntOrString",
        "80",
        Some("(intstr.IntOrString){Type:(intstr.Type)0 IntVal:(int32)80 StrVal:(string)}"),
    );
    check("v1.Unheard", "{}", None);
    check("string", "5", None);
}

#[test]
fn quantities_are_as_go_parses_them() {
    let one = |text: &str, expected: Option<(&str, &str, &str)>| {
        let expected = expected.map(|(value, scale, rest)| {
            format!(
                "(resource.Quantity){{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} \
                 d:(resource.infDecAmount){{Dec:(*inf.Dec)<nil>}} {rest}}}"
            )
        });
        check("resource.Quantity", &format!("{text:?}"), expected.as_deref());
    };
    one("0", Some(("0", "0", "s:(string)0 Format:(resource.Format)DecimalSI")));
    one("100m", Some(("100", "-3", "s:(string)100m Format:(resource.Format)DecimalSI")));
    one("2000", Some(("2000", "0", "s:(string) Format:(resource.Format)DecimalSI")));
    one("64Mi", Some(("67108864", "0", "s:(string) Format:(resource.Format)BinarySI")));
    one("1Gi", Some(("1073741824", "0", "s:(string)1Gi Format:(resource.Format)BinarySI")));
    one("100Ti", None);
    one("0.5", None);
    one("1e3", None);
}
