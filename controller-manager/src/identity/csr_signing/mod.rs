//! The CSR signing controllers: one for each of the `kubernetes.io/*` signers that has an authority.

mod plan;
#[cfg(test)]
mod tests;

use super::kubelet_requests::{ACCOUNT, CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};
use crate::context::{Context, now, time};
use crate::flags::Args;
use anyhow::Context as _;
use gantry_client::{Informer, Key, Queue};
use gantry_pki::Ca;
use gantry_pki::csr::Terms;
use gantry_reconcile::{Barrier, Effect, Executor, Next, Reconcile};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A signer with the files of its authority, read anew for each signature: they may have been renewed.
struct Signer {
    name: &'static str,
    cert: PathBuf,
    key: PathBuf,
}

struct Controller {
    requests: Informer<CertificateSigningRequest>,
    executor: Executor,
    signers: Vec<Signer>,
    longest: Duration,
}

fn load(cert: &Path, key: &Path) -> anyhow::Result<Ca> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    Ca::load(&read(cert)?, &read(key)?)
        .with_context(|| format!("error reading CA cert file {:?}", cert.display().to_string()))
}

/// The files of each signer: its own, or the general ones where no signer has its own.
///
/// # Errors
/// Where both are given.
fn signers(args: &Args) -> anyhow::Result<Vec<Signer>> {
    let own = [
        (
            KUBELET_SERVING,
            &args.cluster_signing_kubelet_serving_cert_file,
            &args.cluster_signing_kubelet_serving_key_file,
        ),
        (
            KUBELET_CLIENT,
            &args.cluster_signing_kubelet_client_cert_file,
            &args.cluster_signing_kubelet_client_key_file,
        ),
        (
            CLIENT,
            &args.cluster_signing_kube_apiserver_client_cert_file,
            &args.cluster_signing_kube_apiserver_client_key_file,
        ),
        (
            LEGACY,
            &args.cluster_signing_legacy_unknown_cert_file,
            &args.cluster_signing_legacy_unknown_key_file,
        ),
    ];
    let any = own.iter().any(|(_, cert, key)| cert.is_some() || key.is_some());
    let general = (&args.cluster_signing_cert_file, &args.cluster_signing_key_file);
    if any && (general.0.is_some() || general.1.is_some()) {
        anyhow::bail!(
            "cannot specify --cluster-signing-{{cert,key}}-file and other --cluster-signing-*-file flags at the same time"
        );
    }
    let files = |(name, cert, key): (&'static str, &Option<PathBuf>, &Option<PathBuf>)| {
        let (cert, key) = if any { (cert, key) } else { general };
        Some(Signer { name, cert: cert.clone()?, key: key.clone()? })
    };
    Ok(own.into_iter().filter_map(files).collect())
}

/// Wires the controller to its informer and starts it, where there is an authority to sign with.
///
/// # Errors
/// Where an authority cannot be used, or flags contradict each other.
pub fn start(context: &Context) -> anyhow::Result<()> {
    let signers = signers(&context.config.args)?;
    if signers.is_empty() {
        tracing::info!("skipping CSR signer controller because no csr cert/key was specified");
        return Ok(());
    }
    for signer in &signers {
        load(&signer.cert, &signer.key)?;
    }
    let queue = Queue::new("certificate_csrsigning");
    let requests = context.informers.of::<CertificateSigningRequest>();
    let to = queue.clone();
    requests.on(move |delta| to.add(Key::of(&**delta.object())));
    let barrier = Barrier::default();
    barrier.track(&requests);
    let executor = context.executor(ACCOUNT, barrier.clone());
    let longest = context.config.args.cluster_signing_duration;
    let controller = Controller { requests, executor, signers, longest };
    context.run("certificatesigningrequest-signing-controller", 5, controller, queue, barrier);
    Ok(())
}

/// Signs a request for as long as it may last.
fn sign(signer: &Signer, csr: &CertificateSigningRequest, granted: plan::Granted) -> anyhow::Result<String> {
    let ca = load(&signer.cert, &signer.key)?;
    let (not_before, not_after) = gantry_pki::csr::validity(ca.ends()?, now(), granted.lifetime)?;
    let terms = Terms { key_usage: granted.key_usage, extended: granted.extended, not_before, not_after };
    Ok(ca.sign_on(&csr.spec.request.0, &terms)?)
}

impl Reconcile for Controller {
    async fn reconcile(&self, key: &Key) -> Result<Next, kube::Error> {
        let Some(csr) = self.requests.store().get(key) else { return Ok(Next::Done) };
        let signer = self.signers.iter().find(|s| s.name == csr.spec.signer_name);
        let Some(signer) = signer else { return Ok(Next::Done) };
        let mut changed = CertificateSigningRequest::clone(&csr);
        let status = changed.status.get_or_insert_default();
        match plan::decide(&csr, self.longest) {
            plan::Decision::Ignore => return Ok(Next::Done),
            plan::Decision::Fail(message) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".into(),
                    status: "True".into(),
                    reason: Some("SignerValidationFailure".into()),
                    message: Some(message),
                    last_update_time: Some(time(now())),
                    ..CertificateSigningRequestCondition::default()
                });
            }
            plan::Decision::Sign(granted) => match sign(signer, &csr, granted) {
                Ok(certificate) => status.certificate = Some(ByteString(certificate.into_bytes())),
                Err(error) => {
                    tracing::error!(%key, %error, "error auto signing csr");
                    return Ok(Next::After(Duration::from_secs(30)));
                }
            },
        }
        self.executor.apply(key, &Effect::update_status(&changed)).await?;
        Ok(Next::Done)
    }
}
