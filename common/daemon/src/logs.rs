//! Logging to standard error, in text or JSON, at upstream's verbosity levels.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// `--logging-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The logging flags every daemon takes.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// Number for the log level verbosity: 0 and 1 log what an operator needs, 2 adds steady-state changes,
    /// 4 adds debugging, 6 adds tracing of requests.
    #[arg(short = 'v', long = "v", default_value_t = 0, value_name = "Level")]
    pub v: i32,
    /// Sets the log format.
    #[arg(long = "logging-format", value_enum, default_value_t = Format::Text)]
    pub logging_format: Format,
}

/// Installs the process's subscriber. `RUST_LOG`, where set, wins over `-v`. A second call does nothing.
pub fn init(args: &LogArgs) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(directives(args.v)));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // An error says a subscriber is there already (tests share one process).
    let _ = match args.logging_format {
        Format::Text => builder.with_target(true).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// `-v` as filter directives. Libraries stay a level quieter than our own crates.
fn directives(v: i32) -> &'static str {
    match v {
        ..=3 => "info,kube_client=warn,hyper=warn,rustls=error,tower=warn,h2=warn,hickory_server=warn",
        4..=5 => "debug,kube_client=info,hyper=info,rustls=warn,tower=info,h2=info",
        6..=7 => "debug,h2=info,rustls=info",
        _ => "trace,h2=debug,rustls=debug,hyper=debug",
    }
}
