//! Service account tokens: a kubelet requests them for its pods, for audiences its pods name.

use super::NodeRestriction;
use crate::{forbidden, resources, typed};
use gantry_registry::admission::{Operation, Request};
use gantry_types::user::Attributes;
use gantry_types::{GroupResource, Status, StatusResult};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::CSIDriver;

impl NodeRestriction {
    pub(super) fn admit_token(&self, node: &str, request: &Request<'_>) -> StatusResult<()> {
        if request.operation != Operation::Create || request.subresource != "token" {
            return Ok(());
        }
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let token: TokenRequest = object.to_typed().map_err(|e| Status::bad_request(e.to_string()))?;
        let spec = token.spec.unwrap_or_default();
        let bound = spec.bound_object_ref.unwrap_or_default();
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (name, uid) = (text(&bound.name), text(&bound.uid));
        if text(&bound.api_version) != "v1" || text(&bound.kind) != "Pod" || name.is_empty() {
            return Err(forbidden(request, "node requested token not bound to a pod"));
        }
        if uid.is_empty() {
            return Err(forbidden(request, "node requested token with a pod binding without a uid"));
        }
        let stored = self.pod(request.namespace, &name)?;
        if uid != stored.uid() {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            );
            return Err(forbidden(request, why));
        }
        let pod: Pod = typed(&stored)?;
        if pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) != Some(node) {
            let why = "node requested token bound to a pod scheduled on a different node";
            return Err(forbidden(request, why));
        }
        self.check_audience(request, &spec.audiences.unwrap_or_default(), &pod)
    }

    fn check_audience(&self, request: &Request<'_>, audiences: &[String], pod: &Pod) -> StatusResult<()> {
        let audience = match audiences {
            [] => "",
            [one] => one,
            _ => return Err(forbidden(request, "node may only request 0 or 1 audiences")),
        };
        match self.pod_names_audience(pod, audience) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => {
                let audience = super::q(audience);
                return Err(forbidden(request, format_args!("error validating audience {audience}: {why}")));
            }
        }
        let asked = Attributes {
            user: request.user.clone(),
            verb: "request-serviceaccounts-token-audience".to_owned(),
            version: "v1".to_owned(),
            // The audience stands where the resource does, the account where its name does.
            resource: audience.to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.name.to_owned(),
            resource_request: true,
            ..Attributes::default()
        };
        if self.authorizer.authorize(&asked).allowed() {
            return Ok(());
        }
        let why = format!(
            "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            super::q(audience),
            request.user.name
        );
        Err(forbidden(request, why))
    }

    fn pod_names_audience(&self, pod: &Pod, audience: &str) -> Result<bool, String> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut errors = Vec::new();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
            let mut tokens = sources.filter_map(|s| s.service_account_token.as_ref());
            if tokens.any(|t| t.audience.as_deref().unwrap_or_default() == audience) {
                return Ok(true);
            }
            match self.driver_of(volume, namespace, name).and_then(|driver| match driver {
                Some(driver) => self.driver_names_audience(&driver, audience),
                None => Ok(false),
            }) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(status) => errors.push(status.message().to_owned()),
            }
        }
        match &errors[..] {
            [] => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    /// The CSI driver behind a volume, if any.
    fn driver_of(&self, volume: &Volume, namespace: &str, pod: &str) -> StatusResult<Option<String>> {
        if let Some(csi) = &volume.csi {
            return Ok(Some(csi.driver.clone()));
        }
        let claim = if volume.ephemeral.is_some() {
            format!("{pod}-{}", volume.name)
        } else if let Some(source) = &volume.persistent_volume_claim {
            source.claim_name.clone()
        } else {
            return Ok(None);
        };
        let missing = |kind: &'static str, name: &str| Status::not_found(&GroupResource::new("", kind), name);
        let object = self
            .reader
            .get(&resources::PERSISTENT_VOLUME_CLAIMS, namespace, &claim)
            .ok_or_else(|| missing("persistentvolumeclaim", &claim))?;
        let claim: PersistentVolumeClaim = typed(&object)?;
        let bound = claim.spec.and_then(|s| s.volume_name).unwrap_or_default();
        let object = self
            .reader
            .get(&resources::PERSISTENT_VOLUMES, "", &bound)
            .ok_or_else(|| missing("persistentvolume", &bound))?;
        let bound: PersistentVolume = typed(&object)?;
        Ok(bound.spec.and_then(|s| s.csi).map(|csi| csi.driver))
    }

    fn driver_names_audience(&self, driver: &str, audience: &str) -> StatusResult<bool> {
        let missing = || Status::not_found(&GroupResource::new("storage.k8s.io", "csidriver"), driver);
        let object = self.reader.get(&resources::CSI_DRIVERS, "", driver).ok_or_else(missing)?;
        let driver: CSIDriver = typed(&object)?;
        Ok(driver.spec.token_requests.iter().flatten().any(|t| t.audience == audience))
    }
}
