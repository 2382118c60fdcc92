//! The Store on etcd, in upstream key layout.
