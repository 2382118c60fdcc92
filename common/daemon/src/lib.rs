//! What every daemon needs around its work: flags and files, logs, metrics, health, shutdown, clock.
//!
//! Owns: the process's log subscriber ([`logs`]), its stop signal ([`shutdown`]), its metrics page
//! ([`metrics`]), its health checks ([`health`]), the TLS port they are served from ([`tls`], [`serving`],
//! [`ops`]), configuration files ([`config_file`]), build information ([`version`]) and time ([`clock`]).
//!
//! Tasks: one waiting for signals ([`shutdown::install`]); one per listener and one per connection
//! ([`serving::serve`]). No timers: certificate files are looked at again on a handshake, never polled.
//!
//! Refuses: knowing any kind of the API, and any way of serving without TLS except for a listener that the
//! caller opened as plain on purpose (loopback health ports).

pub mod clock;
pub mod config_file;
pub mod health;
pub mod inert;
pub mod logs;
pub mod metrics;
pub mod ops;
pub mod process;
pub mod serving;
pub mod shutdown;
pub mod tls;
pub mod version;

pub use clock::{Clock, FakeClock, RealClock};
pub use tokio_util::sync::CancellationToken;
