//! The addresses of one service CIDR.

use rand::{Rng, RngExt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpRangeError {
    #[error("provided IP is already allocated")]
    Allocated,
    #[error("the provided network does not match the current range")]
    OutOfRange,
}

/// The addresses of a CIDR but its own (and the IPv4 broadcast address). The first sixteenth, 16 to 256
/// addresses, is left for those who ask for one by name until the rest is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    network: IpAddr,
    /// How many addresses may be given out: offsets `1..=size` from the network address.
    size: u64,
    /// How many of them come last.
    reserved: u64,
}

impl IpRange {
    /// `bits` is the prefix length. Of an IPv6 range longer than 64 bits the first 2^63 addresses serve.
    pub fn new(ip: IpAddr, bits: u8) -> Self {
        let width: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.min(width);
        let host = u32::from(width - bits);
        let all = 1u64.checked_shl(host.min(63)).unwrap_or(u64::MAX);
        let size = all.saturating_sub(if ip.is_ipv4() { 2 } else { 1 });
        let reserved = if all <= 16 { 0 } else { (all / 16).clamp(16, 256) };
        let network = match ip {
            IpAddr::V4(a) => {
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & u32::MAX.checked_shl(host).unwrap_or(0)))
            }
            IpAddr::V6(a) => {
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & u128::MAX.checked_shl(host).unwrap_or(0)))
            }
        };
        Self { network, size, reserved }
    }

    /// `IPv4` or `IPv6`, as in `ipFamilies`.
    pub fn family(&self) -> &'static str {
        if self.network.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The address the `kubernetes` service has.
    pub fn first(&self) -> IpAddr {
        self.at(1)
    }

    fn at(&self, offset: u64) -> IpAddr {
        match self.network {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a).wrapping_add(offset as u32))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a).wrapping_add(u128::from(offset)))),
        }
    }

    /// Whether an address is one of those that may be given out.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let distance = match (self.network, ip) {
            (IpAddr::V4(n), IpAddr::V4(a)) => u32::from(a).checked_sub(u32::from(n)).map(u128::from),
            (IpAddr::V6(n), IpAddr::V6(a)) => u128::from(a).checked_sub(u128::from(n)),
            _ => None,
        };
        distance.is_some_and(|d| (1..=u128::from(self.size)).contains(&d))
    }

    /// A free address at random, of the reserved part only when the rest is full. `None`: all are taken.
    pub fn free(&self, taken: &dyn Fn(IpAddr) -> bool, rng: &mut impl Rng) -> Option<IpAddr> {
        let upper = (self.reserved + 1, self.size);
        let lower = (1, self.reserved.min(self.size));
        self.free_within(upper, taken, rng).or_else(|| self.free_within(lower, taken, rng))
    }

    /// The first free one at or after a random one, wrapping around.
    fn free_within(
        &self,
        (low, high): (u64, u64),
        taken: &dyn Fn(IpAddr) -> bool,
        rng: &mut impl Rng,
    ) -> Option<IpAddr> {
        if low > high {
            return None;
        }
        let start = rng.random_range(low..=high);
        (start..=high).chain(low..start).map(|offset| self.at(offset)).find(|ip| !taken(*ip))
    }
}
