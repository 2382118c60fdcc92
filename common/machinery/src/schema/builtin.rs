//! The built-in kinds, read from the generated table at first use.

use super::{Builder, Schemas};
use std::sync::LazyLock;

static BUILTIN: LazyLock<Schemas> = LazyLock::new(|| Builder::default().finish());

/// The schemas of every built-in kind.
pub fn builtin() -> &'static Schemas {
    &BUILTIN
}
