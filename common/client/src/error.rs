//! Reading the API's refusals.

/// What an error from the API means to a controller.
pub trait ApiError {
    /// The HTTP status, where the server answered at all.
    fn code(&self) -> Option<u16>;
    /// The `reason` of the `Status`; empty where there is none.
    fn reason(&self) -> &str;

    fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    fn is_already_exists(&self) -> bool {
        self.code() == Some(409) && self.reason() == "AlreadyExists"
    }

    fn is_conflict(&self) -> bool {
        self.code() == Some(409) && self.reason() != "AlreadyExists"
    }
}

impl ApiError for kube::Error {
    fn code(&self) -> Option<u16> {
        match self {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }

    fn reason(&self) -> &str {
        match self {
            kube::Error::Api(status) => &status.reason,
            _ => "",
        }
    }
}

/// The error's text as upstream would log or report it: the `Status` message alone, where there is one.
pub fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
