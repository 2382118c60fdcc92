//! The kubelet's own certificates, by requests to the API: what [`gantry_kubelet_core::certificates`] decides,
//! done.

use anyhow::Context as _;
use gantry_client::informer::{Informer, Scope};
use gantry_kubelet_core::certificates::{Action, Event, Held, State, Wanted};
use gantry_pki::keys::PrivateKey;
use gantry_pki::{Profile, ca};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One certificate and its key, kept together in one file.
#[derive(Clone, Debug)]
pub struct Manager {
    pub signer: &'static str,
    pub usages: [&'static str; 2],
    pub wanted: Wanted,
    /// Where certificate and key are.
    pub file: PathBuf,
}

/// What became of a request.
enum Answer {
    Issued(String),
    Refused(String),
    Lost,
}

impl Manager {
    /// The certificate the kubelet shows to the apiserver.
    pub fn client(node: &str, file: PathBuf) -> Self {
        let wanted = Wanted { common_name: format!("system:node:{node}"), names: Default::default() };
        let usages = ["digital signature", "client auth"];
        Self { signer: "kubernetes.io/kube-apiserver-client-kubelet", usages, wanted, file }
    }

    /// The certificate the kubelet serves with, for its names and addresses.
    pub fn serving(node: &str, names: impl IntoIterator<Item = String>, file: PathBuf) -> Self {
        let common_name = format!("system:node:{node}");
        let wanted = Wanted { common_name, names: names.into_iter().collect() };
        let usages = ["digital signature", "server auth"];
        Self { signer: "kubernetes.io/kubelet-serving", usages, wanted, file }
    }

    /// What is in the file; `None` where that is no certificate.
    pub fn held(&self) -> Option<Held> {
        let facts = gantry_pki::verify::facts(&gantry_pki::read(&self.file).ok()?).ok()?;
        Some(Held {
            common_name: facts.common_name,
            not_before: facts.not_before,
            not_after: facts.not_after,
            names: facts.names.into_iter().collect(),
        })
    }

    /// Asks until a certificate is there.
    ///
    /// # Errors
    /// Where the request cannot be made, or is refused.
    pub async fn obtain(&self, client: Client) -> anyhow::Result<()> {
        let (key, name) = self.ask(&client).await?;
        match self.answer(&client, &name, Duration::from_secs(900)).await {
            Answer::Issued(cert) => self.store(&cert, &key),
            Answer::Refused(why) => anyhow::bail!("certificate signing request {name} {why}"),
            Answer::Lost => anyhow::bail!("timed out waiting for certificate signing request {name}"),
        }
    }

    /// Keeps the certificate current until `stop`.
    pub async fn keep(&self, client: Client, stop: CancellationToken) {
        let mut state = State::default();
        let mut luck: f64 = rand::random();
        let mut pending: Option<PrivateKey> = None;
        while !stop.is_cancelled() {
            let now = Timestamp::now();
            let event = match state.action(self.held().as_ref(), &self.wanted, luck, now) {
                Action::Sleep(time) => {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(time) => {}
                    }
                    continue;
                }
                Action::Ask => match self.ask(&client).await {
                    Ok((key, name)) => {
                        pending = Some(key);
                        Event::Asked(name)
                    }
                    Err(error) => {
                        tracing::warn!(signer = self.signer, %error, "cannot request a certificate");
                        Event::Failed
                    }
                },
                Action::Watch { name, wait } => {
                    let answer = tokio::select! {
                        () = stop.cancelled() => break,
                        answer = self.answer(&client, &name, wait) => answer,
                    };
                    self.take(answer, pending.take())
                }
            };
            if event == Event::Stored {
                tracing::info!(signer = self.signer, "certificate rotated");
                luck = rand::random();
            }
            state = state.after(event, Timestamp::now());
        }
    }

    fn take(&self, answer: Answer, key: Option<PrivateKey>) -> Event {
        match (answer, key) {
            (Answer::Issued(cert), Some(key)) => match self.store(&cert, &key) {
                Ok(()) => Event::Stored,
                Err(error) => {
                    tracing::warn!(signer = self.signer, %error, "cannot store a certificate");
                    Event::Failed
                }
            },
            (Answer::Refused(why), _) => {
                tracing::warn!(signer = self.signer, why, "certificate request was refused");
                Event::Failed
            }
            _ => Event::Lost,
        }
    }

    /// Makes a key and a request for its certificate.
    async fn ask(&self, client: &Client) -> anyhow::Result<(PrivateKey, String)> {
        let key = PrivateKey::generate()?;
        let mut profile = Profile::client(self.wanted.common_name.clone(), Some("system:nodes"));
        profile.names = self.wanted.names.iter().cloned().collect();
        let mut wanted = CertificateSigningRequest::default();
        wanted.metadata.generate_name = Some("csr-".into());
        wanted.spec = CertificateSigningRequestSpec {
            request: ByteString(ca::request(&key, &profile)?.into_bytes()),
            signer_name: self.signer.into(),
            usages: Some(self.usages.map(str::to_owned).to_vec()),
            ..Default::default()
        };
        let api: Api<CertificateSigningRequest> = Api::all(client.clone());
        let made =
            api.create(&PostParams::default(), &wanted).await.context("cannot request a certificate")?;
        Ok((key, made.metadata.name.unwrap_or_default()))
    }

    /// Waits for what becomes of a request, by watching it.
    async fn answer(&self, client: &Client, name: &str, wait: Duration) -> Answer {
        let scope = Scope { field_selector: Some(format!("metadata.name={name}")), ..Scope::default() };
        let requests: Informer<CertificateSigningRequest> = Informer::new(client.clone(), scope);
        let mut changes = requests.subscribe();
        let done = CancellationToken::new();
        // However this ends, the watch ends with it.
        let _guard = done.clone().drop_guard();
        requests.start(&done);
        let found = async {
            while let Some(delta) = changes.recv().await {
                if matches!(delta, gantry_client::Delta::Deleted(_)) {
                    return Answer::Lost;
                }
                if let Some(answer) = judge(delta.object()) {
                    return answer;
                }
            }
            Answer::Lost
        };
        tokio::time::timeout(wait, found).await.unwrap_or(Answer::Lost)
    }

    fn store(&self, cert: &str, key: &PrivateKey) -> anyhow::Result<()> {
        if let Some(dir) = self.file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(gantry_pki::write_private(&self.file, &format!("{}\n{}", cert.trim_end(), key.to_pem()))?)
    }

    /// Puts a certificate signed by nobody into the file where there is none, to serve with until somebody
    /// has signed.
    ///
    /// # Errors
    /// Where it cannot be made or written.
    pub fn make_do(&self) -> anyhow::Result<()> {
        if self.held().is_some() {
            return Ok(());
        }
        let now = Timestamp::now();
        let ca = gantry_pki::Ca::create("kubelet-server", now, gantry_pki::DAY)?;
        let names = self.wanted.names.iter().cloned().collect();
        let issued = ca.issue(&Profile::server("kubelet-server", names), now)?;
        if let Some(dir) = self.file.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(gantry_pki::write_private(&self.file, &format!("{}\n{}", issued.cert.trim_end(), issued.key))?)
    }
}

/// What a request has come to; `None` while it waits.
fn judge(csr: &CertificateSigningRequest) -> Option<Answer> {
    let status = csr.status.as_ref()?;
    if let Some(c) = status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed") {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let what = if c.type_ == "Denied" { "is denied" } else { "failed" };
        return Some(Answer::Refused(format!(
            "{what}, reason: {}, message: {}",
            text(&c.reason),
            text(&c.message)
        )));
    }
    let approved = status.conditions.iter().flatten().any(|c| c.type_ == "Approved");
    let cert = status.certificate.as_ref().filter(|c| approved && !c.0.is_empty())?;
    String::from_utf8(cert.0.clone()).ok().map(Answer::Issued)
}
