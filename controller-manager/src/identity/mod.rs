//! Controllers that hand out identities and roles.

pub mod clusterrole_aggregation;
pub mod root_ca;
pub mod service_account;
