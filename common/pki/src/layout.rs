//! Where a control plane's credentials lie: kubeadm's own names, so that either can take over from the other.

use std::path::{Path, PathBuf};

/// A directory laid out like `/etc/kubernetes`: kubeconfigs at the top, `pki/` below.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// Authorities: file stem below `pki/`, common name.
pub(crate) const CA: (&str, &str) = ("ca", "kubernetes");
pub(crate) const FRONT_PROXY_CA: (&str, &str) = ("front-proxy-ca", "front-proxy-ca");
pub(crate) const ETCD_CA: (&str, &str) = ("etcd/ca", "etcd-ca");

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `pki/<stem>.crt`
    pub fn cert(&self, stem: &str) -> PathBuf {
        self.root.join("pki").join(format!("{stem}.crt"))
    }

    /// `pki/<stem>.key`
    pub fn key(&self, stem: &str) -> PathBuf {
        self.root.join("pki").join(format!("{stem}.key"))
    }

    /// `<stem>.conf`
    pub fn kubeconfig(&self, stem: &str) -> PathBuf {
        self.root.join(format!("{stem}.conf"))
    }

    pub fn ca_cert(&self) -> PathBuf {
        self.cert("ca")
    }

    pub fn ca_key(&self) -> PathBuf {
        self.key("ca")
    }

    /// The private key service account tokens are signed with.
    pub fn sa_key(&self) -> PathBuf {
        self.key("sa")
    }

    /// The public keys service account tokens are verified with.
    pub fn sa_pub(&self) -> PathBuf {
        self.root.join("pki").join("sa.pub")
    }

    /// `admin.conf`: `kubernetes-admin` in `kubeadm:cluster-admins`.
    pub fn admin(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// `super-admin.conf`: `kubernetes-super-admin` in `system:masters`.
    pub fn super_admin(&self) -> PathBuf {
        self.kubeconfig("super-admin")
    }
}
