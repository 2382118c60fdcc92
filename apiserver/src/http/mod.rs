//! HTTP: connections, what requests ask for, and how answers are written.

pub mod body;
pub mod cork;
pub mod decode;
pub mod inflight;
pub mod json;
pub mod list;
pub mod negotiate;
pub mod query;
pub mod request_info;
pub mod respond;
pub mod serve;
pub mod watch;
