//! Questions put to containers: probes and hooks over exec, HTTP, TCP and gRPC.

use gantry_kubelet_cri::Runtime;
use gantry_kubelet_cri::runtime::Code;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What a container answered. `Failed` carries the text of the event; `Error` means nobody could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Ok,
    Failed(String),
    Error(String),
}

/// Longest text kept of an answer.
const MAX_BODY: usize = 10 << 10;

/// Runs one probe.
pub async fn probe(
    runtime: &dyn Runtime,
    probe: &Probe,
    container: &Container,
    id: &str,
    ip: &str,
) -> Answer {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(e) = &probe.exec {
        let command = e.command.clone().unwrap_or_default();
        return match runtime.exec_sync(id, command.clone(), timeout).await {
            Ok(out) if out.exit_code == 0 => Answer::Ok,
            Ok(out) => Answer::Failed(text(&[out.stdout, out.stderr].concat())),
            Err(e) if e.code == Code::DeadlineExceeded => Answer::Failed(format!(
                "command timed out: {} timed out after {}s",
                quoted(&command),
                timeout.as_secs()
            )),
            Err(e) => Answer::Error(e.to_string()),
        };
    }
    if let Some(h) = &probe.http_get {
        return match http(h, container, ip, timeout, "kube-probe/1.36").await {
            Ok((status, _)) if (200..400).contains(&status) => Answer::Ok,
            Ok((status, _)) => Answer::Failed(format!("HTTP probe failed with statuscode: {status}")),
            Err(why) => Answer::Failed(why),
        };
    }
    if let Some(t) = &probe.tcp_socket {
        let Some(port) = port(&t.port, container) else { return Answer::Error(unknown_port(&t.port)) };
        let host = t.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(ip);
        return match connect(host, port, timeout).await {
            Ok(_) => Answer::Ok,
            Err(why) => Answer::Failed(why),
        };
    }
    if let Some(g) = &probe.grpc {
        let service = g.service.clone().unwrap_or_default();
        return grpc(ip, u16::try_from(g.port).unwrap_or(0), service, timeout).await;
    }
    Answer::Error(format!("missing probe handler for container {}", container.name))
}

fn quoted(command: &[String]) -> String {
    format!("{:?}", command.join(" "))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_BODY)]).into_owned()
}

/// A port by number, or by name among the container's.
pub fn port(wanted: &IntOrString, container: &Container) -> Option<u16> {
    let number = match wanted {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name.as_str()));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())?
        }
    };
    u16::try_from(number).ok().filter(|p| *p > 0)
}

fn unknown_port(wanted: &IntOrString) -> String {
    match wanted {
        IntOrString::Int(n) => format!("invalid port number: {n}"),
        IntOrString::String(s) => format!("couldn't find named port: {s}"),
    }
}

async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
        Ok(Ok(s)) => Ok(s),
        Ok(Err(e)) => Err(format!("dial tcp {address}: connect: {}", plain(&e))),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

/// The kernel's words without Rust's numbering.
fn plain(e: &std::io::Error) -> String {
    let text = e.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// One GET; status and the beginning of the body.
///
/// # Errors
/// In the words of Go's client.
pub async fn http(
    action: &HTTPGetAction,
    container: &Container,
    ip: &str,
    timeout: Duration,
    agent: &str,
) -> Result<(u16, String), String> {
    let port = port(&action.port, container).ok_or_else(|| unknown_port(&action.port))?;
    let host = action.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(ip).to_owned();
    let tls = action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"));
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = format!("{}://{shown}:{port}{path}", if tls { "https" } else { "http" });
    let mut request = http::Request::get(&path)
        .header("Host", format!("{shown}:{port}"))
        .header("User-Agent", agent)
        .header("Accept", "*/*")
        .header("Connection", "close");
    for h in action.http_headers.iter().flatten() {
        if let Some(headers) = request.headers_mut()
            && let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(h.name.as_str()), http::HeaderValue::try_from(h.value.as_str()))
        {
            headers.insert(name, value);
        }
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| format!("Get {url:?}: {e}"))?;
    let work = async {
        let stream = connect(&host, port, timeout).await?;
        if tls {
            let name = rustls_pki_types::ServerName::try_from(host.clone()).map_err(|e| e.to_string())?;
            let stream = unverified().connect(name, stream).await.map_err(|e| e.to_string())?;
            exchange(TokioIo::new(stream), request).await
        } else {
            exchange(TokioIo::new(stream), request).await
        }
    };
    let wrapped = |why: String| format!("Get {url:?}: {why}");
    match tokio::time::timeout(timeout, work).await {
        Ok(done) => done.map_err(wrapped),
        Err(_) => {
            Err(wrapped("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()))
        }
    }
}

async fn exchange<I>(io: I, request: http::Request<Empty<bytes::Bytes>>) -> Result<(u16, String), String>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(|e| e.to_string())?;
    let talk = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        // A longer body is cut off, not an error.
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        Ok((status, text(&body)))
    };
    tokio::pin!(talk);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        done = &mut talk => done,
        ended = &mut connection => match ended {
            // The server closed after its answer: the rest is in our hands already.
            Ok(()) => talk.await,
            Err(e) => Err(e.to_string()),
        },
    }
}

/// Probes do not check certificates: pods rarely have ones that anybody signed.
fn unverified() -> tokio_rustls::TlsConnector {
    #[derive(Debug)]
    struct Anyone(rustls::crypto::CryptoProvider);
    impl rustls::client::danger::ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &[rustls_pki_types::CertificateDer<'_>],
            _: &rustls_pki_types::ServerName<'_>,
            _: &[u8],
            _: rustls_pki_types::UnixTime,
        ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
            Ok(rustls::client::danger::ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &rustls_pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(rustls::crypto::ring::default_provider())))
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

async fn grpc(ip: &str, port: u16, service: String, timeout: Duration) -> Answer {
    use gantry_proto::health::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let Ok(endpoint) = tonic::transport::Endpoint::from_shared(format!("http://{host}:{port}")) else {
        return Answer::Error(format!("invalid address {host}:{port}"));
    };
    let work = async {
        let channel = endpoint.connect_timeout(timeout).connect().await.map_err(|e| {
            tracing::debug!(error = %e, "gRPC probe cannot connect");
            format!(
                "timeout: failed to connect service \"{host}:{port}\" within {}s: context deadline exceeded",
                timeout.as_secs()
            )
        })?;
        let answer = HealthClient::new(channel).check(HealthCheckRequest { service: service.clone() }).await;
        match answer {
            Ok(a) if a.get_ref().status() == ServingStatus::Serving => Ok(()),
            Ok(a) => {
                Err(format!("service unhealthy (responded with {:?})", a.get_ref().status().as_str_name()))
            }
            Err(e) if e.code() == tonic::Code::Unimplemented => Err(format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                e.message()
            )),
            Err(e) => Err(format!("error: health rpc probe failed: {}", e.message())),
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(())) => Answer::Ok,
        Ok(Err(why)) => Answer::Failed(why),
        Err(_) => {
            Answer::Failed(format!("timeout: health rpc did not complete within {}s", timeout.as_secs()))
        }
    }
}

/// Runs a lifecycle hook.
///
/// # Errors
/// What went wrong, for the log; events do not repeat it, since it may hold secrets.
pub async fn hook(
    runtime: &dyn Runtime,
    handler: &k8s_openapi::api::core::v1::LifecycleHandler,
    container: &Container,
    id: &str,
    ip: &str,
    limit: Duration,
) -> Result<(), String> {
    if let Some(e) = &handler.exec {
        let command = e.command.clone().unwrap_or_default();
        let out = runtime.exec_sync(id, command.clone(), limit).await.map_err(|e| e.to_string())?;
        return match out.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}, message: {:?}",
                command.join(" "),
                text(&out.stderr),
                text(&out.stdout)
            )),
        };
    }
    if let Some(h) = &handler.http_get {
        let limit = if limit.is_zero() { Duration::from_secs(30) } else { limit };
        let (status, _) = http(h, container, ip, limit, "kube-lifecycle/1.36").await?;
        return if (200..300).contains(&status) {
            Ok(())
        } else {
            Err(format!("hook answered with status {status}"))
        };
    }
    if let Some(s) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(s.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err(format!("invalid handler of container {}", container.name))
}
