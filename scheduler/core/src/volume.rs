//! The volumes of a pod, as far as they bear on where it may go.

use k8s_openapi::api::core::v1::{Pod, Volume};

/// A claim a pod uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimUse {
    pub name: Box<str>,
    /// An ephemeral volume: the claim must be the pod's own. Its name and UID.
    pub owner: Option<(Box<str>, Box<str>)>,
}

/// A disk named in the pod itself that not every combination of pods may share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Disk {
    Gce { name: String, read_only: bool },
    Ebs { id: String },
    Iscsi { iqn: String, read_only: bool },
    Rbd { monitors: Vec<String>, pool: String, image: String, read_only: bool },
}

impl Disk {
    fn of(v: &Volume) -> Option<Self> {
        if let Some(d) = &v.gce_persistent_disk {
            return Some(Self::Gce { name: d.pd_name.clone(), read_only: d.read_only.unwrap_or(false) });
        }
        if let Some(d) = &v.aws_elastic_block_store {
            return Some(Self::Ebs { id: d.volume_id.clone() });
        }
        if let Some(d) = &v.iscsi {
            return Some(Self::Iscsi { iqn: d.iqn.clone(), read_only: d.read_only.unwrap_or(false) });
        }
        v.rbd.as_ref().map(|d| Self::Rbd {
            monitors: d.monitors.clone(),
            pool: d.pool.clone().unwrap_or_default(),
            image: d.image.clone(),
            read_only: d.read_only.unwrap_or(false),
        })
    }

    /// Whether two pods with these cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gce { name: a, read_only: ra }, Self::Gce { name: b, read_only: rb })
            | (Self::Iscsi { iqn: a, read_only: ra }, Self::Iscsi { iqn: b, read_only: rb }) => {
                a == b && !(*ra && *rb)
            }
            (Self::Ebs { id: a }, Self::Ebs { id: b }) => a == b,
            (
                Self::Rbd { monitors: ma, pool: pa, image: ia, read_only: ra },
                Self::Rbd { monitors: mb, pool: pb, image: ib, read_only: rb },
            ) => ma.iter().any(|m| mb.contains(m)) && pa == pb && ia == ib && !(*ra && *rb),
            _ => false,
        }
    }
}

/// What of a pod's volumes matters here.
#[derive(Clone, Debug, Default)]
pub struct PodVolumes {
    pub claims: Box<[ClaimUse]>,
    pub disks: Box<[Disk]>,
    /// Drivers of CSI volumes written into the pod.
    pub inline_csi: Box<[Box<str>]>,
    /// References of image volumes.
    pub images: Box<[Box<str>]>,
}

impl PodVolumes {
    pub fn new(pod: &Pod) -> Self {
        let list = || pod.spec.as_ref().and_then(|s| s.volumes.as_ref()).into_iter().flatten();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let claim = |v: &Volume| match (&v.persistent_volume_claim, &v.ephemeral) {
            (Some(c), _) => Some(ClaimUse { name: c.claim_name.as_str().into(), owner: None }),
            (None, Some(_)) => Some(ClaimUse {
                name: format!("{name}-{}", v.name).into(),
                owner: Some((name.into(), uid.into())),
            }),
            _ => None,
        };
        Self {
            claims: list().filter_map(claim).collect(),
            disks: list().filter_map(Disk::of).collect(),
            inline_csi: list().filter_map(|v| Some(v.csi.as_ref()?.driver.as_str().into())).collect(),
            images: list().filter_map(|v| Some(v.image.as_ref()?.reference.as_deref()?.into())).collect(),
        }
    }
}
