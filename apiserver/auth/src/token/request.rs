//! The `serviceaccounts/token` subresource: issuing bound tokens.

use super::claims::{Bound, Reference, Wire, credential_id};
use super::{Signer, service_account_user};
use crate::resources::{NODES, PODS, SECRETS, SERVICE_ACCOUNTS};
use gantry_types::field::{Error, Path};
use gantry_types::reader::ObjectReader;
use gantry_types::{GroupKind, GroupResource, Object, Status, StatusResult};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use std::sync::Arc;

/// The lifetime kubelets ask for; such tokens live a year instead, and warn after this time.
const EXTENDED_REQUEST: i64 = 60 * 60 + 7;
const EXTENSION: i64 = 365 * 24 * 60 * 60;
const DEFAULT_SECONDS: i64 = 60 * 60;
const MINIMUM_SECONDS: i64 = 10 * 60;

/// Issues tokens.
pub struct Issuer {
    pub signer: Signer,
    /// `--service-account-issuer`, the first.
    pub issuer: String,
    /// The apiserver's own audiences, the default of a request without any.
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration` in seconds, 0 for none.
    pub max_expiration: i64,
    /// `--service-account-extend-token-expiration`, on by default.
    pub extend: bool,
    pub reader: Arc<dyn ObjectReader>,
}

/// A token as issued, with what the audit log and warnings want.
#[derive(Clone, Debug)]
pub struct TokenIssued {
    pub request: TokenRequest,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// The value of `authentication.kubernetes.io/issued-credential-id`.
    pub credential_id: String,
}

/// What of a pod a token needs.
#[derive(Default, Deserialize)]
struct PodHead {
    #[serde(default)]
    spec: PodHeadSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodHeadSpec {
    #[serde(default)]
    service_account_name: String,
    #[serde(default)]
    node_name: String,
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.name().to_owned(), uid: object.uid().to_owned() }
}

fn invalid(name: &str, errors: Vec<Error>) -> Status {
    Status::invalid(
        &GroupKind { group: "authentication.k8s.io".into(), kind: "TokenRequest".into() },
        name,
        errors,
    )
}

impl Issuer {
    /// Fills a request's defaults and what the URL says, before admission sees it.
    ///
    /// # Errors
    /// Where the request names another account, the account does not exist, or a field is out of bounds.
    pub fn prepare(
        &self,
        namespace: &str,
        name: &str,
        request: &mut TokenRequest,
        now: Timestamp,
    ) -> StatusResult<()> {
        let meta = &mut request.metadata;
        let path = Path::new("metadata");
        if let Some(given) = meta.name.as_deref().filter(|given| !given.is_empty() && *given != name) {
            let why = "must match the service account name if specified";
            return Err(invalid(name, vec![Error::invalid(&path.child("name"), given, why)]));
        }
        if let Some(given) =
            meta.namespace.as_deref().filter(|given| !given.is_empty() && *given != namespace)
        {
            let why = "must match the service account namespace if specified";
            return Err(invalid(name, vec![Error::invalid(&path.child("namespace"), given, why)]));
        }
        let account = self
            .reader
            .get(&SERVICE_ACCOUNTS, namespace, name)
            .ok_or_else(|| Status::not_found(&SERVICE_ACCOUNTS, name))?;
        if let Some(given) = meta.uid.as_deref().filter(|given| !given.is_empty() && *given != account.uid())
        {
            let why = format!(
                "the UID in the token request ({given}) does not match the UID of the service account ({})",
                account.uid()
            );
            return Err(Status::conflict(
                &GroupResource::new("authentication.k8s.io", "TokenRequest"),
                name,
                why,
            ));
        }
        meta.name = Some(name.to_owned());
        meta.namespace = Some(namespace.to_owned());
        meta.uid = Some(account.uid().to_owned());
        meta.creation_timestamp = Some(Time(now));
        request.status = None;
        let spec = request.spec.get_or_insert_default();
        if spec.audiences.as_ref().is_none_or(Vec::is_empty) {
            spec.audiences = Some(self.audiences.clone());
        }
        let seconds = *spec.expiration_seconds.get_or_insert(DEFAULT_SECONDS);
        let path = Path::new("spec").child("expirationSeconds");
        let mut errors = Vec::new();
        if seconds < MINIMUM_SECONDS {
            errors.push(Error::invalid(&path, &seconds, "may not specify a duration less than 10 minutes"));
        }
        if seconds > 1 << 32 {
            errors.push(Error::invalid(
                &path,
                &seconds,
                "may not specify a duration larger than 2^32 seconds",
            ));
        }
        if errors.is_empty() { Ok(()) } else { Err(invalid("", errors)) }
    }

    /// Issues the token of a request that [`Issuer::prepare`] filled and admission passed.
    ///
    /// # Errors
    /// Where the bound object does not exist, is another one, or is not the account's.
    pub fn issue(
        &self,
        namespace: &str,
        name: &str,
        mut request: TokenRequest,
        now: Timestamp,
    ) -> StatusResult<TokenIssued> {
        let mut bound = Bound {
            namespace: namespace.to_owned(),
            service_account: Reference {
                name: name.to_owned(),
                uid: request.metadata.uid.clone().unwrap_or_default(),
            },
            ..Bound::default()
        };
        let mut spec = request.spec.take().unwrap_or_default();
        if let Some(to) = &spec.bound_object_ref {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let (api_version, kind, bound_name) = (text(&to.api_version), text(&to.kind), text(&to.name));
            let find = |resource: &GroupResource, namespace: &str| {
                self.reader
                    .get(resource, namespace, &bound_name)
                    .ok_or_else(|| Status::not_found(resource, &bound_name))
            };
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            let object = match (group, &*kind) {
                ("", "Pod") => {
                    let object = find(&PODS, namespace)?;
                    let pod: PodHead = object.typed().map_err(Status::internal)?;
                    if pod.spec.service_account_name != name {
                        return Err(Status::bad_request(format!(
                            "cannot bind token for serviceaccount {name:?} to pod running with different \
                             serviceaccount name."
                        )));
                    }
                    if !pod.spec.node_name.is_empty() {
                        let node = self.reader.get(&NODES, "", &pod.spec.node_name);
                        let uid = node.map(|node| node.uid().to_owned()).unwrap_or_default();
                        bound.node = Some(Reference { name: pod.spec.node_name, uid });
                    }
                    bound.pod = Some(reference(&object));
                    object
                }
                ("", "Node") => {
                    let object = find(&NODES, "")?;
                    bound.node = Some(reference(&object));
                    object
                }
                ("", "Secret") => {
                    let object = find(&SECRETS, namespace)?;
                    bound.secret = Some(reference(&object));
                    object
                }
                _ => {
                    let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
                    return Err(Status::bad_request(why));
                }
            };
            if let Some(uid) = to.uid.as_deref().filter(|uid| !uid.is_empty() && *uid != object.uid()) {
                let why = format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object \
                     might have been deleted and then recreated"
                );
                let resource = GroupResource { group: group.to_owned().into(), resource: kind.into() };
                return Err(Status::conflict(&resource, &bound_name, why));
            }
        }
        let mut warnings = Vec::new();
        let mut seconds = spec.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        if self.max_expiration > 0 && seconds > self.max_expiration {
            warnings.push(format!(
                "requested expiration of {seconds} seconds shortened to {} seconds",
                self.max_expiration
            ));
            seconds = self.max_expiration;
            spec.expiration_seconds = Some(seconds);
        }
        let audiences = spec.audiences.clone().unwrap_or_default();
        let ours = audiences.iter().all(|a| self.audiences.contains(a));
        let mut lifetime = seconds;
        if self.extend && bound.pod.is_some() && seconds == EXTENDED_REQUEST && ours {
            bound.warn_after = Some(now.as_second() + seconds);
            lifetime = if self.max_expiration > 0 { EXTENSION.min(self.max_expiration) } else { EXTENSION };
        }
        let jti = uuid::Uuid::new_v4().to_string();
        let wire = Wire {
            aud: audiences,
            exp: Some(now.as_second() + lifetime),
            iat: Some(now.as_second()),
            iss: self.issuer.clone(),
            jti: jti.clone(),
            kubernetes: Some(bound),
            nbf: Some(now.as_second()),
            sub: service_account_user(namespace, name),
            ..Wire::default()
        };
        let payload = serde_json::to_vec(&wire).map_err(Status::internal)?;
        let token = self
            .signer
            .sign(&payload)
            .map_err(|e| Status::internal(format_args!("failed to generate token: {e}")))?;
        let expires = now.checked_add(SignedDuration::from_secs(seconds)).map_err(Status::internal)?;
        request.spec = Some(spec);
        request.status =
            Some(TokenRequestStatus { expiration_timestamp: Some(Time(expires)), token: Some(token) });
        Ok(TokenIssued { request, warnings, credential_id: credential_id(&jti) })
    }
}
