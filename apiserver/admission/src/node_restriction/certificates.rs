//! Certificates: a kubelet requests them for its own node and its pods.

use super::{NodeRestriction, q, word};
use crate::{forbidden, resources, typed};
use gantry_registry::admission::{Operation, Request};
use gantry_types::{Document, GroupResource, Status, StatusResult};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use x509_parser::prelude::FromDer;

const KUBELET_SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

fn common_name(request: &[u8]) -> Result<String, String> {
    let block = pem::parse(request).map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    }
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(block.contents())
            .map_err(|e| e.to_string())?;
    let subject = &parsed.certification_request_info.subject;
    let name = subject.iter_common_name().last().and_then(|cn| cn.as_str().ok()).unwrap_or_default();
    Ok(name.to_owned())
}

pub(super) fn admit_signing_request(node: &str, request: &Request<'_>) -> StatusResult<()> {
    let Some(object) = request.object.as_deref() else { return Ok(()) };
    let signer = object.str_at(&["spec", "signerName"]).unwrap_or_default();
    if request.operation != Operation::Create || !KUBELET_SIGNERS.contains(&signer) {
        return Ok(());
    }
    let bytes = object.get_at::<ByteString>(&["spec", "request"]).map(|b| b.0).unwrap_or_default();
    match common_name(&bytes) {
        Ok(name) if name == format!("system:node:{node}") => Ok(()),
        Ok(_) => {
            Err(forbidden(request, format_args!("can only create a node CSR with CN=system:node:{node}")))
        }
        Err(why) => Err(forbidden(request, format_args!("unable to parse csr: {why}"))),
    }
}

impl NodeRestriction {
    pub(super) fn admit_pod_certificate(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        if request.operation != Operation::Create {
            return Err(forbidden(request, format_args!("unexpected operation {}", word(request.operation))));
        }
        if !request.subresource.is_empty() {
            return Err(forbidden(request, format_args!("unexpected subresource {}", request.subresource)));
        }
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let spec = |d: &Document, field: &str| d.str_at(&["spec", field]).unwrap_or_default().to_owned();
        let (pod_name, pod_uid) = (spec(object, "podName"), spec(object, "podUID"));
        let (account, account_uid) = (spec(object, "serviceAccountName"), spec(object, "serviceAccountUID"));
        let (named, node_uid) = (spec(object, "nodeName"), spec(object, "nodeUID"));
        if named != node {
            let why = format!(
                "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
                q(&named),
                q(node)
            );
            return Err(forbidden(request, why));
        }
        // Upstream hands these on as plain errors, which its server answers as internal ones.
        let missing = |what: &str, of: &str, why: &Status| {
            Status::internal(format_args!(
                "while retrieving {what} {} named in the PodCertificateRequest: {why}",
                q(of)
            ))
        };
        let full = format!("{}/{pod_name}", request.namespace);
        let stored = self.node(&named).map_err(|why| missing("node", &named, &why))?;
        if stored.uid() != node_uid {
            return Err(Status::internal(format_args!(
                "PodCertificateRequest for pod {} names node UID {}, inconsistent with the running node ({})",
                q(&full),
                q(&node_uid),
                q(stored.uid())
            )));
        }
        let stored = self.pod(request.namespace, &pod_name).map_err(|why| missing("pod", &full, &why))?;
        if stored.uid() != pod_uid {
            return Err(Status::internal(format_args!(
                "PodCertificateRequest for pod {} contains pod UID ({}) which differs from running pod {}",
                q(&full),
                q(&pod_uid),
                q(stored.uid())
            )));
        }
        let pod: Pod = typed(&stored)?;
        let running = pod.spec.unwrap_or_default();
        if running.node_name.as_deref() != Some(node) {
            let why = format!(
                "pod {} is not running on node {} named in the PodCertificateRequest",
                q(&full),
                q(node)
            );
            return Err(forbidden(request, why));
        }
        if pod.metadata.annotations.is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")) {
            return Err(forbidden(request, format_args!("pod {} is a mirror pod", q(&full))));
        }
        let own = running.service_account_name.unwrap_or_default();
        if account != own {
            let why = format!(
                "PodCertificateRequest for pod {} contains serviceAccountName ({}) that differs from running pod ({})",
                q(&full),
                q(&account),
                q(&own)
            );
            return Err(forbidden(request, why));
        }
        let of = format!("{}/{account}", request.namespace);
        let stored =
            self.reader.get(&resources::SERVICE_ACCOUNTS, request.namespace, &account).ok_or_else(|| {
                let why = Status::not_found(&GroupResource::new("", "serviceaccount"), &account);
                missing("service account", &of, &why)
            })?;
        if stored.uid() != account_uid {
            return Err(Status::internal(format_args!(
                "PodCertificateRequest for pod {} names service account UID {}, which differs from the running \
                 service account ({})",
                q(&full),
                q(&account_uid),
                q(stored.uid())
            )));
        }
        Ok(())
    }
}
