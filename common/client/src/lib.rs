//! The client stack of every daemon: kubeconfig and TLS, informers with indexes, work queue, leader election, events.
