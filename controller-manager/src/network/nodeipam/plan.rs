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

/// The sizes of nodes' ranges as flags give them: for any family, for IPv4, for IPv6; zero where not given.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Masks {
    pub any: u8,
    pub v4: u8,
    pub v6: u8,
}

/// The pools of the cluster's ranges.
///
/// # Errors
/// Where ranges or sizes do not go together, in upstream's words.
pub(super) fn pools(cluster: &[IpNet], masks: Masks) -> Result<Vec<Pool>, String> {
    let dual = cluster.len() > 1;
    let families = cluster.iter().map(|c| c.addr().is_ipv6()).collect::<std::collections::BTreeSet<_>>();
    if dual && families.len() < 2 {
        return Err(format!(
            "len of ClusterCIDRs=={} and they are not configured as dual stack (at least one from each IPFamily",
            cluster.len()
        ));
    }
    if cluster.len() > 2 {
        return Err(format!("length of clusterCIDRs is:{} more than max allowed of 2", cluster.len()));
    }
    let v6_alone = !dual && families.contains(&true);
    if dual && masks.any != 0 {
        return Err("usage of --node-cidr-mask-size is not allowed with dual-stack clusters".into());
    }
    if masks.any != 0 && (masks.v4 != 0 || masks.v6 != 0) {
        return Err("usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily specific flags".into());
    }
    if !dual && v6_alone && masks.v4 != 0 {
        return Err(
            "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster".into()
        );
    }
    if !dual && !v6_alone && masks.v6 != 0 {
        return Err(
            "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster".into()
        );
    }
    let of = |range: &IpNet| {
        let (own, default) = if range.addr().is_ipv6() { (masks.v6, 64) } else { (masks.v4, 24) };
        let mask = [own, masks.any].into_iter().find(|m| *m != 0).unwrap_or(default);
        if range.addr().is_ipv6() && mask.saturating_sub(range.prefix_len()) > 16 {
            return Err("New CIDR set failed; the node CIDR size is too big".to_owned());
        }
        Ok(Pool { range: range.trunc(), mask })
    };
    cluster.iter().map(of).collect()
}

fn bits(ip: std::net::IpAddr) -> u128 {
    match ip {
        std::net::IpAddr::V4(a) => u128::from(u32::from(a)),
        std::net::IpAddr::V6(a) => u128::from(a),
    }
}

/// The first part of a pool that overlaps nothing in use.
fn first_free(pool: &Pool, used: &[IpNet]) -> Option<IpNet> {
    let (v6, length) = (pool.range.addr().is_ipv6(), pool.range.prefix_len());
    let host = (if v6 { 128 } else { 32u8 }).checked_sub(pool.mask)?;
    let parts = 1u128.checked_shl(u32::from(pool.mask.checked_sub(length)?))?;
    let start = bits(pool.range.network());
    // Which parts each range in use takes, first and last.
    let mut taken: Vec<(u128, u128)> = used
        .iter()
        .filter(|u| u.addr().is_ipv6() == v6 && (pool.range.contains(*u) || u.contains(&pool.range)))
        .map(|u| {
            let part = |ip| bits(ip).saturating_sub(start).checked_shr(u32::from(host)).unwrap_or(0);
            (part(u.network()), part(u.broadcast()))
        })
        .collect();
    taken.sort_unstable();
    let mut next = 0;
    for (first, last) in taken {
        if first > next {
            break;
        }
        next = next.max(last + 1);
    }
    if next >= parts {
        return None;
    }
    let at = start + (next << host);
    let ip = if v6 {
        std::net::IpAddr::from(at.to_be_bytes())
    } else {
        // Within an IPv4 range.
        std::net::IpAddr::from((at as u32).to_be_bytes())
    };
    IpNet::new(ip, pool.mask).ok()
}

/// One range of each pool that overlaps nothing in use; `None` where a pool is used up or its parts would be
/// larger than itself.
pub(super) fn allocate(pools: &[Pool], used: &[IpNet]) -> Option<Vec<IpNet>> {
    pools.iter().map(|pool| first_free(pool, used)).collect()
}
