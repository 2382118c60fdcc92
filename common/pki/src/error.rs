use std::path::PathBuf;

/// What can go wrong with keys, certificates and their files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{what}: {why}")]
    Malformed { what: String, why: String },
    #[error("signing: {0}")]
    Sign(#[from] rcgen::Error),
    #[error("{0}")]
    Refused(String),
    #[error("certificate does not verify: {0}")]
    Untrusted(#[from] rustls::Error),
}

impl Error {
    pub(crate) fn malformed(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what: what.into(), why: why.to_string() }
    }
}
