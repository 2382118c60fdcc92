//! Paths inside volumes.

use crate::kinds::prelude::*;

pub const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Relative and without `..`.
pub fn local_descending(target: &str, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if target.starts_with('/') {
        errs.push(Error::invalid(path, target, "must be a relative path"));
    }
    errs.extend(no_backsteps(target, path));
    errs
}

pub fn no_backsteps(target: &str, path: &Path) -> Option<Error> {
    target.split('/').any(|part| part == "..").then(|| Error::invalid(path, target, "must not contain '..'"))
}

/// As [`local_descending`], and not hidden behind two dots.
pub fn local_non_reserved(target: &str, path: &Path) -> ErrorList {
    let mut errs = local_descending(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        errs.push(Error::invalid(path, target, "must not start with '..'"));
    }
    errs
}

/// File permission bits.
pub fn mode(mode: Option<i32>, path: &Path) -> Option<Error> {
    mode.filter(|m| !(0..=0o777).contains(m)).map(|m| Error::invalid(path, &m, FILE_MODE))
}
