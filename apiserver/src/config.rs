//! What the flags mean, checked, with every file read.

use crate::flags::{Backend, Flags};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the flags cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--{flag} is required")]
    Missing { flag: &'static str },
    #[error("--{flag}: {why}")]
    Wrong { flag: &'static str, why: String },
    #[error("--{flag}: cannot read {path:?}: {source}")]
    Read { flag: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Admission(#[from] gantry_admission::UnknownPlugin),
    #[error("failed to read plugin config: {0}")]
    AdmissionFile(#[from] gantry_admission::ConfigurationError),
}

/// A certificate with its key, PEM.
#[derive(Clone, Debug)]
pub struct KeyPair {
    pub certificate: String,
    pub key: String,
}

#[derive(Clone, Debug)]
pub enum Storage {
    Embedded { file: PathBuf },
    Etcd { servers: Vec<String>, ca: Option<String>, client: Option<KeyPair> },
}

#[derive(Clone, Debug)]
pub struct ServiceAccounts {
    /// Public (or private) keys that tokens may be signed with, PEM.
    pub keys: Vec<String>,
    pub signing_key: String,
    /// The first signs; tokens of all hold.
    pub issuers: Vec<String>,
    pub jwks_uri: Option<String>,
    pub audiences: Vec<String>,
    pub max_expiration: Duration,
    pub extend: bool,
}

#[derive(Clone, Debug)]
pub struct RequestHeader {
    pub ca: String,
    pub allowed_names: Vec<String>,
    pub user_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Kubelet {
    pub client: Option<KeyPair>,
    pub ca: Option<String>,
    pub address_types: Vec<String>,
}

/// Everything the server needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    pub storage: Storage,
    pub compaction_interval: Duration,
    pub listen: SocketAddr,
    pub advertise: IpAddr,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<String>,
    pub request_header: Option<RequestHeader>,
    pub anonymous: bool,
    /// Whether bootstrap tokens authenticate.
    pub bootstrap_tokens: bool,
    pub service_accounts: ServiceAccounts,
    pub node_authorizer: bool,
    pub rbac: bool,
    pub enable_admission: Vec<String>,
    pub disable_admission: Vec<String>,
    pub admission: gantry_admission::Configuration,
    pub allow_privileged: bool,
    pub not_ready_toleration_seconds: i64,
    pub unreachable_toleration_seconds: i64,
    pub service_ranges: Vec<ipnet::IpNet>,
    pub node_ports: std::ops::RangeInclusive<u16>,
    pub event_ttl: Duration,
    pub kubelet: Kubelet,
    /// What aggregated servers know this one by.
    pub proxy_client: Option<KeyPair>,
    pub max_reads: usize,
    pub max_writes: usize,
    pub request_timeout: Duration,
    pub min_watch_timeout: Duration,
    pub shutdown_delay: Duration,
}

fn read(flag: &'static str, path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { flag, path: path.to_owned(), source })
}

fn read_optional(flag: &'static str, path: Option<&PathBuf>) -> Result<Option<String>, Error> {
    path.map(|p| read(flag, p)).transpose()
}

/// Reads Go's form of a duration: `1h30m`, `250ms`, `0`.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

fn duration(flag: &'static str, text: &str) -> Result<Duration, Error> {
    go_duration(text).ok_or_else(|| Error::Wrong { flag, why: format!("invalid duration {text:?}") })
}

fn pair(
    flag: &'static str,
    certificate: Option<&PathBuf>,
    key: Option<&PathBuf>,
) -> Result<Option<KeyPair>, Error> {
    match (certificate, key) {
        (Some(c), Some(k)) => Ok(Some(KeyPair { certificate: read(flag, c)?, key: read(flag, k)? })),
        (None, None) => Ok(None),
        _ => Err(Error::Wrong { flag, why: "a certificate and its key must be given together".into() }),
    }
}

/// The address the default route leaves from; no packet is sent.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|a| a.ip())
}

fn ports(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    if let Some((low, high)) = text.split_once('-') {
        return Some(low.parse().ok()?..=high.parse().ok()?);
    }
    if let Some((base, size)) = text.split_once('+') {
        let base: u16 = base.parse().ok()?;
        return Some(base..=base.checked_add(size.parse().ok()?)?);
    }
    let one = text.parse().ok()?;
    Some(one..=one)
}

fn or_default(values: &[String], default: &str) -> Vec<String> {
    if values.is_empty() { vec![default.to_owned()] } else { values.to_vec() }
}

fn storage(flags: &Flags) -> Result<Storage, Error> {
    let default = if flags.etcd_servers.is_empty() { Backend::Embedded } else { Backend::Etcd3 };
    if flags.etcd_prefix.trim_matches('/') != "registry" {
        return Err(Error::Wrong { flag: "etcd-prefix", why: "only /registry is supported".into() });
    }
    match flags.storage_backend.unwrap_or(default) {
        Backend::Embedded if !flags.etcd_servers.is_empty() => Err(Error::Wrong {
            flag: "storage-backend",
            why: "embedded and --etcd-servers exclude each other".into(),
        }),
        Backend::Embedded => Ok(Storage::Embedded { file: flags.data_dir.join("gantry.db") }),
        Backend::Etcd3 if flags.etcd_servers.is_empty() => Err(Error::Missing { flag: "etcd-servers" }),
        Backend::Etcd3 => Ok(Storage::Etcd {
            servers: flags.etcd_servers.clone(),
            ca: read_optional("etcd-cafile", flags.etcd_cafile.as_ref())?,
            client: pair("etcd-certfile", flags.etcd_certfile.as_ref(), flags.etcd_keyfile.as_ref())?,
        }),
    }
}

fn service_accounts(flags: &Flags) -> Result<ServiceAccounts, Error> {
    let signing = flags
        .service_account_signing_key_file
        .as_ref()
        .ok_or(Error::Missing { flag: "service-account-signing-key-file" })?;
    let signing_key = read("service-account-signing-key-file", signing)?;
    if flags.service_account_issuer.is_empty() {
        return Err(Error::Missing { flag: "service-account-issuer" });
    }
    let mut keys = Vec::new();
    for path in &flags.service_account_key_file {
        keys.push(read("service-account-key-file", path)?);
    }
    if keys.is_empty() {
        keys.push(signing_key.clone());
    }
    Ok(ServiceAccounts {
        keys,
        signing_key,
        issuers: flags.service_account_issuer.clone(),
        jwks_uri: flags.service_account_jwks_uri.clone(),
        audiences: if flags.api_audiences.is_empty() {
            flags.service_account_issuer.clone()
        } else {
            flags.api_audiences.clone()
        },
        max_expiration: duration(
            "service-account-max-token-expiration",
            &flags.service_account_max_token_expiration,
        )?,
        extend: flags.service_account_extend_token_expiration,
    })
}

fn request_header(flags: &Flags) -> Result<Option<RequestHeader>, Error> {
    let Some(path) = &flags.requestheader_client_ca_file else { return Ok(None) };
    Ok(Some(RequestHeader {
        ca: read("requestheader-client-ca-file", path)?,
        allowed_names: flags.requestheader_allowed_names.clone(),
        user_headers: or_default(&flags.requestheader_username_headers, "x-remote-user"),
        uid_headers: or_default(&flags.requestheader_uid_headers, "x-remote-uid"),
        group_headers: or_default(&flags.requestheader_group_headers, "x-remote-group"),
        extra_prefixes: or_default(&flags.requestheader_extra_headers_prefix, "x-remote-extra-"),
    }))
}

/// The plugins to enable, all plugins named in flags being known.
fn admission(flags: &Flags) -> Result<Vec<String>, Error> {
    gantry_admission::check_names(&flags.enable_admission_plugins, &flags.disable_admission_plugins)?;
    Ok(flags.enable_admission_plugins.clone())
}

impl Config {
    /// # Errors
    /// Where a required flag is absent, a value makes no sense, or a file cannot be read.
    pub fn resolve(flags: &Flags) -> Result<Self, Error> {
        let mode = |name: &str| flags.authorization_mode.iter().any(|m| m == name);
        for other in &flags.authorization_mode {
            if !["Node", "RBAC"].contains(&other.as_str()) {
                let why = format!("{other:?} is not supported: Node, RBAC");
                return Err(Error::Wrong { flag: "authorization-mode", why });
            }
        }
        let wrong = |flag, why: &str| Error::Wrong { flag, why: why.to_owned() };
        let kubelet = Kubelet {
            client: pair(
                "kubelet-client-certificate",
                flags.kubelet_client_certificate.as_ref(),
                flags.kubelet_client_key.as_ref(),
            )?,
            ca: read_optional("kubelet-certificate-authority", flags.kubelet_certificate_authority.as_ref())?,
            address_types: flags.kubelet_preferred_address_types.clone(),
        };
        let unspecified = flags.bind_address.is_unspecified();
        Ok(Self {
            storage: storage(flags)?,
            compaction_interval: duration("etcd-compaction-interval", &flags.etcd_compaction_interval)?,
            listen: SocketAddr::new(flags.bind_address, flags.secure_port),
            advertise: flags
                .advertise_address
                .or((!unspecified).then_some(flags.bind_address))
                .or_else(outward_address)
                .ok_or_else(|| wrong("advertise-address", "no route to find it from"))?,
            certificate: flags.tls_cert_file.clone().ok_or(Error::Missing { flag: "tls-cert-file" })?,
            key: flags.tls_private_key_file.clone().ok_or(Error::Missing { flag: "tls-private-key-file" })?,
            client_ca: read_optional("client-ca-file", flags.client_ca_file.as_ref())?,
            request_header: request_header(flags)?,
            anonymous: flags.anonymous_auth,
            bootstrap_tokens: flags.enable_bootstrap_token_auth,
            service_accounts: service_accounts(flags)?,
            node_authorizer: mode("Node"),
            rbac: mode("RBAC"),
            enable_admission: admission(flags)?,
            disable_admission: flags.disable_admission_plugins.clone(),
            admission: match &flags.admission_control_config_file {
                Some(path) => gantry_admission::Configuration::load(path)?,
                None => gantry_admission::Configuration::default(),
            },
            allow_privileged: flags.allow_privileged,
            not_ready_toleration_seconds: flags.default_not_ready_toleration_seconds,
            unreachable_toleration_seconds: flags.default_unreachable_toleration_seconds,
            service_ranges: flags.service_cluster_ip_range.clone(),
            node_ports: ports(&flags.service_node_port_range)
                .ok_or_else(|| wrong("service-node-port-range", "not a range of ports"))?,
            event_ttl: duration("event-ttl", &flags.event_ttl)?,
            kubelet,
            proxy_client: pair(
                "proxy-client-cert-file",
                flags.proxy_client_cert_file.as_ref(),
                flags.proxy_client_key_file.as_ref(),
            )?,
            max_reads: flags.max_requests_inflight,
            max_writes: flags.max_mutating_requests_inflight,
            request_timeout: duration("request-timeout", &flags.request_timeout)?,
            min_watch_timeout: Duration::from_secs(flags.min_request_timeout),
            shutdown_delay: duration("shutdown-delay-duration", &flags.shutdown_delay_duration)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ports_are_read_as_go_does() {
        let check = |text: &str, want: Option<f64>| {
            assert_eq!(go_duration(text).map(|d| d.as_secs_f64()), want, "{text}");
        };
        check("1h0m0s", Some(3600.0));
        check("250ms", Some(0.25));
        check("0", Some(0.0));
        check("1", None);
        check("", None);
        assert_eq!(ports("30000-32767"), Some(30000..=32767));
        assert_eq!(ports("30000+9"), Some(30000..=30009));
        assert_eq!(ports("x"), None);
    }
}
