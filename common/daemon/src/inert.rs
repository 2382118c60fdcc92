//! Upstream's flags that are taken so that its command lines and manifests work unchanged, and that say nothing here.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use std::marker::PhantomData;

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `--flag` or `--flag=false`.
    Bool,
    Value,
}

/// A daemon's list of such flags.
pub trait Flags: Clone + Send + Sync + 'static {
    const FLAGS: &'static [(&'static str, Takes)];
}

/// Those every daemon of the control plane has: logs go to one stream at once, features are as they are, and who asks
/// at the secure port is the apiserver's to say.
#[derive(Clone, Debug)]
pub struct ControlPlane;

impl Flags for ControlPlane {
    const FLAGS: &'static [(&'static str, Takes)] = &[
        ("allow-metric-labels", Takes::Value),
        ("allow-metric-labels-manifest", Takes::Value),
        ("authentication-skip-lookup", Takes::Bool),
        ("authentication-token-webhook-cache-ttl", Takes::Value),
        ("authentication-tolerate-lookup-failure", Takes::Bool),
        ("authorization-always-allow-paths", Takes::Value),
        ("authorization-webhook-cache-authorized-ttl", Takes::Value),
        ("authorization-webhook-cache-unauthorized-ttl", Takes::Value),
        ("cert-dir", Takes::Value),
        ("contention-profiling", Takes::Bool),
        ("disable-http2-serving", Takes::Bool),
        ("disabled-metrics", Takes::Value),
        ("emulated-version", Takes::Value),
        ("feature-gates", Takes::Value),
        ("http2-max-streams-per-connection", Takes::Value),
        ("kube-api-burst", Takes::Value),
        ("kube-api-content-type", Takes::Value),
        ("kube-api-qps", Takes::Value),
        ("log-flush-frequency", Takes::Value),
        ("log-json-info-buffer-size", Takes::Value),
        ("log-json-split-stream", Takes::Bool),
        ("log-text-info-buffer-size", Takes::Value),
        ("log-text-split-stream", Takes::Bool),
        ("min-compatibility-version", Takes::Value),
        ("permit-address-sharing", Takes::Bool),
        ("permit-port-sharing", Takes::Bool),
        ("profiling", Takes::Bool),
        ("requestheader-allowed-names", Takes::Value),
        ("requestheader-client-ca-file", Takes::Value),
        ("requestheader-extra-headers-prefix", Takes::Value),
        ("requestheader-group-headers", Takes::Value),
        ("requestheader-uid-headers", Takes::Value),
        ("requestheader-username-headers", Takes::Value),
        ("show-hidden-metrics-for-version", Takes::Value),
        ("tls-cipher-suites", Takes::Value),
        ("tls-curve-preferences", Takes::Value),
        ("tls-min-version", Takes::Value),
        ("tls-sni-cert-key", Takes::Value),
        ("unsupported-kube-api-over-localhost", Takes::Bool),
        ("vmodule", Takes::Value),
    ];
}

/// The list as clap arguments, to be flattened into a daemon's own.
#[derive(Clone, Debug)]
pub struct Inert<F> {
    given: Vec<&'static str>,
    of: PhantomData<F>,
}

impl<F: Flags> Inert<F> {
    /// The flags given, without their dashes.
    pub fn given(&self) -> &[&'static str] {
        &self.given
    }

    /// Tells the log, once, what was given to no effect.
    pub fn note(&self) {
        if !self.given.is_empty() {
            let flags: Vec<String> = self.given.iter().map(|f| format!("--{f}")).collect();
            tracing::warn!(flags = flags.join(" "), "these flags are accepted and have no effect");
        }
    }
}

impl<F: Flags> FromArgMatches for Inert<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |name: &&str| matches.contains_id(name);
        let given = F::FLAGS.iter().map(|(name, _)| *name).filter(given).collect();
        Ok(Self { given, of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<F: Flags> Args for Inert<F> {
    fn augment_args(command: Command) -> Command {
        let args = F::FLAGS.iter().map(|(name, takes)| {
            let arg = Arg::new(*name).long(*name).action(ArgAction::Append).help("Accepted; has no effect");
            match takes {
                Takes::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                Takes::Value => arg.num_args(1).allow_hyphen_values(true),
            }
        });
        command.args(args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Clone, Debug)]
    struct Two;

    impl Flags for Two {
        const FLAGS: &'static [(&'static str, Takes)] = &[("quiet", Takes::Bool), ("speed", Takes::Value)];
    }

    #[derive(Debug, Parser)]
    struct Line {
        #[arg(long)]
        own: Option<String>,
        #[command(flatten)]
        inert: Inert<Two>,
    }

    #[test]
    fn flags_are_taken_and_told() {
        let check = |line: &[&str], want: &[&str]| {
            let line = Line::try_parse_from([&["daemon"], line].concat()).unwrap();
            assert_eq!((line.inert.given(), line.own.as_deref()), (want, Some("x")));
        };
        check(&["--own=x"], &[]);
        check(&["--quiet", "--own=x"], &["quiet"]);
        check(&["--quiet=false", "--speed", "-1", "--speed=2", "--own", "x"], &["quiet", "speed"]);
        assert!(Line::try_parse_from(["daemon", "--loud"]).is_err());
        assert!(Line::try_parse_from(["daemon", "--speed"]).is_err());
    }
}
