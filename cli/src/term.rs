//! Standard output that ends the program quietly when its reader went away, and the terminal's state.

use std::fmt::Arguments;
use std::io::{IsTerminal, Write};

/// Writes to standard output and flushes; a closed pipe ends the program, as it ends every filter.
pub fn write(args: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if out.write_fmt(args).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Raw bytes to standard output.
pub fn bytes(data: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(data).and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// All of standard input.
///
/// # Errors
/// Where it cannot be read.
pub fn read_stdin() -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut all)?;
    Ok(all)
}

macro_rules! out {
    ($($t:tt)*) => { $crate::term::write(format_args!($($t)*)) };
}

macro_rules! outln {
    () => { $crate::term::write(format_args!("\n")) };
    ($($t:tt)+) => { $crate::term::write(format_args!("{}\n", format_args!($($t)+))) };
}
