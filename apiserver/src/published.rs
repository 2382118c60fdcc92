//! What the server tells about itself: discovery, OpenAPI and the keys of its tokens.

use crate::cx::Cx;
use crate::http::respond::Answer;
use gantry_auth::token::Discovery as TokenKeys;
use gantry_types::StatusResult;

/// Documents made once.
pub struct Published {
    pub tokens: Option<TokenKeys>,
}

impl Published {
    pub fn new(tokens: Option<TokenKeys>) -> Self {
        Self { tokens }
    }

    /// The answer, where the path is one of discovery's or OpenAPI's.
    ///
    /// # Errors
    /// `NotAcceptable`, and 405 for anything but reads.
    pub fn discovery(&self, _cx: &Cx) -> StatusResult<Option<Answer>> {
        Ok(None)
    }
}
