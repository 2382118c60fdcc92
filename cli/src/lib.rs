//! kctl, the command line client.
