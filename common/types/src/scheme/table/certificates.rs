//! `certificates.k8s.io`.

use super::Kind;

pub(super) const KINDS: &[Kind] = &[];
