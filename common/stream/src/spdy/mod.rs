//! SPDY/3.1 as remote commands use it: the client's end of a connection to a kubelet or runtime.
//!
//! The servers this talks to neither send nor honour per-stream windows, so none are kept: the connection's own
//! backpressure is all there is, as with upstream's client. Header blocks going out are stored, not
//! deflated, in a zlib stream without a dictionary (which every inflater takes); those coming in hold nothing a
//! remote command needs and are skipped.

pub mod frame;
pub mod session;

pub use frame::{Frame, FrameError};
pub use session::{Connected, Incoming, Reader, Refused, Writer, connect};
