//! kctl: parse the command line, run one command, exit with its code.

fn main() {
    let args: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).skip(1).collect();
    std::process::exit(gantry_cli::run(args));
}
