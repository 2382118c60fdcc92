//! Controllers that hand out identities and roles.

pub mod bootstrap_signer;
pub mod clusterrole_aggregation;
pub mod csr_approving;
pub mod csr_cleaner;
pub mod csr_signing;
mod kubelet_requests;
pub mod legacy_token;
pub mod legacy_token_cleaner;
pub mod root_ca;
pub mod service_account;
pub mod token_cleaner;
