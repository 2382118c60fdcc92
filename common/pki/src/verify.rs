//! Reading and checking certificates.

use crate::Error;
use jiff::Timestamp;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::GeneralName;

/// What a certificate says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// DNS names and IP addresses, sorted.
    pub names: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub is_ca: bool,
    pub client: bool,
    pub server: bool,
    /// SubjectPublicKeyInfo DER.
    pub spki: Vec<u8>,
}

/// Reads the first certificate of a PEM text.
///
/// # Errors
/// Where there is none or it does not parse.
pub fn facts(cert: &str) -> Result<Facts, Error> {
    let bad = |why: &dyn std::fmt::Display| Error::malformed("certificate", why);
    let der = CertificateDer::from_pem_slice(cert.as_bytes()).map_err(|e| bad(&e))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|e| bad(&e))?;
    let text = |v: &x509_parser::x509::AttributeTypeAndValue<'_>| v.as_str().unwrap_or_default().to_owned();
    let mut names = Vec::new();
    if let Ok(Some(san)) = parsed.subject_alternative_name() {
        for name in &san.value.general_names {
            match name {
                GeneralName::DNSName(n) => names.push((*n).to_owned()),
                GeneralName::IPAddress(raw) => names.extend(address(raw)),
                _ => {}
            }
        }
    }
    names.sort();
    let usage = parsed.extended_key_usage().ok().flatten();
    let moment = |t: x509_parser::time::ASN1Time| Timestamp::from_second(t.timestamp()).map_err(|e| bad(&e));
    Ok(Facts {
        common_name: parsed.subject().iter_common_name().next().map(text).unwrap_or_default(),
        organizations: parsed.subject().iter_organization().map(text).collect(),
        names,
        not_before: moment(parsed.validity().not_before)?,
        not_after: moment(parsed.validity().not_after)?,
        is_ca: parsed.is_ca(),
        client: usage.as_ref().is_some_and(|u| u.value.client_auth),
        server: usage.as_ref().is_some_and(|u| u.value.server_auth),
        spki: parsed.public_key().raw.to_vec(),
    })
}

/// The common name (the last one counts, as in Go) and the organizations of a certificate's subject.
///
/// # Errors
/// Where it does not parse.
pub fn subject(cert: &CertificateDer<'_>) -> Result<(String, Vec<String>), Error> {
    let (_, parsed) =
        x509_parser::parse_x509_certificate(cert).map_err(|e| Error::malformed("certificate", &e))?;
    let text = |v: &x509_parser::x509::AttributeTypeAndValue<'_>| v.as_str().unwrap_or_default().to_owned();
    let name = parsed.subject().iter_common_name().last().map(text).unwrap_or_default();
    Ok((name, parsed.subject().iter_organization().map(text).collect()))
}

fn address(raw: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(raw) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(raw).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// Every certificate of a PEM text, in order.
///
/// # Errors
/// Where there is none or one is not base64.
pub fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| Error::malformed("certificates", e))?;
    if all.is_empty() {
        return Err(Error::malformed("certificates", "data does not contain any valid certificates"));
    }
    Ok(all)
}

/// Trust anchors from a PEM bundle.
///
/// # Errors
/// Where there is none or one does not parse.
pub fn roots(bundle: &str) -> Result<rustls::RootCertStore, Error> {
    let mut store = rustls::RootCertStore::empty();
    for cert in certificates(bundle)? {
        store.add(cert)?;
    }
    Ok(store)
}

fn unix(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default()))
}

/// Checks client chains against one bundle of authorities. Cheap to share, built once.
#[derive(Clone, Debug)]
pub struct ClientVerifier(Arc<dyn ClientCertVerifier>);

impl ClientVerifier {
    /// # Errors
    /// Where the bundle holds no usable authority.
    pub fn new(bundle: &str) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots(bundle)?), provider)
                .build()
                .map_err(|e| Error::Refused(e.to_string()))?;
        Ok(Self(verifier))
    }

    /// Checks a chain, leaf first.
    ///
    /// # Errors
    /// Where it does not lead to an authority, is out of date, or is not for clients.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), Error> {
        let (leaf, rest) =
            chain.split_first().ok_or_else(|| Error::Refused("no certificate presented".into()))?;
        self.0.verify_client_cert(leaf, rest, unix(now))?;
        Ok(())
    }
}

/// Checks that `cert` (PEM) is a client certificate `bundle` vouches for now.
///
/// # Errors
/// Where it is not.
pub fn client(cert: &str, bundle: &str, now: Timestamp) -> Result<(), Error> {
    ClientVerifier::new(bundle)?.verify(&certificates(cert)?, now)
}

/// Checks that `cert` (PEM) is a serving certificate `bundle` vouches for now, under `name`.
///
/// # Errors
/// Where it is not.
pub fn server(cert: &str, bundle: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots(bundle)?), provider)
            .build()
            .map_err(|e| Error::Refused(e.to_string()))?;
    let chain = certificates(cert)?;
    let name = ServerName::try_from(name).map_err(|e| Error::malformed(name, e))?;
    // `certificates` returned at least one.
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], unix(now))?;
    Ok(())
}
