use super::plan::{Plan, plan};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use std::time::Duration;

#[test]
fn tokens_go_when_they_have_run_out() {
    let check = |end: Option<&str>, want: Plan| {
        let data = end.map(|e| [("expiration".to_owned(), ByteString(e.as_bytes().to_vec()))].into());
        let secret = Secret { data, ..Secret::default() };
        assert_eq!(plan(&secret, "2026-01-01T00:00:00Z".parse().unwrap()), want, "{end:?}");
    };
    check(None, Plan::Keep);
    check(Some(""), Plan::Keep);
    check(Some("2026-01-01T00:01:00Z"), Plan::Later(Duration::from_secs(60)));
    check(Some("2026-01-01T00:00:00Z"), Plan::Delete);
    check(Some("2025-12-31T23:00:00Z"), Plan::Delete);
    check(Some("tomorrow"), Plan::Delete);
}
