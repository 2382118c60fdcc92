//! kctl, the command line client: `kubectl`'s commands, flags, columns, messages and exit codes.
//!
//! Owns: flag parsing ([`flags`]), the kubeconfig ([`config`]), resource names and manifests ([`resources`]),
//! printers ([`print`]), `describe`, `why`, apply and the commands themselves.
//!
//! Tasks and channels: one current-thread runtime per run, started only for commands that speak to a server;
//! streams (exec, attach, port-forward) run as tasks on it.
//!
//! Refuses: knowledge of kinds beyond the shared scheme and the describers; deciding what a server will
//! accept. Whatever is not built in is found by discovery.

#[macro_use]
mod term;
mod apply;
mod commands;
mod config;
mod context;
mod describe;
mod error;
mod flags;
mod print;
mod resources;
mod rest;
mod why;

/// Runs one command line (without the program's name) and says the exit code.
pub fn run(args: Vec<String>) -> i32 {
    match commands::dispatch(args) {
        Ok(()) => 0,
        Err(e) => {
            let text = e.text();
            if !text.is_empty() {
                eprintln!("{}", text.trim_end_matches('\n'));
            }
            e.code()
        }
    }
}
