//! An identity per controller: its service account in `kube-system`, by short-lived tokens.

use gantry_client::config::{Bearer, Bearers};
use gantry_client::error::{self, ApiError};
use gantry_client::{Client, ClientConfig};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const LIFETIME: i64 = 3600;

/// Makes the client of one account.
type Maker = dyn Fn(&str) -> Client + Send + Sync;

/// Hands out clients by controller.
#[derive(Clone)]
pub struct Credentials(Source);

#[derive(Clone)]
enum Source {
    /// Every controller acts as the daemon itself.
    Own(Client),
    Accounts(Client, Arc<Accounts>),
    Given(Arc<Maker>),
}

struct Accounts {
    bearers: Bearers,
    clients: Mutex<HashMap<String, Client>>,
    stop: CancellationToken,
}

impl Credentials {
    /// With `separate` (`--use-service-account-credentials`) each controller acts as its own account.
    ///
    /// # Errors
    /// Where no connection can be set up.
    pub fn new(
        config: &ClientConfig,
        own: Client,
        separate: bool,
        stop: CancellationToken,
    ) -> Result<Self, gantry_client::config::ConfigError> {
        if !separate {
            return Ok(Self(Source::Own(own)));
        }
        let accounts = Accounts { bearers: config.bearers()?, clients: Mutex::default(), stop };
        Ok(Self(Source::Accounts(own, Arc::new(accounts))))
    }

    /// Clients somebody else makes, by account: for controllers in the process of their apiserver.
    pub fn given(maker: impl Fn(&str) -> Client + Send + Sync + 'static) -> Self {
        Self(Source::Given(Arc::new(maker)))
    }

    /// The client of the controller whose service account is `name`. Its requests wait for the first token.
    pub fn client(&self, name: &str) -> Client {
        let (daemon, accounts) = match &self.0 {
            Source::Own(own) => return own.clone(),
            Source::Given(maker) => return maker(name),
            Source::Accounts(own, accounts) => (own, accounts),
        };
        let mut clients = accounts.clients.lock();
        if let Some(client) = clients.get(name) {
            return client.clone();
        }
        let bearer = Bearer::default();
        let client = match accounts.bearers.client(&bearer) {
            Ok(client) => client,
            Err(error) => {
                // The same headers made the daemon's own client; this cannot differ.
                tracing::error!(%error, "cannot make a controller's client, using the daemon's own");
                return daemon.clone();
            }
        };
        let (own, name, stop) = (daemon.clone(), name.to_owned(), accounts.stop.clone());
        clients.insert(name.clone(), client.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_fresh(own, name, bearer) => {}
            }
        });
        client
    }
}

/// Gets a token, and a new one well before it ends, for ever.
async fn keep_fresh(own: Client, name: String, bearer: Bearer) {
    loop {
        let pause = match token(&own, &name).await {
            Ok(token) => match bearer.set(&token) {
                Ok(()) => Duration::from_secs(LIFETIME.unsigned_abs() * 3 / 4),
                Err(_) => Duration::from_secs(60),
            },
            Err(error) => {
                tracing::warn!(
                    account = name,
                    error = error::message(&error),
                    "cannot get a token for a controller"
                );
                Duration::from_secs(5)
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn token(own: &Client, name: &str) -> Result<String, kube::Error> {
    let api: Api<ServiceAccount> = Api::namespaced(own.clone(), NAMESPACE);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(Vec::new()),
            expiration_seconds: Some(LIFETIME),
            bound_object_ref: None,
        }),
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let result = match api.create_token_request(name, &params, &request).await {
        Err(error) if error.is_not_found() => {
            let account = ServiceAccount {
                metadata: ObjectMeta {
                    name: Some(name.to_owned()),
                    namespace: Some(NAMESPACE.into()),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            };
            match api.create(&params, &account).await {
                Err(error) if !error.is_already_exists() => return Err(error),
                _ => {}
            }
            api.create_token_request(name, &params, &request).await
        }
        other => other,
    };
    Ok(result?.status.and_then(|s| s.token).unwrap_or_default())
}
