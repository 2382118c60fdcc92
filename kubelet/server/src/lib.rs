//! The kubelet HTTPS server: logs, exec, attach, port-forward, stats, pods, metrics.
