//! Certificate authorities, signing, rotation and kubeconfigs.
//!
//! Owns: making and loading authorities and signing with them ([`ca`], others' requests in [`csr`]), reading private and public keys in
//! every PEM form kubeadm and openssl write ([`keys`]), the files of a control plane laid out as kubeadm's
//! `/etc/kubernetes` ([`layout`]), keeping that directory whole and unexpired ([`ensure`]), kubeconfigs with
//! embedded credentials ([`kubeconfig`]), signed tokens ([`jws`]), and checking chains ([`verify`]).
//!
//! No tasks, no channels: functions of their arguments and of the files named. Refuses: the network, knowledge
//! of any API object, and readable private keys (they are written 0600, atomically).

pub mod ca;
pub mod csr;
pub mod ensure;
mod error;
mod files;
pub mod jws;
pub mod keys;
pub mod kubeconfig;
pub mod layout;
pub mod verify;

pub use ca::{Ca, Issued, Profile, Usage};
pub use ensure::{Cluster, Report, ensure};
pub use error::Error;
pub use files::{read, write_private, write_public};
pub use layout::Layout;

/// A day, for lifetimes.
pub const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
/// How long authorities last, as kubeadm's do.
pub const CA_LIFETIME: std::time::Duration = DAY.saturating_mul(3650);
/// How long leaf certificates last, as kubeadm's do.
pub const LEAF_LIFETIME: std::time::Duration = DAY.saturating_mul(365);
