//! Controllers that say where traffic goes.

pub mod endpointslice;
pub mod nodeipam;
