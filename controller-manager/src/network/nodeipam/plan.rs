//! The next free range.

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;

/// A cluster range and the length of the parts it is given out in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub range: IpNet,
    pub mask: u8,
}

/// The ranges a node has.
pub(super) fn ranges(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let first = spec.and_then(|s| s.pod_cidr.iter().next());
    let all = spec.and_then(|s| s.pod_cidrs.as_ref()).into_iter().flatten();
    first.into_iter().chain(all).filter_map(|c| c.parse().ok()).collect()
}

fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// One range of each pool that overlaps nothing in use; `None` where a pool is used up or its parts would be
/// larger than itself.
pub(super) fn allocate(pools: &[Pool], used: &[IpNet]) -> Option<Vec<IpNet>> {
    let one = |pool: &Pool| {
        let near: Vec<&IpNet> = used.iter().filter(|u| overlaps(u, &pool.range)).collect();
        pool.range.subnets(pool.mask).ok()?.find(|part| !near.iter().any(|u| overlaps(u, part)))
    };
    pools.iter().map(one).collect()
}
