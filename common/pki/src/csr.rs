//! Certificate requests of others: what they ask for, and signing them on given terms.
//!
//! What a request says of names and groups is taken over whole, several organizations included; key usages,
//! lifetime and every other extension are the signer's.

use crate::keys::{PrivateKey, to_pem};
use crate::{Ca, Error};
use jiff::Timestamp;
use rcgen::SigningKey;
use std::net::IpAddr;
use std::time::Duration;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// What a certificate request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
}

/// What a certificate is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Key usages as RFC 5280 numbers their bits, the first being the lowest here.
    pub key_usage: u16,
    /// Extended key usages, as object identifiers.
    pub extended: Vec<&'static [u64]>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

fn block(pem: &[u8]) -> Result<pem::Pem, Error> {
    let wrong = || Error::malformed("certificate request", "PEM block type must be CERTIFICATE REQUEST");
    pem::parse(pem).ok().filter(|b| b.tag() == "CERTIFICATE REQUEST").ok_or_else(wrong)
}

fn parse(der: &[u8]) -> Result<X509CertificationRequest<'_>, Error> {
    let parsed = X509CertificationRequest::from_der(der);
    parsed.map(|(_, request)| request).map_err(|e| Error::malformed("certificate request", e))
}

fn names(parsed: &X509CertificationRequest<'_>) -> Request {
    let subject = &parsed.certification_request_info.subject;
    let mut out = Request {
        common_name: subject.iter_common_name().last().and_then(|n| n.as_str().ok()).unwrap_or("").to_owned(),
        organizations: subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned)
            .collect(),
        ..Request::default()
    };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(all) = extension else { continue };
        for name in &all.general_names {
            match name {
                GeneralName::DNSName(n) => out.dns_names.push((*n).to_owned()),
                GeneralName::RFC822Name(n) => out.emails.push((*n).to_owned()),
                GeneralName::URI(n) => out.uris.push((*n).to_owned()),
                GeneralName::IPAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                    let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                    out.addresses.extend(v4.or(v6).ok());
                }
                _ => {}
            }
        }
    }
    out
}

impl Request {
    /// Reads a PEM request.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(pem: &[u8]) -> Result<Self, Error> {
        Ok(names(&parse(block(pem)?.contents())?))
    }

    /// The alternative names as one DER extension value, in the order Go writes them.
    fn alternative_names(&self) -> Vec<u8> {
        let mut all = Vec::new();
        all.extend(self.dns_names.iter().flat_map(|n| tlv(0x82, n.as_bytes())));
        all.extend(self.emails.iter().flat_map(|n| tlv(0x81, n.as_bytes())));
        all.extend(self.addresses.iter().flat_map(|ip| match ip {
            IpAddr::V4(a) => tlv(0x87, &a.octets()),
            IpAddr::V6(a) => tlv(0x87, &a.octets()),
        }));
        all.extend(self.uris.iter().flat_map(|n| tlv(0x86, n.as_bytes())));
        all
    }
}

/// One DER value.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        // Just checked to fit.
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    let first = arcs.first().copied().unwrap_or(0) * 40 + arcs.get(1).copied().unwrap_or(0);
    for arc in std::iter::once(first).chain(arcs.iter().skip(2).copied()) {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.extend(groups.into_iter().rev());
    }
    tlv(0x06, &out)
}

fn time(at: Timestamp) -> Vec<u8> {
    let year: i32 = at.strftime("%Y").to_string().parse().unwrap_or(0);
    if (1950..2050).contains(&year) {
        tlv(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tlv(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// A bit string of which the low bits of `bits` are the first, as DER wants it: no trailing zero bits.
fn bits(bits: u16) -> Vec<u8> {
    let highest = 16 - bits.leading_zeros() as usize;
    let mut bytes = vec![0u8; highest.div_ceil(8)];
    for bit in 0..highest {
        if bits & (1 << bit) != 0 {
            bytes[bit / 8] |= 0x80 >> (bit % 8);
        }
    }
    let mut content = vec![(bytes.len() * 8 - highest) as u8];
    content.extend(bytes);
    tlv(0x03, &content)
}

fn extension(id: &[u64], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(id), flag, &tlv(0x04, value)])
}

/// How a key signs, as DER.
fn algorithm(key: &rcgen::KeyPair) -> Result<Vec<u8>, Error> {
    let of = |arcs: &[u64], null: bool| {
        let parameters: &[u8] = if null { &[0x05, 0x00] } else { &[] };
        sequence(&[&oid(arcs), parameters])
    };
    let algorithm = key.algorithm();
    if *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 {
        Ok(of(&[1, 2, 840, 10045, 4, 3, 2], false))
    } else if *algorithm == rcgen::PKCS_ECDSA_P384_SHA384 {
        Ok(of(&[1, 2, 840, 10045, 4, 3, 3], false))
    } else if *algorithm == rcgen::PKCS_RSA_SHA256 {
        Ok(of(&[1, 2, 840, 113_549, 1, 1, 11], true))
    } else if *algorithm == rcgen::PKCS_ED25519 {
        Ok(of(&[1, 3, 101, 112], false))
    } else {
        Err(Error::Refused("the authority's key is of a kind that cannot sign here".into()))
    }
}

/// The certificate's identity as its leaves name it: subject, and key identifier where it has one.
fn issuer(cert: &str) -> Result<(Vec<u8>, Option<Vec<u8>>), Error> {
    let der = crate::verify::certificates(cert)?;
    let first = der.first().ok_or_else(|| Error::malformed("certificate", "no certificate"))?;
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(first)
        .map_err(|e| Error::malformed("certificate", e))?;
    let key = parsed.iter_extensions().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    Ok((parsed.subject().as_raw().to_vec(), key))
}

/// The terms' times, within the authority's.
///
/// # Errors
/// Where the authority has ended, in upstream's words.
pub fn validity(
    authority_ends: Timestamp,
    now: Timestamp,
    lifetime: Duration,
) -> Result<(Timestamp, Timestamp), Error> {
    const BACKDATE: i64 = 5 * 60;
    const SHORT: i64 = 8 * 60 * 60;
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX / 2);
    // Short-lived ones are not backdated at their end.
    let lasts = if seconds < SHORT { seconds } else { seconds - BACKDATE };
    let at = |s: i64| Timestamp::from_second(s).unwrap_or(Timestamp::MAX);
    let ends = at(now.as_second().saturating_add(lasts)).min(authority_ends);
    if now >= authority_ends {
        let why =
            format!("refusing to sign a certificate that expired in the past: NotAfter={authority_ends}");
        return Err(Error::Refused(why));
    }
    Ok((at(now.as_second() - BACKDATE), ends))
}

impl Ca {
    /// When the authority itself ends.
    ///
    /// # Errors
    /// Where its certificate cannot be read, which loading it has done.
    pub fn ends(&self) -> Result<Timestamp, Error> {
        Ok(crate::verify::facts(self.cert())?.not_after)
    }

    /// Signs a PEM request on these terms: the certificate, PEM. The caller has decided that the subject may
    /// have it.
    ///
    /// # Errors
    /// Where the request does not parse or is not signed by its own key, or the authority cannot sign.
    pub fn sign_on(&self, request: &[u8], terms: &Terms) -> Result<String, Error> {
        let block = block(request)?;
        let parsed = parse(block.contents())?;
        parsed
            .verify_signature()
            .map_err(|e| Error::malformed("unable to verify certificate request signature", e))?;
        let info = &parsed.certification_request_info;
        let key = PrivateKey::from_pem(&self.key())?.pair()?;
        let (algorithm, (issuer, key_id)) = (algorithm(&key)?, issuer(self.cert())?);
        let mut serial: [u8; 16] = rand::random();
        // Positive, and without a leading zero byte.
        serial[0] = (serial[0] & 0x7f) | 0x40;
        let mut extensions = Vec::new();
        if terms.key_usage != 0 {
            extensions.extend(extension(&[2, 5, 29, 15], true, &bits(terms.key_usage)));
        }
        if !terms.extended.is_empty() {
            let all: Vec<u8> = terms.extended.iter().flat_map(|id| oid(id)).collect();
            extensions.extend(extension(&[2, 5, 29, 37], false, &tlv(0x30, &all)));
        }
        extensions.extend(extension(&[2, 5, 29, 19], true, &sequence(&[])));
        if let Some(id) = key_id {
            extensions.extend(extension(&[2, 5, 29, 35], false, &sequence(&[&tlv(0x80, &id)])));
        }
        let alternative = names(&parsed).alternative_names();
        if !alternative.is_empty() {
            let nameless = info.subject.iter().next().is_none();
            extensions.extend(extension(&[2, 5, 29, 17], nameless, &tlv(0x30, &alternative)));
        }
        let body = sequence(&[
            &tlv(0xa0, &tlv(0x02, &[2])),
            &tlv(0x02, &serial),
            &algorithm,
            &issuer,
            &sequence(&[&time(terms.not_before), &time(terms.not_after)]),
            info.subject.as_raw(),
            info.subject_pki.raw,
            &tlv(0xa3, &tlv(0x30, &extensions)),
        ]);
        let mut signature = vec![0];
        signature.extend(key.sign(&body)?);
        let whole = sequence(&[&body, &algorithm, &tlv(0x03, &signature)]);
        Ok(to_pem("CERTIFICATE", whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DAY, Profile, Usage, ca};

    #[test]
    fn der_is_as_it_should_be() {
        assert_eq!(oid(&[1, 2, 840, 113_549, 1, 1, 11]), [6, 9, 42, 134, 72, 134, 247, 13, 1, 1, 11]);
        assert_eq!(bits(0b101), [3, 2, 5, 0xa0]);
        assert_eq!(bits(1), [3, 2, 7, 0x80]);
        assert_eq!(bits(1 << 8), [3, 3, 7, 0, 0x80]);
        assert_eq!(tlv(4, &[0; 200])[..3], [4, 0x81, 200]);
    }

    #[test]
    fn signed_requests_verify_and_say_what_was_granted() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Ca::create("kubernetes", now, DAY * 10).unwrap();
        let key = PrivateKey::generate().unwrap();
        let profile = Profile {
            common_name: "system:node:n1".into(),
            organization: Some("system:nodes".into()),
            names: vec!["n1".into(), "10.0.0.1".into(), "fd00::1".into()],
            usage: Usage::Server,
            lifetime: DAY,
        };
        let request = ca::request(&key, &profile).unwrap();
        let parsed = Request::parse(request.as_bytes()).unwrap();
        assert_eq!((parsed.common_name.as_str(), parsed.organizations.len()), ("system:node:n1", 1));
        assert_eq!((parsed.dns_names.len(), parsed.addresses.len()), (1, 2));
        let (not_before, not_after) = validity(authority.ends().unwrap(), now, DAY).unwrap();
        let server: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
        let terms = Terms { key_usage: 0b101, extended: vec![server], not_before, not_after };
        let cert = authority.sign_on(request.as_bytes(), &terms).unwrap();
        crate::verify::server(&cert, authority.cert(), "n1", now).unwrap();
        crate::verify::server(&cert, authority.cert(), "fd00::1", now).unwrap();
        assert!(crate::verify::client(&cert, authority.cert(), now).is_err());
        let facts = crate::verify::facts(&cert).unwrap();
        assert_eq!((facts.common_name.as_str(), facts.is_ca), ("system:node:n1", false));
        assert_eq!(facts.not_after, not_after);
        let mut broken = request.clone().into_bytes();
        let at = broken.len() - 60;
        broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
        assert!(authority.sign_on(&broken, &terms).is_err());
    }

    #[test]
    fn lifetimes_end_with_the_authority() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let check = |ends: &str, seconds: u64, want: Option<&str>| {
            let found = validity(at(ends), now, Duration::from_secs(seconds)).ok().map(|(_, end)| end);
            assert_eq!(found, want.map(at), "{ends} {seconds}");
        };
        check("2027-01-01T00:00:00Z", 3600, Some("2026-01-01T01:00:00Z"));
        check("2027-01-01T00:00:00Z", 86_400, Some("2026-01-01T23:55:00Z"));
        check("2026-01-01T00:30:00Z", 3600, Some("2026-01-01T00:30:00Z"));
        check("2026-01-01T00:00:00Z", 3600, None);
    }
}
