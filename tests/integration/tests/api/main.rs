//! The API of a whole apiserver, over TLS, on real stores.

mod golden;
