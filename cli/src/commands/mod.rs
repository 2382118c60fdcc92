//! The table of commands, and from a command line to one of them.

mod api;
mod apply;
mod auth;
mod autoscale;
mod certificate;
pub mod change;
pub mod common;
mod completion;
mod config;
mod cp;
mod create;
mod delete;
mod describe;
mod diff;
mod drain;
mod edit;
pub mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod logs;
mod mark;
mod node;
mod patch;
pub mod pods;
mod port_forward;
mod rollout;
mod rollout_history;
mod run;
mod set;
mod table;
mod top;
mod version;
mod wait;
mod why;

use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::global::{self, Global};
use crate::flags::{Args, Flag, Takes};
use gantry_types::field::go_quote;
use std::future::Future;
use std::pin::Pin;

pub type Outcome = Result<()>;
type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// How a command runs.
#[derive(Clone, Copy)]
pub enum Run {
    /// Speaks to a server.
    Online(fn(Context, Args) -> Running),
    /// Needs no runtime.
    Local(fn(Global, Args) -> Outcome),
    /// Only has commands below it.
    Group(&'static [Command]),
    /// Speaks to a server, and has commands below it.
    Both(fn(Context, Args) -> Running, &'static [Command]),
}

/// One command.
pub struct Command {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub usage: &'static str,
    pub help: &'static str,
    pub flags: &'static [Flag],
    pub run: Run,
}

/// Takes the next command word off the arguments, leaving global flags before it.
fn take_word(args: &mut Vec<String>) -> Option<String> {
    let mut at = 0;
    while at < args.len() {
        let arg = &args[at];
        if arg == "--" {
            return None;
        }
        if !arg.starts_with('-') || arg == "-" {
            return Some(args.remove(at));
        }
        let known = match arg.strip_prefix("--") {
            Some(long) => global::FLAGS.iter().find(|f| f.long == long),
            None if arg.len() == 2 => global::FLAGS.iter().find(|f| f.short == arg.chars().nth(1)),
            None => None,
        };
        at += if known.is_some_and(|f| f.takes != Takes::Bool) { 2 } else { 1 };
    }
    None
}

/// Runs one command line.
///
/// # Errors
/// Whatever the command fails with.
pub fn dispatch(mut args: Vec<String>) -> Outcome {
    let Some(word) = take_word(&mut args) else {
        outln!("{}", overview());
        return Ok(());
    };
    if word == "__complete" {
        return completion::answer(&args);
    }
    if word == "help" {
        args.push("--help".into());
        return match take_word(&mut args) {
            Some(word) => descend(table::COMMANDS, &word, args, "kctl".into()),
            None => {
                outln!("{}", overview());
                Ok(())
            }
        };
    }
    descend(table::COMMANDS, &word, args, "kctl".into())
}

fn descend(commands: &'static [Command], word: &str, mut args: Vec<String>, path: String) -> Outcome {
    let Some(command) = commands.iter().find(|c| c.name == word || c.aliases.contains(&word)) else {
        return Err(message(format!(
            "unknown command {} for {}\nRun '{path} --help' for usage.",
            go_quote(word),
            go_quote(&path)
        )));
    };
    let path = format!("{path} {}", command.name);
    if let Run::Group(below) = command.run {
        return match take_word(&mut args) {
            Some(word) => descend(below, &word, args, path),
            None => {
                outln!("{}", help(command, &path));
                Ok(())
            }
        };
    }
    if let Run::Both(_, below) = command.run {
        let mut rest = args.clone();
        if let Some(word) = take_word(&mut rest)
            && below.iter().any(|c| c.name == word || c.aliases.contains(&word.as_str()))
        {
            return descend(below, &word, rest, path);
        }
    }
    let parsed = Args::parse(&args, &[command.flags, global::FLAGS], &path)?;
    if parsed.on("help") {
        outln!("{}", help(command, &path));
        return Ok(());
    }
    let global = Global::read(&parsed)?;
    match command.run {
        Run::Local(run) => run(global, parsed),
        Run::Online(run) | Run::Both(run, _) => {
            let strict = global.warnings_as_errors;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let outcome = runtime.block_on(run(Context::new(global), parsed));
            // Tasks still reading standard input must not hold up the end.
            runtime.shutdown_background();
            match crate::rest::warnings() {
                0 => outcome,
                n if strict && outcome.is_ok() => {
                    Err(message(format!("{n} warning{} received", if n == 1 { "" } else { "s" })))
                }
                _ => outcome,
            }
        }
        Run::Group(_) => Ok(()),
    }
}

fn overview() -> String {
    let width = table::COMMANDS.iter().map(|c| c.name.len()).max().unwrap_or_default() + 2;
    let lines: Vec<String> =
        table::COMMANDS.iter().map(|c| format!("  {:width$}{}", c.name, c.help)).collect();
    format!(
        "kctl controls the Kubernetes cluster manager.\n\nCommands:\n{}\n\nUsage:\n  kctl [flags] [options]\n\nUse \"kctl <command> --help\" for more information about a given command.",
        lines.join("\n")
    )
}

fn help(command: &Command, path: &str) -> String {
    let mut text = format!("{}\n\nUsage:\n  {path} {}", command.help, command.usage);
    if let Run::Group(below) | Run::Both(_, below) = command.run {
        let width = below.iter().map(|c| c.name.len()).max().unwrap_or_default() + 2;
        text.push_str("\n\nAvailable Commands:");
        for c in below {
            text.push_str(&format!("\n  {:width$}{}", c.name, c.help));
        }
    }
    if !command.flags.is_empty() {
        text.push_str("\n\nOptions:");
        for f in command.flags {
            let short = f.short.map_or_else(|| "    ".to_owned(), |c| format!("-{c}, "));
            let default = match (f.takes, f.default) {
                (Takes::Bool, "") => "false".to_owned(),
                (Takes::List | Takes::Array, _) => "[]".to_owned(),
                (Takes::Text | Takes::Optional(_), d) => format!("'{d}'"),
                (_, d) => d.to_owned(),
            };
            text.push_str(&format!("\n    {short}--{}={default}:\n\t{}\n", f.long, f.help));
        }
    }
    text
}

/// Refuses operands where a command takes none.
///
/// # Errors
/// Where there are any.
pub fn no_operands(args: &Args, command: &str) -> Outcome {
    match args.operands.as_slice() {
        [] => Ok(()),
        more => Err(Error::Message(format!(
            "Unexpected args: [{}]\nSee 'kctl {command} -h' for help and examples",
            more.join(" ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_words_are_found_behind_global_flags() {
        let check = |line: &str, word: &str, rest: &str| {
            let mut args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let got = take_word(&mut args).unwrap_or_default();
            assert_eq!((got.as_str(), args.join(" ").as_str()), (word, rest), "{line}");
        };
        check("get pods", "get", "pods");
        check("-n x get pods", "get", "-n x pods");
        check("--kubeconfig=f --context c -nx logs p", "logs", "--kubeconfig=f --context c -nx p");
        check("--insecure-skip-tls-verify get", "get", "--insecure-skip-tls-verify");
        check("--help", "", "--help");
    }

    #[test]
    fn names_and_flags_are_unique() {
        fn walk(commands: &[Command]) {
            let mut names = std::collections::BTreeSet::new();
            for c in commands {
                for n in std::iter::once(&c.name).chain(c.aliases) {
                    assert!(names.insert(*n), "{n} twice");
                }
                let mut flags = std::collections::BTreeSet::new();
                for f in c.flags {
                    assert!(flags.insert(f.long.to_owned()), "{} --{} twice", c.name, f.long);
                    if let Some(s) = f.short {
                        assert!(flags.insert(s.to_string()), "{} -{s} twice", c.name);
                    }
                    assert!(!global::FLAGS.iter().any(|g| g.long == f.long), "{} --{}", c.name, f.long);
                }
                if let Run::Group(below) | Run::Both(_, below) = c.run {
                    walk(below);
                }
            }
        }
        walk(table::COMMANDS);
    }
}
