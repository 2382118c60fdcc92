//! Repository tools.

mod codegen;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Repository tools: codegen, tidy, ci.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the table of built-in schemas from published API facts.
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Codegen(args) => codegen::run(&args),
    }
}
