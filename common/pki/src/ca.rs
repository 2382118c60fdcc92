//! Certificate authorities and what they sign.

use crate::Error;
use crate::keys::{PrivateKey, to_pem};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use std::net::IpAddr;
use std::time::Duration;

/// Certificates are valid from a little before they were made, for clocks that lag.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
    Both,
}

impl Usage {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        }
    }
}

/// What a leaf certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The user name, where the certificate identifies a client.
    pub common_name: String,
    /// The group, where the certificate identifies a client.
    pub organization: Option<String>,
    /// DNS names and IP addresses, mixed.
    pub names: Vec<String>,
    pub usage: Usage,
    pub lifetime: Duration,
}

impl Profile {
    /// A client certificate of the default lifetime.
    pub fn client(user: impl Into<String>, group: Option<&str>) -> Self {
        Self {
            common_name: user.into(),
            organization: group.map(str::to_owned),
            names: Vec::new(),
            usage: Usage::Client,
            lifetime: crate::LEAF_LIFETIME,
        }
    }

    /// A serving certificate of the default lifetime.
    pub fn server(common_name: impl Into<String>, names: Vec<String>) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
            names,
            usage: Usage::Server,
            lifetime: crate::LEAF_LIFETIME,
        }
    }
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// An authority that can sign.
pub struct Ca {
    cert: String,
    key: PrivateKey,
    issuer: Issuer<'static, KeyPair>,
    not_after: Timestamp,
}

fn epoch(now: Timestamp) -> Duration {
    // Before 1970 there is nothing to sign.
    Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default())
}

fn base(now: Timestamp, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let zero = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = zero + epoch(now).saturating_sub(BACKDATE);
    params.not_after = zero + (epoch(now) + lifetime);
    let mut serial: [u8; 16] = rand::random();
    // Positive, and without a leading zero byte.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn names_of(names: &[String]) -> Result<Vec<SanType>, Error> {
    let mut out: Vec<SanType> = Vec::new();
    for name in names {
        let san = match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(
                name.as_str().try_into().map_err(|_| Error::malformed(name.clone(), "not a DNS name"))?,
            ),
        };
        if !out.contains(&san) {
            out.push(san);
        }
    }
    Ok(out)
}

impl Ca {
    /// A new self-signed authority with a P-256 key.
    ///
    /// # Errors
    /// Where the system has no randomness or `common_name` does not encode.
    pub fn create(common_name: &str, now: Timestamp, lifetime: Duration) -> Result<Self, Error> {
        let key = PrivateKey::generate()?;
        let mut params = base(now, lifetime);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.subject_alt_names = names_of(&[common_name.to_owned()])?;
        let cert = params.self_signed(&key.pair()?)?;
        Self::load(&to_pem("CERTIFICATE", cert.der().to_vec()), &key.to_pem())
    }

    /// An authority from its PEM files, whoever made them: RSA or ECDSA.
    ///
    /// # Errors
    /// Where either does not parse, or the key is not the certificate's.
    pub fn load(cert: &str, key: &str) -> Result<Self, Error> {
        let key = PrivateKey::from_pem(key)?;
        let facts = crate::verify::facts(cert)?;
        if key.public()?.spki() != facts.spki {
            return Err(Error::Refused("the authority's key does not belong to its certificate".into()));
        }
        if !facts.is_ca {
            return Err(Error::Refused(format!("certificate {:?} is not an authority", facts.common_name)));
        }
        let issuer = Issuer::from_ca_cert_pem(cert, key.pair()?)?;
        Ok(Self { cert: cert.to_owned(), key, issuer, not_after: facts.not_after })
    }

    /// The authority's certificate, PEM.
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// The authority's key, PKCS#8 PEM.
    pub fn key(&self) -> String {
        self.key.to_pem()
    }

    fn lifetime(&self, now: Timestamp, wanted: Duration) -> Duration {
        // A leaf never outlives its authority.
        let left = self.not_after.as_second().saturating_sub(now.as_second());
        wanted.min(Duration::from_secs(u64::try_from(left).unwrap_or_default()))
    }

    /// Signs a fresh P-256 key.
    ///
    /// # Errors
    /// Where a name is neither an address nor a DNS name.
    pub fn issue(&self, profile: &Profile, now: Timestamp) -> Result<Issued, Error> {
        let key = PrivateKey::generate()?;
        let mut params = base(now, self.lifetime(now, profile.lifetime));
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = &profile.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name.push(DnType::CommonName, profile.common_name.as_str());
        params.subject_alt_names = names_of(&profile.names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = profile.usage.purposes();
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key.pair()?, &self.issuer)?;
        Ok(Issued { cert: to_pem("CERTIFICATE", cert.der().to_vec()), key: key.to_pem() })
    }

    /// Signs a PEM certificate request: subject and names are the request's, usage and lifetime ours. The
    /// caller has decided that the subject may have it. Returns the certificate, PEM.
    ///
    /// # Errors
    /// Where the request does not parse, is not signed by its own key, asks to be an authority, or has
    /// several organizations (which this signer cannot carry).
    pub fn sign_request(
        &self,
        request: &str,
        usage: Usage,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, Error> {
        let block = pem::parse(request).map_err(|e| Error::malformed("certificate request", e))?;
        {
            use x509_parser::prelude::FromDer;
            let (_, parsed) =
                x509_parser::certification_request::X509CertificationRequest::from_der(block.contents())
                    .map_err(|e| Error::malformed("certificate request", e))?;
            if parsed.certification_request_info.subject.iter_organization().count() > 1 {
                return Err(Error::Refused("a certificate request with several organizations".into()));
            }
        }
        let mut csr = CertificateSigningRequestParams::from_pem(request)?;
        if !matches!(csr.params.is_ca, IsCa::NoCa | IsCa::ExplicitNoCa) {
            return Err(Error::Refused("a certificate request that asks to be an authority".into()));
        }
        let signed = base(now, self.lifetime(now, lifetime));
        csr.params.not_before = signed.not_before;
        csr.params.not_after = signed.not_after;
        csr.params.serial_number = signed.serial_number;
        csr.params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        csr.params.extended_key_usages = usage.purposes();
        csr.params.use_authority_key_identifier_extension = true;
        Ok(to_pem("CERTIFICATE", csr.signed_by(&self.issuer)?.der().to_vec()))
    }
}

/// A certificate request for a key, PEM, as a kubelet sends it.
///
/// # Errors
/// Where a name is neither an address nor a DNS name, or the key is broken.
pub fn request(key: &PrivateKey, profile: &Profile) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = &profile.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
    }
    params.distinguished_name.push(DnType::CommonName, profile.common_name.as_str());
    params.subject_alt_names = names_of(&profile.names)?;
    Ok(to_pem("CERTIFICATE REQUEST", params.serialize_request(&key.pair()?)?.der().to_vec()))
}
