//! `completion`: scripts for shells, and the words they ask for (`__complete`).

use super::{Command, Outcome, Run, table};
use crate::error::{message, usage};
use crate::flags::global::{self, Global};
use crate::flags::{Args, Flag, Takes};
use gantry_types::scheme;

const BASH: &str = r#"_kctl() {
  local IFS=$'\n'
  COMPREPLY=($(kctl __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _kctl kctl
"#;
const ZSH: &str = "autoload -U +X bashcompinit && bashcompinit\n";
const FISH: &str =
    "complete -c kctl -f -a '(kctl __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'\n";

/// Prints the script for a shell.
///
/// # Errors
/// Another shell, or not exactly one.
pub fn run(_: Global, args: Args) -> Outcome {
    match args.operands.as_slice() {
        [] => Err(usage("completion", "Shell not specified.")),
        [shell] => match shell.as_str() {
            "bash" => {
                out!("{BASH}");
                Ok(())
            }
            "zsh" => {
                out!("{ZSH}{BASH}");
                Ok(())
            }
            "fish" => {
                out!("{FISH}");
                Ok(())
            }
            other => Err(message(format!("Unsupported shell type \"{other}\"."))),
        },
        _ => Err(usage("completion", "Too many arguments. Expected only the shell type.")),
    }
}

/// Prints what may stand in place of the last word, one a line.
///
/// # Errors
/// None.
pub fn answer(words: &[String]) -> Outcome {
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    for word in candidates(table::COMMANDS, words) {
        outln!("{word}");
    }
    Ok(())
}

/// What may stand in place of the last word.
fn candidates(commands: &'static [Command], words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else { return Vec::new() };
    let (mut below, mut flags): (&'static [Command], &'static [Flag]) = (commands, &[]);
    let (mut operands, mut kinds) = (0, false);
    let mut rest = before.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            return Vec::new();
        }
        if word.starts_with('-') {
            let takes_next = !word.contains('=')
                && flags.iter().chain(global::FLAGS).any(|f| named(f, word) && takes_word(f));
            if takes_next && rest.next().is_none() {
                // The word to complete is the flag's value.
                return Vec::new();
            }
        } else if let Some(found) =
            below.iter().find(|c| c.name == word || c.aliases.contains(&word.as_str()))
        {
            below = match found.run {
                Run::Group(b) | Run::Both(_, b) => b,
                Run::Online(_) | Run::Local(_) => &[],
            };
            flags = found.flags;
            kinds = found.usage.contains("TYPE");
        } else {
            operands += 1;
        }
    }
    let mut out: Vec<String> = if last.starts_with('-') {
        flags.iter().chain(global::FLAGS).map(|f| format!("--{}", f.long)).collect()
    } else if operands > 0 {
        Vec::new()
    } else if below.is_empty() && kinds {
        scheme::KINDS.iter().map(|k| k.plural.to_owned()).collect()
    } else {
        below.iter().map(|c| c.name.to_owned()).collect()
    };
    out.retain(|w| w.starts_with(last.as_str()));
    out.sort();
    out.dedup();
    out
}

fn named(flag: &Flag, word: &str) -> bool {
    match word.strip_prefix("--") {
        Some(long) => flag.long == long,
        None => word.chars().nth(1) == flag.short && word.chars().count() == 2,
    }
}

/// Whether the flag's value is the next word.
fn takes_word(flag: &Flag) -> bool {
    matches!(flag.takes, Takes::Text | Takes::List | Takes::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed() {
        let check = |line: &str, expected: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(candidates(table::COMMANDS, &words).join(" "), expected, "{line}");
        };
        check("desc", "describe");
        check("-n x desc", "describe");
        check("-n desc", "");
        check("create q", "quota");
        check("create secret t", "tls");
        check("get deployments", "deployments");
        check("get deploymentsx ", "");
        check("drain --ignore", "--ignore-daemonsets");
        check("get -o y", "");
        check("exec p -- l", "");
    }
}
