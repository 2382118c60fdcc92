//! Rules about the text of files.

use super::Violation;

const WARN_LINES: usize = 600;
const MOST_LINES: usize = 1000;
const MOST_MAIN_LINES: usize = 60;
/// Folders that may speak of JSON trees; the rest use types and `Document`.
const TREES: &[&str] =
    &["common/types/", "common/machinery/", "apiserver/openapi/", "apiserver/extension/", "xtask/"];

/// Rules for every file.
pub fn check_any(file: &str, text: &str, violations: &mut Vec<Violation>) {
    // Split so that this very line is not one.
    let machine = concat!("/wo", "rk/");
    if text.lines().any(|l| l.contains(machine)) {
        violations.push(Violation { place: file.into(), rule: "names a path of somebody's machine" });
    }
    if text.contains(concat!("BEGIN RSA PRIV", "ATE KEY"))
        || text.contains(concat!("BEGIN PRIV", "ATE KEY")) && !file.ends_with(".rs")
    {
        violations.push(Violation { place: file.into(), rule: "holds a private key" });
    }
}

/// Rules for Rust.
pub fn check_rust(file: &str, text: &str, violations: &mut Vec<Violation>, warnings: &mut Vec<String>) {
    let mut broken = |line: usize, rule| violations.push(Violation { place: format!("{file}:{line}"), rule });
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[ignore") {
            broken(i + 1, "an ignored test proves nothing");
        }
    }
    let name = file.rsplit('/').next().unwrap_or_default();
    if matches!(name, "lib.rs" | "main.rs") && !text.starts_with("//!") && !is_test(file) {
        broken(1, "a crate begins with a doc comment: what it owns, its tasks and channels, what it refuses");
    }
    if is_test(file) {
        return;
    }
    let code: Vec<&str> = text
        .lines()
        .take_while(|l| !l.trim_start().starts_with("#[cfg(test)]") || !opens_module(text, l))
        .collect();
    if code.len() > MOST_LINES {
        broken(MOST_LINES, "over 1,000 lines: split it along its seams");
    } else if code.len() > WARN_LINES {
        warnings.push(format!("{file}: {} lines, the habit is 100 to 300", code.len()));
    }
    if name == "main.rs"
        && !file.starts_with("xtask")
        && !file.starts_with("deploy")
        && code.len() > MOST_MAIN_LINES
    {
        broken(MOST_MAIN_LINES, "main.rs within 60 lines: parse, resolve, assemble, run, drain");
    }
    for (i, line) in code.iter().enumerate() {
        let bare = line.trim_start();
        if bare.starts_with("//") {
            continue;
        }
        let explained = || {
            line.contains("//") || i.checked_sub(1).is_some_and(|p| code[p].trim_start().starts_with("//"))
        };
        if (bare.contains(concat!(".unw", "rap()")) || bare.contains(concat!(".exp", "ect("))) && !explained()
        {
            broken(i + 1, "unwrap and expect outside tests need a sentence on why they cannot fail");
        }
        if bare.contains("serde_json::Value") && !TREES.iter().any(|t| file.starts_with(t)) {
            broken(
                i + 1,
                "JSON trees stay in types, machinery, openapi and extension: use a type or Document",
            );
        }
    }
}

fn is_test(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or_default();
    file.contains("/tests/")
        || file.starts_with("tests/")
        || file.contains("testkit")
        || name == "tests.rs"
        || name == "suite.rs"
        || name.ends_with("_tests.rs")
        || file.contains("/suite/")
}

/// Whether the attribute line stands before an inline test module (the rest of the file), not before one item.
fn opens_module(text: &str, attribute: &str) -> bool {
    let Some(at) = text.find(attribute) else { return false };
    let next = text[at..].lines().nth(1).unwrap_or_default();
    next.contains("mod ") && next.contains('{')
}
