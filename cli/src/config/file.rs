//! Kubeconfig files as documents, for commands that change them.
