use super::plan::{Declared, Power, declared, is_out_of_service, power, wanted};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;

fn at(clock: &str) -> Timestamp {
    format!("2026-11-20T{clock}Z").parse().unwrap()
}

/// `[off=<annotation>] [unready] [taint=<value>]`
fn node(text: &str) -> Node {
    let after = |prefix: &str| text.split_whitespace().find_map(|w| w.strip_prefix(prefix));
    let ready = if text.contains("unready") { "Unknown" } else { "True" };
    let annotation = after("off=").map(|v| format!(r#""gantry.io/powered-off":"{v}""#)).unwrap_or_default();
    let taint = after("taint=").map(|v| {
        format!(r#"{{"key":"node.kubernetes.io/out-of-service","value":"{v}","effect":"NoExecute"}}"#)
    });
    serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"n","annotations":{{{annotation}}}}},"spec":{{"taints":[{}]}},
            "status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#,
        taint.unwrap_or_default()
    ))
    .unwrap()
}

#[test]
fn a_node_is_off_when_it_is_declared_so_and_shows_no_life() {
    let now = at("12:00:00");
    let judge = |text: &str, renewed: Option<&str>| {
        let node = node(text);
        power(&node, declared(&node, now), renewed.map(at), now)
    };
    let check = |text: &str, renewed: Option<&str>, off: bool| {
        let want = if off { Power::Off } else { Power::On };
        assert_eq!(judge(text, renewed), want, "{text} {renewed:?}");
    };
    check("", Some("11:00:00"), false);
    check("unready", Some("11:00:00"), false);
    check("off=false unready", None, false);
    check("off=yesterday unready", None, false);
    check("off=true", Some("11:00:00"), false);
    check("off=true unready", Some("11:00:00"), true);
    // Still ready by its status, and silent since it was switched off.
    check("off=2026-11-20T11:59:30Z", Some("11:59:25"), true);
    check("off=2026-11-20T11:59:30Z", None, true);
    // Switched on again.
    check("off=2026-11-20T11:59:30Z", Some("11:59:50"), false);
    check("off=2026-11-20T11:59:30Z unready", Some("11:59:50"), true);
    // Too soon to tell: it may yet renew.
    assert_eq!(judge("off=2026-11-20T11:59:50Z", Some("11:59:45")), Power::Unsure(at("12:00:05")));
    // A time yet to come proves nothing.
    check("off=2026-11-20T13:00:00Z", Some("11:59:59"), false);
    assert_eq!(declared(&node("off=2026-11-20T13:00:00Z"), now), Some(Declared::Undated));
}

#[test]
fn the_taint_comes_and_goes() {
    let check = |text: &str, off: bool, want: Option<&[&str]>| {
        let found = wanted(&node(text), off, at("12:00:00"));
        let values = found.as_ref().map(|all| all.iter().map(|t| t.value.as_deref().unwrap()).collect());
        assert_eq!(values, want.map(<[_]>::to_vec), "{text} {off}");
    };
    check("", true, Some(&["powered-off"]));
    check("taint=powered-off", true, None);
    check("taint=nodeshutdown", true, None);
    check("taint=powered-off", false, Some(&[]));
    check("taint=nodeshutdown", false, None);
    check("", false, None);
}

#[test]
fn who_is_out_of_service() {
    let check = |text: &str, want: bool| assert_eq!(is_out_of_service(&node(text)), want, "{text}");
    check("unready", false);
    check("taint=nodeshutdown", false);
    check("taint=nodeshutdown unready", true);
    check("taint=powered-off", true);
}
