//! `CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`: who may say yes to a
//! certificate request of a signer, who may sign it, and what nobody may ask for.

use crate::{forbidden, is};
use async_trait::async_trait;
use gantry_registry::admission::{Operation, Plugin, Request};
use gantry_types::field::go_quote;
use gantry_types::scheme::Kind;
use gantry_types::user::{Attributes, Authorizer};
use gantry_types::{Document, GroupResource, StatusResult, UserInfo};
use k8s_openapi::ByteString;
use std::sync::Arc;
use x509_parser::prelude::FromDer;

const REQUESTS: GroupResource = GroupResource::new("certificates.k8s.io", "certificatesigningrequests");
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Whether a user may do `verb` to what a signer signs, by its name or by its domain's wildcard.
fn authorized(authorizer: &dyn Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let wanted = Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            group: "certificates.k8s.io".to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            resource_request: true,
            ..Attributes::default()
        };
        authorizer.authorize(&wanted).allowed()
    })
}

fn signer(object: &Document) -> &str {
    object.str_at(&["spec", "signerName"]).unwrap_or_default()
}

/// The signer's name is read off the stored object: the new one might name another.
fn check(authorizer: &dyn Authorizer, request: &Request<'_>, verb: &str) -> StatusResult<()> {
    let Some(old) = request.old else { return Ok(()) };
    if authorized(authorizer, request.user, verb, signer(old)) {
        return Ok(());
    }
    let name = go_quote(signer(old));
    Err(forbidden(request, format_args!("user not permitted to {verb} requests with signerName {name}")))
}

/// Approving a request takes the verb `approve` on its signer.
pub struct CertificateApproval(pub Arc<dyn Authorizer>);

impl CertificateApproval {
    pub const NAME: &str = "CertificateApproval";
}

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        is(kind, &REQUESTS) && subresource == "approval" && operation == Operation::Update
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        check(&*self.0, request, "approve")
    }
}

/// Issuing a certificate, or saying that it failed, takes the verb `sign` on the signer.
pub struct CertificateSigning(pub Arc<dyn Authorizer>);

impl CertificateSigning {
    pub const NAME: &str = "CertificateSigning";
}

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        is(kind, &REQUESTS) && subresource == "status" && operation == Operation::Update
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else { return Ok(()) };
        let status =
            |object: &Document, field: &str| object.map().get("status").and_then(|s| s.get(field)).cloned();
        if ["certificate", "conditions"].iter().all(|field| status(new, field) == status(old, field)) {
            return Ok(());
        }
        check(&*self.0, request, "sign")
    }
}

/// No client certificate of `system:masters`.
pub struct CertificateSubjectRestriction;

impl CertificateSubjectRestriction {
    pub const NAME: &str = "CertificateSubjectRestriction";
}

fn organizations(request: &[u8]) -> Result<Vec<String>, String> {
    const BLOCK: &str = "PEM block type must be CERTIFICATE REQUEST";
    let block = pem::parse(request).map_err(|_| BLOCK.to_owned())?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(BLOCK.to_owned());
    }
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(block.contents())
            .map_err(|e| e.to_string())?;
    let subject = &parsed.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect())
}

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn handles(&self, kind: &Kind, subresource: &str, operation: Operation) -> bool {
        is(kind, &REQUESTS) && subresource.is_empty() && operation == Operation::Create
    }

    async fn validate(&self, request: &Request<'_>) -> StatusResult<()> {
        let Some(object) = request.object.as_deref().filter(|o| signer(o) == CLIENT_SIGNER) else {
            return Ok(());
        };
        let bytes = object.get_at::<ByteString>(&["spec", "request"]).map(|b| b.0).unwrap_or_default();
        let groups = organizations(&bytes)
            .map_err(|e| forbidden(request, format_args!("failed to parse CSR: {e}")))?;
        if groups.iter().any(|g| g == "system:masters") {
            let why = format_args!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed");
            return Err(forbidden(request, why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_types::user::Decision;
    use k8s_openapi::api::rbac::v1::PolicyRule;

    /// May do the one thing named `verb name`.
    struct Only(&'static str);

    impl Authorizer for Only {
        fn authorize(&self, a: &Attributes) -> Decision {
            let reason = String::new();
            if format!("{} {}/{}", a.verb, a.resource, a.name) == self.0 {
                Decision::Allow { reason }
            } else {
                Decision::NoOpinion { reason }
            }
        }

        fn covers(&self, _: &UserInfo, _: &str, _: &[PolicyRule]) -> Result<(), String> {
            Err(String::new())
        }
    }

    #[test]
    fn a_signer_is_allowed_by_name_or_by_domain() {
        let check = |allowed: &'static str, verb: &str, signer: &str, want: bool| {
            assert_eq!(authorized(&Only(allowed), &UserInfo::default(), verb, signer), want, "{allowed}");
        };
        check("approve signers/a.b/c", "approve", "a.b/c", true);
        check("approve signers/a.b/*", "approve", "a.b/c", true);
        check("approve signers/a.b/*", "approve", "a.c/c", false);
        check("sign signers/a.b/c", "approve", "a.b/c", false);
    }
}
