//! Certificate authorities, signing, rotation and kubeconfigs.
