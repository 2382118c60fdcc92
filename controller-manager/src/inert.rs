//! Upstream's flags that are accepted and have no effect: what they tune does not exist here.

use gantry_daemon::inert::Flags;
use gantry_daemon::inert::Takes::{self, Bool, Value};

/// Those of this daemon alone. A flag that comes to mean something leaves the list.
#[derive(Clone, Debug)]
pub struct Unused;

impl Flags for Unused {
    const FLAGS: &'static [(&'static str, Takes)] = &[
        // Cloud providers and in-tree volume plugins have left the tree.
        ("cloud-config", Value),
        ("configure-cloud-routes", Bool),
        ("external-cloud-volume-plugin", Value),
        ("route-reconciliation-period", Value),
        ("enable-hostpath-provisioner", Bool),
        ("flex-volume-plugin-dir", Value),
        ("pv-recycler-increment-timeout-nfs", Value),
        ("pv-recycler-minimum-timeout-hostpath", Value),
        ("pv-recycler-minimum-timeout-nfs", Value),
        ("pv-recycler-pod-template-filepath-hostpath", Value),
        ("pv-recycler-pod-template-filepath-nfs", Value),
        ("pv-recycler-timeout-increment-hostpath", Value),
        // There is one allocator of node ranges.
        ("cidr-allocator-type", Value),
        // Nothing polls: these follow events.
        ("namespace-sync-period", Value),
        ("pvclaimbinder-sync-period", Value),
        ("controller-start-interval", Value),
        // Leases move with the whole daemon.
        ("enable-leader-migration", Bool),
        ("leader-migration-config", Value),
        ("concurrent-validating-admission-policy-status-syncs", Value),
        ("concurrent-resourceclaim-syncs", Value),
        ("concurrent-device-taint-eviction-syncs", Value),
        ("concurrent-service-syncs", Value),
        ("attach-detach-reconcile-sync-period", Value),
        ("disable-attach-detach-reconcile-sync", Bool),
        ("disable-force-detach-on-timeout", Bool),
        ("cloud-provider", Value),
        ("cluster-name", Value),
        ("min-resync-period", Value),
    ];
}
