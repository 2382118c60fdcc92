//! Starting and stopping: the store, the caches, the chain, and what a new cluster begins with.

use crate::aggregation::{self, Aggregation};
use crate::assemble::Server;
use crate::config::{Config, Storage};
use crate::escalation::Escalation;
use crate::health::Health;
use crate::http::inflight::InFlight;
use crate::kubelet::Backends;
use crate::metrics::Metrics;
use crate::published::Published;
use crate::tls::Tls;
use crate::{addresses, bootstrap, http::serve, legacy_tokens};
use anyhow::Context;
use gantry_admission::{Deps, QuotaStore, RegistryQuotas, absent, default_chain};
use gantry_auth::authenticate::{Authenticator, FrontProxy};
use gantry_auth::authorize::Union;
use gantry_auth::node::NodeAuthorizer;
use gantry_auth::rbac::Rbac;
use gantry_auth::token::{
    BootstrapTokens, Discovery, Issuer, LegacyUse, Signer, TokenAuthenticator, VerifyKeys,
};
use gantry_pki::verify::ClientVerifier;
use gantry_registry::alloc::{Allocators, IpRange, PortRange};
use gantry_registry::generic::{Registry, resource_configs};
use gantry_registry::kinds::strategy_with;
use gantry_storage::{Store, StoreError};
use gantry_storage_embedded::EmbeddedStore;
use gantry_storage_etcd::{EtcdConfig, EtcdStore};
use gantry_types::reader::ObjectReader;
use gantry_types::scheme::Kind;
use gantry_watch_cache::{Caches, Settings};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open requests may go on after the stop signal.
const DRAIN: Duration = Duration::from_secs(10);

async fn open(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let compaction_interval = config.compaction_interval;
    match &config.storage {
        Storage::Embedded { file } => {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            let begin = tokio::time::Instant::now();
            loop {
                let file = file.clone();
                let opening =
                    tokio::task::spawn_blocking(move || EmbeddedStore::open_with(file, compaction_interval));
                match opening.await? {
                    Ok(store) => return Ok(Arc::new(store)),
                    // The process before this one is still draining its requests.
                    Err(StoreError::Unavailable(_)) if begin.elapsed() < DRAIN * 2 => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Storage::Etcd { servers, ca, client } => {
            let config = EtcdConfig {
                servers: servers.clone(),
                ca: ca.clone().map(String::into_bytes),
                identity: client.clone().map(|p| (p.certificate.into_bytes(), p.key.into_bytes())),
                compaction_interval,
                ..EtcdConfig::default()
            };
            Ok(Arc::new(EtcdStore::connect(config).await?))
        }
    }
}

fn authenticator(
    config: &Config,
    keys: VerifyKeys,
    reader: Arc<dyn ObjectReader>,
    legacy_use: Option<LegacyUse>,
) -> anyhow::Result<Authenticator> {
    let accounts = &config.service_accounts;
    let front_proxy = match &config.request_header {
        Some(header) => {
            let mut proxy = FrontProxy::new(ClientVerifier::new(&header.ca)?, header.allowed_names.clone());
            proxy.user_headers.clone_from(&header.user_headers);
            proxy.uid_headers.clone_from(&header.uid_headers);
            proxy.group_headers.clone_from(&header.group_headers);
            proxy.extra_prefixes.clone_from(&header.extra_prefixes);
            Some(proxy)
        }
        None => None,
    };
    let bootstrap_tokens =
        config.bootstrap_tokens.then(|| BootstrapTokens::new(reader.clone(), accounts.audiences.clone()));
    let tokens = TokenAuthenticator::new(keys, accounts.issuers.clone(), accounts.audiences.clone(), reader)
        .telling(legacy_use);
    Ok(Authenticator {
        client_ca: config.client_ca.as_deref().map(ClientVerifier::new).transpose()?,
        front_proxy,
        tokens: Some(Arc::new(tokens)),
        bootstrap_tokens,
        anonymous: config.anonymous,
    })
}

/// How long the first connections wait for the objects a cluster begins with; refusing daemons that come early
/// would cost them a back-off.
const OPENING: Duration = Duration::from_secs(3);

/// Opens the store and puts everything together; the caches load in the background.
///
/// # Errors
/// Where the store, a key or a certificate cannot be used.
pub async fn server(config: Config) -> anyhow::Result<Arc<Server>> {
    let store = open(&config).await?;
    let event_ttl = config.event_ttl;
    let strategy_of = move |kind: &Kind| strategy_with(kind, event_ttl);
    let caches = Caches::start(store.clone(), Settings::default(), resource_configs(&strategy_of));
    let reader: Arc<dyn ObjectReader> = caches.clone();
    let accounts = &config.service_accounts;
    let verify_keys = || VerifyKeys::from_pem(accounts.keys.iter().map(String::as_str));
    let issuer = Issuer {
        signer: Signer::from_pem(&accounts.signing_key).context("--service-account-signing-key-file")?,
        issuer: accounts.issuers[0].clone(),
        audiences: accounts.audiences.clone(),
        max_expiration: i64::try_from(accounts.max_expiration.as_secs()).unwrap_or(0),
        extend: accounts.extend,
        reader: reader.clone(),
    };
    let jwks = accounts
        .jwks_uri
        .clone()
        .unwrap_or_else(|| format!("https://{}:{}/openid/v1/jwks", config.advertise, config.listen.port()));
    let tokens = Discovery::new(&issuer.issuer, &jwks, &verify_keys()?);
    let (rbac, mut rbac_synced) = Rbac::start(&*reader);
    let (node, mut node_synced) = match config.node_authorizer {
        true => {
            let (node, synced) = NodeAuthorizer::start(&*reader);
            (Some(node), Some(synced))
        }
        false => (None, None),
    };
    let authorizer = Arc::new(Union::new(node, rbac));
    let health = Health::default();
    let registry = Registry::new(store.clone(), caches.clone(), &strategy_of);
    let deps = Deps {
        reader: reader.clone(),
        authorizer: authorizer.clone(),
        not_ready_toleration_seconds: config.not_ready_toleration_seconds,
        unreachable_toleration_seconds: config.unreachable_toleration_seconds,
        quotas: registry
            .get("", "v1", "resourcequotas")
            .map(|quotas| Arc::new(RegistryQuotas(Arc::downgrade(quotas))) as Arc<dyn QuotaStore>),
        configuration: config.admission.clone(),
    };
    for name in &config.admission.ignored {
        tracing::warn!(name, "this admission plugin takes no configuration");
    }
    for name in absent(&config.enable_admission) {
        tracing::warn!(name, "this admission plugin is not built in");
    }
    // The registry is new: its chain has not been set.
    let chain = default_chain(&deps, &config.enable_admission, &config.disable_admission);
    let escalation = Escalation { reader: reader.clone(), authorizer: authorizer.clone() };
    registry.set_admission(chain.with(Box::new(escalation)));
    let server = Arc::new(Server {
        authenticator: authenticator(&config, verify_keys()?, reader, legacy_tokens::recorder(&registry))?,
        authorizer,
        issuer,
        backends: Backends::new(&config.kubelet)?,
        aggregation: Aggregation::new(config.proxy_client.clone()),
        published: Published::new(tokens, format!("{}:{}", config.advertise, config.listen.port())),
        metrics: Metrics::new()?,
        inflight: InFlight::new(config.max_reads, config.max_writes),
        tls: Tls::new(&config)?,
        registry,
        caches: caches.clone(),
        health,
        config,
    });
    let ranges =
        server.config.service_ranges.iter().map(|r| IpRange::new(r.addr(), r.prefix_len())).collect();
    let ports = PortRange::new(*server.config.node_ports.start(), *server.config.node_ports.end());
    let allocators = Allocators::new(ranges, ports);
    server.registry.set_allocators(allocators.clone());
    let (follower, mut addresses_synced) = addresses::follow(&*caches, allocators.clone());
    aggregation::follow(&server);
    bootstrap::begin(&server, async move {
        caches.ready().await;
        addresses_synced.wait().await;
        allocators.rebuild(&*caches);
        rbac_synced.wait().await;
        if let Some(node) = &mut node_synced {
            node.wait().await;
        }
        follower
    });
    Ok(server)
}

/// Serves until `stop`, then drains.
pub async fn run(server: Arc<Server>, listener: TcpListener, stop: CancellationToken) {
    let opening = tokio::time::Instant::now() + OPENING;
    while !server.health.ready() && !stop.is_cancelled() && tokio::time::Instant::now() < opening {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tracing::info!(address = %server.config.listen, "Serving securely");
    let closing = CancellationToken::new();
    let serving = serve::serve(listener, server.clone(), closing.clone(), DRAIN);
    let shutdown = async {
        stop.cancelled().await;
        server.health.shutting_down.set();
        tokio::time::sleep(server.config.shutdown_delay).await;
        closing.cancel();
    };
    tokio::join!(serving, shutdown);
}
