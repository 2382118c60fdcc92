use super::plan::{Masks, Pool, allocate, pools};

fn check(pools: &[(&str, u8)], used: &[&str], expected: Option<&[&str]>) {
    let pools: Vec<_> =
        pools.iter().map(|(r, mask)| Pool { range: r.parse().unwrap(), mask: *mask }).collect();
    let used: Vec<_> = used.iter().map(|u| u.parse().unwrap()).collect();
    let found = allocate(&pools, &used).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
    let expected = expected.map(|all| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    assert_eq!(found, expected);
}

#[test]
fn the_first_free_part_of_each_pool() {
    check(&[("10.244.0.0/16", 24)], &[], Some(&["10.244.0.0/24"]));
    check(&[("10.244.0.0/16", 24)], &["10.244.0.0/24", "10.244.2.0/24"], Some(&["10.244.1.0/24"]));
    check(&[("10.0.0.0/23", 24)], &["10.0.0.0/24", "10.0.1.0/24"], None);
    check(&[("10.0.0.0/16", 24)], &["10.0.0.0/20"], Some(&["10.0.16.0/24"]));
    check(&[("10.0.0.0/24", 16)], &[], None);
    check(
        &[("10.0.0.0/16", 24), ("fd00::/48", 64)],
        &["fd00::/64"],
        Some(&["10.0.0.0/24", "fd00:0:0:1::/64"]),
    );
}

#[test]
fn ranges_in_use_are_stepped_over_whatever_their_size() {
    check(&[("10.0.0.0/16", 24)], &["10.0.0.128/25", "10.0.0.0/23", "10.0.2.0/23"], Some(&["10.0.4.0/24"]));
    check(&[("10.0.0.0/16", 24)], &["10.0.0.0/8"], None);
    check(&[("10.0.0.0/16", 24)], &["10.1.0.0/24", "fd00::/8"], Some(&["10.0.0.0/24"]));
    let all: Vec<String> = (0..256).map(|n| format!("10.0.{n}.0/24")).collect();
    let used: Vec<&str> = all.iter().map(String::as_str).filter(|r| *r != "10.0.200.0/24").collect();
    check(&[("10.0.0.0/16", 24)], &used, Some(&["10.0.200.0/24"]));
}

#[test]
fn sizes_go_with_families() {
    let check = |cluster: &[&str], (any, v4, v6): (u8, u8, u8), want: Result<&[u8], &str>| {
        let cluster: Vec<_> = cluster.iter().map(|c| c.parse().unwrap()).collect();
        let found = pools(&cluster, Masks { any, v4, v6 });
        let found = found.map(|all| all.iter().map(|p| p.mask).collect::<Vec<_>>());
        match want {
            Ok(masks) => assert_eq!(found.as_deref(), Ok(masks)),
            Err(why) => assert!(found.is_err_and(|e| e.starts_with(why)), "{why}"),
        }
    };
    let (v4, v6) = ("10.0.0.0/16", "fd00::/48");
    check(&[v4], (0, 0, 0), Ok(&[24]));
    check(&[v4], (26, 0, 0), Ok(&[26]));
    check(&[v6, v4], (0, 25, 60), Ok(&[60, 25]));
    check(&[v4, v6], (24, 0, 0), Err("usage of --node-cidr-mask-size is not allowed with dual-stack"));
    check(&[v4], (24, 24, 0), Err("usage of --node-cidr-mask-size-ipv4 and"));
    check(
        &[v4],
        (0, 0, 64),
        Err("usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4"),
    );
    check(
        &[v6],
        (0, 24, 0),
        Err("usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6"),
    );
    check(&[v4, "10.1.0.0/16"], (0, 0, 0), Err("len of ClusterCIDRs==2 and they are not configured"));
    check(&["fd00::/40"], (0, 0, 64), Err("New CIDR set failed; the node CIDR size is too big"));
}
