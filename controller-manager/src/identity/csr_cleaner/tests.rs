use super::plan::due;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn at(text: &str) -> Timestamp {
    format!("2026-01-{text}Z").parse().unwrap()
}

/// `conditions`: `type day-and-time of its last update`.
fn check(conditions: &[(&str, &str)], issued: bool, ends: Option<&str>, want: Option<&str>) {
    let mut csr = CertificateSigningRequest::default();
    csr.metadata.creation_timestamp = Some(Time(at("01T00:00:00")));
    let status = csr.status.get_or_insert_default();
    let condition = |(kind, time): &(&str, &str)| CertificateSigningRequestCondition {
        type_: (*kind).into(),
        last_update_time: (!time.is_empty()).then(|| Time(at(time))),
        ..Default::default()
    };
    status.conditions = Some(conditions.iter().map(condition).collect());
    status.certificate = issued.then(|| ByteString(vec![1]));
    assert_eq!(due(&csr, ends.map(at)), want.map(at), "{conditions:?} {issued} {ends:?}");
}

#[test]
fn requests_go_when_they_are_done_with() {
    check(&[], false, None, Some("02T00:00:00"));
    check(&[("Approved", "01T01:00:00")], false, None, Some("02T01:00:00"));
    check(&[("Approved", "01T01:00:00")], true, None, Some("01T02:00:00"));
    check(&[("Approved", "01T01:00:00")], true, Some("01T01:30:00"), Some("01T01:30:00"));
    check(&[("Approved", "")], true, Some("01T01:30:00"), Some("01T01:30:00"));
    check(&[("Denied", "01T01:00:00")], false, None, Some("01T02:00:00"));
    check(&[("Approved", "01T01:00:00"), ("Failed", "01T02:00:00")], false, None, Some("01T03:00:00"));
    check(&[("Other", "01T01:00:00")], false, None, None);
}
