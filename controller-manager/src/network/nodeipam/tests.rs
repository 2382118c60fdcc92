use super::plan::{Pool, allocate};

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
