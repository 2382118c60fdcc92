//! Kubeconfig files as documents, for commands that show and change them.

use crate::error::{Result, message};
use crate::flags::global::Global;
use crate::print::yaml;
use gantry_machinery::patch::strategic::Object;
use gantry_machinery::validate::yaml_to_json;
use gantry_types::Document;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A named list of a kubeconfig and what an entry is called in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Clusters,
    Users,
    Contexts,
}

impl List {
    pub fn plural(self) -> &'static str {
        match self {
            Self::Clusters => "clusters",
            Self::Users => "users",
            Self::Contexts => "contexts",
        }
    }

    pub fn singular(self) -> &'static str {
        match self {
            Self::Clusters => "cluster",
            Self::Users => "user",
            Self::Contexts => "context",
        }
    }
}

/// One file, or an empty configuration where there is none.
///
/// # Errors
/// A broken file.
pub fn read(path: &Path) -> Result<Document> {
    let mut d = match std::fs::read(path) {
        Ok(data) => {
            let wrong = |e: String| message(format!("error loading config file \"{}\": {e}", path.display()));
            let (json, _) = yaml_to_json(&data).map_err(|e| wrong(e.to_string()))?;
            if json == b"null" {
                Document::default()
            } else {
                Document::from_json(&json).map_err(|e| wrong(e.to_string()))?
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Document::default(),
        Err(e) => return Err(e.into()),
    };
    d.set_type("v1", "Config");
    for list in [List::Clusters, List::Users, List::Contexts] {
        if !d.has(&[list.plural()]) {
            d.set_at(&[list.plural()], Vec::<String>::new());
        }
    }
    if !d.has(&["current-context"]) {
        d.set_at(&["current-context"], "");
    }
    Ok(d)
}

/// All files merged; the first to say something wins.
///
/// # Errors
/// A broken file.
pub fn merged(global: &Global) -> Result<Document> {
    let mut all: Option<Document> = None;
    for path in super::paths(global) {
        let mut next = read(&path)?;
        absolute(&mut next, path.parent().unwrap_or(Path::new("")));
        let Some(d) = &mut all else {
            all = Some(next);
            continue;
        };
        for list in [List::Clusters, List::Users, List::Contexts] {
            let mut entries = entries(d, list);
            for entry in self::entries(&next, list) {
                if !entries.iter().any(|e| name(e) == name(&entry)) {
                    entries.push(entry);
                }
            }
            set_entries(d, list, entries);
        }
        if d.str_at(&["current-context"]).unwrap_or_default().is_empty() {
            let current = next.str_at(&["current-context"]).unwrap_or_default().to_owned();
            d.set_at(&["current-context"], current);
        }
    }
    match all {
        Some(d) => Ok(d),
        None => read(Path::new("")),
    }
}

/// Paths inside a file are relative to it.
fn absolute(d: &mut Document, base: &Path) {
    for (list, fields) in [
        (List::Clusters, &["certificate-authority"][..]),
        (List::Users, &["client-certificate", "client-key", "tokenFile"][..]),
    ] {
        let mut all = entries(d, list);
        for entry in &mut all {
            for field in fields {
                let path = [list.singular(), field];
                if let Some(value) = entry.str_at(&path).filter(|v| !v.is_empty() && !v.starts_with('/')) {
                    let full = base.join(value).to_string_lossy().into_owned();
                    entry.set_at(&path, full);
                }
            }
        }
        set_entries(d, list, all);
    }
}

/// The entries of a list.
pub fn entries(d: &Document, list: List) -> Vec<Document> {
    d.get_at::<Vec<Object>>(&[list.plural()]).unwrap_or_default().into_iter().map(Document::new).collect()
}

pub fn set_entries(d: &mut Document, list: List, mut entries: Vec<Document>) {
    entries.sort_by(|a, b| name(a).cmp(name(b)));
    let maps: Vec<&Object> = entries.iter().map(Document::map).collect();
    d.set_at(&[list.plural()], maps);
}

/// An entry's name.
pub fn name(entry: &Document) -> &str {
    entry.str_at(&["name"]).unwrap_or_default()
}

/// The file that changes go to: the one that has the entry, else the first that exists, else the last.
pub fn target(global: &Global, has: impl Fn(&Document) -> bool) -> Result<PathBuf> {
    let paths = super::paths(global);
    for path in &paths {
        if path.exists() && has(&read(path)?) {
            return Ok(path.clone());
        }
    }
    paths
        .iter()
        .find(|p| p.exists())
        .or(paths.last())
        .cloned()
        .ok_or_else(|| message("no kubeconfig file: HOME is not set"))
}

/// Writes a file whole, readable by its owner only.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, d: &Document) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    std::io::Write::write_all(&mut file, yaml::text(&d.clone().into_value()).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    Ok(())
}
