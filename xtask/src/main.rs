//! Repository tools: code generation from published API facts, and the house rules as a check.

mod codegen;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Repository tools: codegen, tidy.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the table of built-in schemas from published API facts.
    Codegen(codegen::Args),
    /// Check the house rules.
    Tidy(tidy::Flags),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Codegen(args) => codegen::run(&args),
        Command::Tidy(flags) => tidy::run(&flags),
    }
}
