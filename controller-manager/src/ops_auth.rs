//! Who may read the secure port: asked of the apiserver, as upstream does.

use gantry_client::Client;
use gantry_daemon::ops::{Ask, Authorize, Verdict};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use std::sync::Arc;

/// Authenticates bearer tokens by `TokenReview` and authorizes by `SubjectAccessReview`.
pub fn delegated(client: Client) -> Authorize {
    Arc::new(move |ask| {
        let client = client.clone();
        Box::pin(async move {
            match decide(client, ask).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(%error, "cannot ask the API server about a request");
                    Verdict::Unauthenticated
                }
            }
        })
    })
}

async fn decide(client: Client, ask: Ask) -> Result<Verdict, kube::Error> {
    let header = ask.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or("");
    let Some(token) = header.strip_prefix("Bearer ") else { return Ok(Verdict::Unauthenticated) };
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..TokenReview::default()
    };
    let tokens: Api<TokenReview> = Api::all(client.clone());
    let status = tokens.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    let Some(user) = status.user.filter(|_| status.authenticated == Some(true)) else {
        return Ok(Verdict::Unauthenticated);
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(ask.path),
                verb: Some(ask.method.as_str().to_ascii_lowercase()),
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let access: Api<SubjectAccessReview> = Api::all(client);
    let status = access.create(&PostParams::default(), &review).await?.status.unwrap_or_default();
    Ok(if status.allowed { Verdict::Allowed } else { Verdict::Forbidden })
}
