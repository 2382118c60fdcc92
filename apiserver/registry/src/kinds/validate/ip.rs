//! IP addresses and CIDRs, in the several strictnesses the API has grown.

use crate::kinds::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const BAD_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Reads an address as old Go did: leading zeros in IPv4 octets are ignored. IPv4-mapped IPv6 becomes IPv4.
pub fn parse_sloppy(value: &str) -> Option<IpAddr> {
    if value.contains(':') {
        let six: Ipv6Addr = value.parse().ok()?;
        return Some(six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4));
    }
    let mut octets = [0u8; 4];
    let mut parts = value.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let trimmed = part.trim_start_matches('0');
        *octet = if trimmed.is_empty() { 0 } else { trimmed.parse().ok()? };
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(value: &str) -> bool {
    value.parse::<Ipv6Addr>().is_ok_and(|a| a.to_ipv4_mapped().is_some())
}

/// A field that predates canonical form: any valid address, unless the stored object already had the value.
pub fn legacy(value: &str, path: &Path, stored: &[&str]) -> ErrorList {
    if stored.contains(&value) { ErrorList::new() } else { valid(value, path) }
}

fn valid(value: &str, path: &Path) -> ErrorList {
    if parse_sloppy(value).is_none() {
        return vec![Error::invalid(path, value, BAD_IP)];
    }
    if value.parse::<IpAddr>().is_err() {
        return vec![Error::invalid(path, value, "must not have leading 0s")];
    }
    if is_mapped(value) {
        return vec![Error::invalid(path, value, "must not be an IPv4-mapped IPv6 address")];
    }
    ErrorList::new()
}

/// A field with today's rule: valid and canonical.
pub fn strict(value: &str, path: &Path) -> ErrorList {
    let errs = valid(value, path);
    match parse_sloppy(value) {
        Some(ip) if errs.is_empty() && ip.to_string() != value => {
            vec![Error::invalid(path, value, format!("must be in canonical form (\"{ip}\")"))]
        }
        _ => errs,
    }
}

/// The warning on a valid but unusual address.
pub fn warning(value: &str, path: &Path) -> Option<String> {
    let ip = parse_sloppy(value)?;
    match value.parse::<IpAddr>() {
        Err(_) => Some(format!("{path}: non-standard IP address \"{value}\" is invalid: use \"{ip}\"")),
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            Some(format!("{path}: non-standard IP address \"{value}\" is invalid: use \"{ip}\""))
        }
        Ok(IpAddr::V6(six)) if six.to_string() != value => Some(format!(
            "{path}: IPv6 address \"{value}\" should be in RFC 5952 canonical format (\"{six}\")"
        )),
        Ok(_) => None,
    }
}

/// Splits `<address>/<bits>`, sloppily.
pub fn parse_cidr_sloppy(value: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = value.split_once('/')?;
    let ip = parse_sloppy(address)?;
    if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    let max = if address.contains(':') { 128 } else { 32 };
    (bits <= max).then_some((ip, bits))
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
        }
    }
}

/// A CIDR field that predates canonical form.
pub fn legacy_cidr(value: &str, path: &Path, stored: &[&str]) -> ErrorList {
    if stored.contains(&value) {
        return ErrorList::new();
    }
    let Some((ip, bits)) = parse_cidr_sloppy(value) else {
        return vec![Error::invalid(path, value, BAD_CIDR)];
    };
    let (address, prefix) = value.split_once('/').unwrap_or((value, ""));
    let mut errs = ErrorList::new();
    if address.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0')) {
        errs.push(Error::invalid(path, value, "must not have leading 0s in IP or prefix length"));
    } else if is_mapped(address) {
        errs.push(Error::invalid(path, value, "must not have an IPv4-mapped IPv6 address"));
    } else {
        let network = masked(ip, bits);
        if network != ip {
            errs.push(Error::invalid(path, value, "must not have bits set beyond the prefix length"));
        }
    }
    errs
}

/// The warnings on a valid but unusual CIDR.
pub fn cidr_warnings(value: &str, path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let (Some((ip, bits)), Some((address, prefix))) = (parse_cidr_sloppy(value), value.split_once('/'))
    else {
        return out;
    };
    let leading = address.parse::<IpAddr>().is_err() || (prefix.len() > 1 && prefix.starts_with('0'));
    let network = masked(ip, bits);
    if network != ip {
        out.push(format!(
            "{path}: CIDR value \"{value}\" is ambiguous in this context (should be \"{network}/{bits}\" or \"{ip}/{}\"?)",
            if ip.is_ipv4() { 32 } else { 128 }
        ));
    }
    if leading || is_mapped(address) {
        out.push(format!("{path}: non-standard CIDR value \"{value}\" is invalid: use \"{network}/{bits}\""));
    }
    if out.is_empty() && ip.is_ipv6() && format!("{ip}/{bits}") != value {
        out.push(format!(
            "{path}: IPv6 CIDR value \"{value}\" should be in RFC 5952 canonical format (\"{ip}/{bits}\")"
        ));
    }
    out
}

/// Addresses no endpoint may have.
pub fn endpoint(value: &str, path: &Path) -> ErrorList {
    let Some(ip) = parse_sloppy(value) else {
        return vec![Error::invalid(path, value, "must be a valid IP address")];
    };
    let mut errs = ErrorList::new();
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(a) => (a.is_link_local(), a.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(a) => {
            let head = a.segments()[0];
            (head & 0xffc0 == 0xfe80, head & 0xff0f == 0xff02)
        }
    };
    if ip.is_unspecified() {
        errs.push(Error::invalid(path, value, format!("may not be unspecified ({value})")));
    }
    if ip.is_loopback() {
        errs.push(Error::invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if link_local {
        let why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        errs.push(Error::invalid(path, value, why));
    }
    if link_multicast {
        let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errs.push(Error::invalid(path, value, why));
    }
    errs
}

/// At most one address of each family, two in all.
pub fn is_dual_stack(ips: &[&str]) -> bool {
    let parsed: Vec<IpAddr> = ips.iter().filter_map(|s| parse_sloppy(s)).collect();
    parsed.len() == ips.len() && parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_judged() {
        assert_eq!(parse_sloppy("010.002.003.004").map(|i| i.to_string()).as_deref(), Some("10.2.3.4"));
        assert!(parse_sloppy("1.2.3").is_none() && parse_sloppy("1.2.3.256").is_none());
        let p = Path::new("ip");
        let check = |errs: ErrorList, want: &[&str]| {
            assert_eq!(errs.iter().map(ToString::to_string).collect::<Vec<_>>(), want);
        };
        check(legacy("10.0.0.1", &p, &[]), &[]);
        check(legacy("x", &p, &[]), &[&format!("ip: Invalid value: \"x\": {BAD_IP}")]);
        check(legacy("010.0.0.1", &p, &[]), &["ip: Invalid value: \"010.0.0.1\": must not have leading 0s"]);
        check(legacy("010.0.0.1", &p, &["010.0.0.1"]), &[]);
        check(
            strict("FE80::1", &p),
            &["ip: Invalid value: \"FE80::1\": must be in canonical form (\"fe80::1\")"],
        );
        check(legacy_cidr("10.0.0.0/8", &p, &[]), &[]);
        check(
            legacy_cidr("10.0.0.1/8", &p, &[]),
            &["ip: Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length"],
        );
        check(
            endpoint("127.0.0.1", &p),
            &["ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"],
        );
        assert_eq!(
            warning("1:0::2", &p).as_deref(),
            Some("ip: IPv6 address \"1:0::2\" should be in RFC 5952 canonical format (\"1::2\")")
        );
        assert!(is_dual_stack(&["1.1.1.1", "::1"]) && !is_dual_stack(&["1.1.1.1", "1.1.1.2"]));
    }
}
