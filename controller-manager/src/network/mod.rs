//! Controllers that say where traffic goes.

pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod nodeipam;
pub mod service_cidr;
mod subsets;
pub mod ttl;
