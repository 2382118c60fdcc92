//! The apiserver: the Kubernetes API over a store.
//!
//! Owns: flags and configuration ([`flags`], [`config`]), the filter chain ([`assemble`]), HTTP ([`http`]),
//! requests for resources ([`resources`]) and everything else ([`route`]), reaching kubelets ([`kubelet`]) and
//! the servers of other group versions ([`aggregation`]), and the work of starting up ([`start`]).
//!
//! Tasks: one per listener and connection ([`http::serve`]); one for starting up; one a remote
//! APIService; one that keeps services and their addresses in agreement ([`addresses`]); one for the
//! `kubernetes` ServiceCIDR ([`default_cidr`]). The watch cache, RBAC and the Node authorizer have their own. No channels of its own.
//!
//! Refuses: knowing a kind beyond its row in the scheme (strategies live in `gantry-registry`), and serving
//! without TLS or to anyone without an identity.

pub mod addresses;
pub mod aggregation;
pub mod assemble;
pub mod bootstrap;
pub mod config;
pub mod cx;
pub mod default_cidr;
pub mod escalation;
pub mod flags;
pub mod forms;
pub mod health;
pub mod http;
pub mod in_process;
pub mod kubelet;
pub mod legacy_tokens;
pub mod metrics;
pub mod policy;
pub mod published;
pub mod resources;
pub mod route;
pub mod select;
pub mod start;
pub mod tls;
pub mod trust;
