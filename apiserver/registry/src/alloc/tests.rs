use super::*;
use gantry_types::k8s_openapi::api::core::v1::ServicePort;
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn ranges() -> Allocators {
    let v4 = IpRange::new("10.0.0.0".parse().unwrap(), 24);
    Allocators::new(vec![v4], PortRange::default())
}

fn dual() -> Allocators {
    let v4 = IpRange::new("10.0.0.0".parse().unwrap(), 24);
    let v6 = IpRange::new("fd00::".parse().unwrap(), 112);
    Allocators::new(vec![v4, v6], PortRange::default())
}

fn service(kind: &str, change: impl FnOnce(&mut ServiceSpec)) -> Service {
    let mut spec = ServiceSpec {
        type_: Some(kind.to_owned()),
        ports: Some(vec![ServicePort { port: 80, protocol: Some("TCP".into()), ..Default::default() }]),
        ..Default::default()
    };
    change(&mut spec);
    let metadata = ObjectMeta { name: Some("s".into()), ..Default::default() };
    Service { metadata, spec: Some(spec), status: None }
}

fn ips(s: &Service) -> Vec<String> {
    spec_of(s).cluster_ips.unwrap_or_default()
}

#[test]
fn an_address_is_given_once_and_comes_back() {
    let a = ranges();
    let mut one = service("ClusterIP", |s| s.cluster_ip = Some("10.0.0.5".into()));
    let first = a.on_create(&mut one, false).unwrap();
    let mut two = service("ClusterIP", |s| s.cluster_ip = Some("10.0.0.5".into()));
    let refused = a.on_create(&mut two, false).err().unwrap();
    assert_eq!(
        refused.message(),
        "Service \"s\" is invalid: spec.clusterIPs: Invalid value: [\"10.0.0.5\"]: failed to allocate IP 10.0.0.5: provided IP is already allocated"
    );
    drop(first);
    let mut two = service("ClusterIP", |s| s.cluster_ip = Some("10.0.0.5".into()));
    a.on_create(&mut two, false).unwrap().commit();
    let mut three = service("ClusterIP", |s| s.cluster_ip = Some("10.0.0.5".into()));
    assert!(a.on_create(&mut three, false).is_err());
    a.on_delete(&two);
    a.on_create(&mut three, false).unwrap().commit();
    assert_eq!(spec_of(&three).ip_families.unwrap(), ["IPv4"]);
    assert_eq!(spec_of(&three).ip_family_policy.as_deref(), Some("SingleStack"));
}

#[test]
fn a_range_fills_without_doubles_and_then_refuses() {
    let a = ranges();
    let mut seen = BTreeSet::new();
    for n in 0..254 {
        let mut s = service("ClusterIP", |_| {});
        a.on_create(&mut s, false).unwrap().commit();
        let ip = ips(&s).remove(0);
        if n < 238 {
            let last: u8 = ip.rsplit('.').next().unwrap().parse().unwrap();
            assert!(last > 16, "{ip} is of the reserved part");
        }
        assert!(seen.insert(ip));
    }
    let refused = a.on_create(&mut service("ClusterIP", |_| {}), false).err().unwrap();
    assert_eq!(refused.code(), 500);
    assert_eq!(
        refused.message(),
        "Internal error occurred: failed to allocate a serviceIP for Service \"s\": range is full"
    );
}

#[test]
fn concurrent_creates_never_share() {
    let a = ranges();
    let all: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..25)
                        .map(|i| {
                            let mut s = service("NodePort", |_| {});
                            let r = a.on_create(&mut s, false).unwrap();
                            if i % 5 == 0 {
                                drop(r);
                                return String::new();
                            }
                            r.commit();
                            let port = spec_of(&s).ports.unwrap()[0].node_port.unwrap();
                            format!("{}:{port}", ips(&s)[0])
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).filter(|s| !s.is_empty()).collect()
    });
    let ips: BTreeSet<&str> = all.iter().map(|s| s.split_once(':').unwrap().0).collect();
    let ports: BTreeSet<&str> = all.iter().map(|s| s.split_once(':').unwrap().1).collect();
    assert_eq!((ips.len(), ports.len()), (160, 160));
}

#[test]
fn ports_are_judged_in_upstream_words() {
    let a = ranges();
    let with = |n: i32| service("NodePort", |s| s.ports.as_mut().unwrap()[0].node_port = Some(n));
    a.on_create(&mut with(30100), false).unwrap().commit();
    let check = |n: i32, want: &str| {
        let refused = a.on_create(&mut with(n), false).err().unwrap();
        assert_eq!(refused.message(), want);
    };
    check(
        30100,
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30100: provided port is already allocated",
    );
    check(
        80,
        "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
}

#[test]
fn one_port_number_shares_a_node_port_between_protocols() {
    let a = ranges();
    let mut s = service("NodePort", |s| {
        let mut udp = s.ports.as_ref().unwrap()[0].clone();
        udp.protocol = Some("UDP".into());
        s.ports.as_mut().unwrap().push(udp);
    });
    a.on_create(&mut s, false).unwrap().commit();
    let ports = spec_of(&s).ports.unwrap();
    assert_eq!(ports[0].node_port, ports[1].node_port);
}

#[test]
fn an_update_keeps_what_it_left_out_and_frees_what_it_dropped() {
    let a = ranges();
    let mut old = service("NodePort", |_| {});
    a.on_create(&mut old, false).unwrap().commit();
    let mut new = service("NodePort", |_| {});
    a.on_update(&mut new, &old, false).unwrap().commit();
    assert_eq!(ips(&new), ips(&old));
    assert_eq!(spec_of(&new).ports, spec_of(&old).ports);
    let port = spec_of(&old).ports.unwrap()[0].node_port;
    let mut plain = service("ClusterIP", |_| {});
    a.on_update(&mut plain, &old, false).unwrap().commit();
    let mut reuse = service("NodePort", |s| s.ports.as_mut().unwrap()[0].node_port = port);
    a.on_create(&mut reuse, false).unwrap().commit();
    let mut external = service("ExternalName", |_| {});
    a.on_update(&mut external, &plain, false).unwrap().commit();
    let mut same_ip = service("ClusterIP", |s| s.cluster_ip = ips(&plain).first().cloned());
    a.on_create(&mut same_ip, false).unwrap().commit();
}

#[test]
fn families_follow_policy_and_cluster() {
    let families = |a: &Allocators, s: &mut Service| {
        a.on_create(s, false).unwrap().commit();
        (spec_of(s).ip_families.unwrap().join(","), ips(s).len())
    };
    let prefer = |s: &mut ServiceSpec| s.ip_family_policy = Some("PreferDualStack".into());
    assert_eq!(families(&ranges(), &mut service("ClusterIP", prefer)), ("IPv4".into(), 1));
    assert_eq!(families(&dual(), &mut service("ClusterIP", prefer)), ("IPv4,IPv6".into(), 2));
    let headless = |s: &mut ServiceSpec| s.cluster_ip = Some("None".into());
    assert_eq!(families(&ranges(), &mut service("ClusterIP", headless)), ("IPv4,IPv6".into(), 1));
    let require = |s: &mut ServiceSpec| s.ip_family_policy = Some("RequireDualStack".into());
    let refused = ranges().on_create(&mut service("ClusterIP", require), false).err().unwrap();
    assert_eq!(
        refused.message(),
        "Service \"s\" is invalid: spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
    );
    let a = dual();
    let mut old = service("ClusterIP", prefer);
    a.on_create(&mut old, false).unwrap().commit();
    let mut single = old.clone();
    single.spec.as_mut().unwrap().ip_family_policy = Some("SingleStack".into());
    a.on_update(&mut single, &old, false).unwrap().commit();
    assert_eq!((ips(&single).len(), spec_of(&single).ip_families.unwrap().len()), (1, 1));
}

#[test]
fn a_dry_run_takes_nothing() {
    let a = ranges();
    let wanted = |s: &mut ServiceSpec| s.cluster_ip = Some("10.0.0.9".into());
    a.on_create(&mut service("NodePort", wanted), true).unwrap().commit();
    a.on_create(&mut service("NodePort", wanted), false).unwrap().commit();
    assert!(a.on_create(&mut service("NodePort", wanted), true).is_err());
}
