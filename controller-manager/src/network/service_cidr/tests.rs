use super::plan::{Plan, plan};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR, ServiceCIDRSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::Arc;

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn cidr(name: &str, ranges: &[&str]) -> Arc<ServiceCIDR> {
    let cidrs = Some(ranges.iter().map(|r| (*r).to_owned()).collect());
    let mut cidr = ServiceCIDR { spec: Some(ServiceCIDRSpec { cidrs }), ..ServiceCIDR::default() };
    cidr.metadata.name = Some(name.to_owned());
    Arc::new(cidr)
}

fn address(ip: &str) -> Arc<IPAddress> {
    let mut address = IPAddress::default();
    address.metadata.name = Some(ip.to_owned());
    let label = ("ipaddress.kubernetes.io/managed-by".to_owned(), "ipallocator.k8s.io".to_owned());
    address.metadata.labels = Some([label].into());
    Arc::new(address)
}

/// A range deleted at midnight, with the others there are and the addresses in use.
fn check(ranges: &[&str], others: &[&[&str]], used: &[&str], now: &str, want: Plan) {
    let mut going = ServiceCIDR::clone(&cidr("going", ranges));
    going.metadata.deletion_timestamp = Some(Time(at("00:00:00")));
    going.metadata.finalizers = Some(vec![super::FINALIZER.to_owned()]);
    let mut all: Vec<_> = others.iter().enumerate().map(|(n, r)| cidr(&format!("o{n}"), r)).collect();
    all.push(Arc::new(going.clone()));
    let used: Vec<_> = used.iter().map(|ip| address(ip)).collect();
    assert_eq!(plan(&going, &all, &used, at(now)), want, "{ranges:?} {others:?} {used:?} {now}");
}

#[test]
fn ranges_in_use_stay() {
    let own = &["10.0.0.0/24"][..];
    check(own, &[], &["10.0.0.5"], "01:00:00", Plan::InUse);
    check(own, &[], &["10.0.1.5"], "01:00:00", Plan::Release);
    check(own, &[], &[], "00:00:04", Plan::Later(6));
    check(own, &[&["10.0.0.0/16"]], &["10.0.0.5"], "01:00:00", Plan::Release);
    check(own, &[&["10.0.0.0/25"]], &["10.0.0.5"], "01:00:00", Plan::Release);
    check(own, &[&["10.0.0.0/25"]], &["10.0.0.200"], "01:00:00", Plan::InUse);
    check(&["10.0.0.0/24", "fd00::/64"], &[&["10.0.0.0/16"]], &["fd00::5"], "01:00:00", Plan::InUse);
}

#[test]
fn ranges_are_held_while_they_live() {
    let plain = cidr("a", &["10.0.0.0/24"]);
    assert_eq!(plan(&plain, &[], &[], at("00:00:00")), Plan::Keep { hold: true });
    let mut held = ServiceCIDR::clone(&plain);
    held.metadata.finalizers = Some(vec![super::FINALIZER.to_owned()]);
    assert_eq!(plan(&held, &[], &[], at("00:00:00")), Plan::Keep { hold: false });
}
