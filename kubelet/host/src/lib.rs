//! The host under the kubelet: cgroups v1 and v2, mounts, /proc, machine facts.
