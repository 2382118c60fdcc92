//! The few requests the collector makes, on metadata of any kind.

use super::graph::Identity;
use crate::discovery::ApiResource;
use gantry_client::Client;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    DeleteOptions, ObjectMeta, OwnerReference, Preconditions,
};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Partial {
    metadata: ObjectMeta,
}

#[derive(Serialize)]
struct Patch<'a> {
    metadata: PatchMeta<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PatchMeta<'a> {
    uid: &'a str,
    resource_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_references: Option<&'a [OwnerReference]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finalizers: Option<&'a [String]>,
}

fn path(resource: &ApiResource, identity: &Identity) -> String {
    format!("{}/{}", resource.path(&identity.namespace), identity.name)
}

async fn send(
    client: &Client,
    method: Method,
    path: String,
    kind: &str,
    body: Vec<u8>,
) -> Result<ObjectMeta, kube::Error> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(ACCEPT, "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
        .header(CONTENT_TYPE, kind)
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request::<Partial>(request).await.map(|p| p.metadata)
}

pub(super) async fn get(
    client: &Client,
    resource: &ApiResource,
    identity: &Identity,
) -> Result<ObjectMeta, kube::Error> {
    send(client, Method::GET, path(resource, identity), "application/json", Vec::new()).await
}

/// Deletes exactly the object as it was read.
pub(super) async fn delete(
    client: &Client,
    resource: &ApiResource,
    identity: &Identity,
    read: &ObjectMeta,
    policy: &str,
) -> Result<(), kube::Error> {
    let options = DeleteOptions {
        api_version: Some("v1".into()),
        kind: Some("DeleteOptions".into()),
        propagation_policy: Some(policy.into()),
        preconditions: Some(Preconditions {
            uid: read.uid.clone(),
            resource_version: read.resource_version.clone(),
        }),
        ..DeleteOptions::default()
    };
    let body = serde_json::to_vec(&options).map_err(kube::Error::SerdeError)?;
    let request = Request::delete(path(resource, identity))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(drop)
}

/// Replaces owner references or finalizers, where the object is still as it was read.
pub(super) async fn patch(
    client: &Client,
    resource: &ApiResource,
    identity: &Identity,
    read: &ObjectMeta,
    owners: Option<&[OwnerReference]>,
    finalizers: Option<&[String]>,
) -> Result<(), kube::Error> {
    let patch = Patch {
        metadata: PatchMeta {
            uid: &identity.uid,
            resource_version: read.resource_version.as_deref().unwrap_or(""),
            owner_references: owners,
            finalizers,
        },
    };
    let body = serde_json::to_vec(&patch).map_err(kube::Error::SerdeError)?;
    send(client, Method::PATCH, path(resource, identity), "application/merge-patch+json", body)
        .await
        .map(drop)
}
