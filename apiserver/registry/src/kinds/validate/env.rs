//! Environment variables and their sources.

use super::{meta, paths, resources};
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::{
    EnvFromSource, EnvVar, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields files of a downward API volume may show.
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub fn env(vars: &[EnvVar], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, var) in vars.iter().enumerate() {
        let at = path.index(i);
        let name = at.child("name");
        if var.name.is_empty() {
            errs.push(Error::required(&name, ""));
        } else {
            errs.extend(invalid_each(&name, &var.name, names::relaxed_env_var_name(&var.name)));
        }
        errs.extend(value_from(var, &at.child("valueFrom")));
    }
    errs
}

fn value_from(var: &EnvVar, path: &Path) -> ErrorList {
    let Some(from) = &var.value_from else { return ErrorList::new() };
    let mut errs = ErrorList::new();
    let mut sources = 0;
    if let Some(f) = &from.field_ref {
        sources += 1;
        errs.extend(object_field(f, ENV_FIELDS, &path.child("fieldRef")));
    }
    if let Some(r) = &from.resource_field_ref {
        sources += 1;
        errs.extend(resource_field(r, &path.child("resourceFieldRef"), false));
    }
    if let Some(c) = &from.config_map_key_ref {
        sources += 1;
        errs.extend(key_selector(&c.name, &c.key, &path.child("configMapKeyRef")));
    }
    if let Some(s) = &from.secret_key_ref {
        sources += 1;
        errs.extend(key_selector(&s.name, &s.key, &path.child("secretKeyRef")));
    }
    if let Some(f) = &from.file_key_ref {
        sources += 1;
        errs.extend(file_key(f, &path.child("fileKeyRef")));
    }
    if sources == 0 {
        let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errs.push(Error::invalid(path, "", why));
    } else if !text(&var.value).is_empty() {
        errs.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errs.push(Error::invalid(path, "", "may not have more than one field specified at a time"));
    }
    errs
}

/// `metadata.labels['key']` as path and key.
fn subscript(field: &str) -> Option<(&str, &str)> {
    let inner = field.strip_suffix("']")?;
    let (path, key) = inner.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

const PLAIN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

pub fn object_field(f: &ObjectFieldSelector, allowed: &[&str], path: &Path) -> ErrorList {
    let version = text(&f.api_version);
    if version.is_empty() {
        return vec![Error::required(&path.child("apiVersion"), "")];
    }
    let at = path.child("fieldPath");
    let field = f.field_path.as_str();
    if field.is_empty() {
        return vec![Error::required(&at, "")];
    }
    let convert_error =
        |why: String| vec![Error::invalid(&at, field, format!("error converting fieldPath: {why}"))];
    if version != "v1" {
        return convert_error(format!("unsupported pod version: {version}"));
    }
    if let Some((base, key)) = subscript(field) {
        return match base {
            "metadata.annotations" => {
                let key = key.to_lowercase();
                invalid_each(path, &key, names::qualified_name(&key)).collect()
            }
            "metadata.labels" => invalid_each(path, key, names::qualified_name(key)).collect(),
            _ => convert_error(format!("field label does not support subscript: {field}")),
        };
    }
    // One old name is still understood.
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if !PLAIN_FIELDS.contains(&field) {
        return convert_error(format!("field label not supported: {field}"));
    }
    if allowed.contains(&field) { ErrorList::new() } else { vec![unsupported(&at, field, allowed)] }
}

pub fn resource_field(r: &ResourceFieldSelector, path: &Path, volume: bool) -> ErrorList {
    let mut errs = ErrorList::new();
    let resource = r.resource.as_str();
    let huge = resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-");
    if volume && text(&r.container_name).is_empty() {
        errs.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errs.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge {
        errs.push(Error::not_supported(&path.child("resource"), resource, RESOURCE_FIELDS));
    }
    let Some(divisor) = r.divisor.as_ref().and_then(resources::parse).filter(|d| !d.is_zero()) else {
        return errs;
    };
    const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let printed = divisor.to_string();
    let (fits, what) = match resource.split_once('.').map(|(_, what)| what) {
        Some("cpu") => (["1m", "1"].contains(&printed.as_str()), "cpu"),
        Some("memory") => (SIZES.split(", ").any(|s| s == printed), "memory"),
        Some("ephemeral-storage") => (SIZES.split(", ").any(|s| s == printed), "local ephemeral storage"),
        _ if huge => (SIZES.split(", ").any(|s| s == printed), "hugepages"),
        _ => (true, ""),
    };
    if !fits {
        let why = match what {
            "cpu" => "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
            "hugepages" | "memory" | "local ephemeral storage" => {
                format!("only divisor's values {SIZES} are supported with the {what} resource")
            }
            _ => String::new(),
        };
        errs.push(Error::invalid(&path.child("divisor"), resource, why));
    }
    errs
}

fn key_selector(name: &str, key: &str, path: &Path) -> ErrorList {
    let mut errs: ErrorList =
        invalid_each(&path.child("name"), name, meta::subdomain_name(name, false)).collect();
    if key.is_empty() {
        errs.push(Error::required(&path.child("key"), ""));
    } else {
        errs.extend(invalid_each(&path.child("key"), key, names::config_map_key(key)));
    }
    errs
}

fn file_key(f: &FileKeySelector, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    if f.key.is_empty() {
        errs.push(Error::required(&path.child("key"), ""));
    } else {
        errs.extend(invalid_each(&path.child("key"), &f.key, names::relaxed_env_var_name(&f.key)));
    }
    let volume = path.child("volumeName");
    if f.volume_name.is_empty() {
        errs.push(Error::required(&volume, ""));
    } else {
        errs.extend(invalid_each(&volume, &f.volume_name, names::dns1123_label(&f.volume_name)));
    }
    if f.path.is_empty() {
        errs.push(Error::required(&path.child("path"), ""));
    } else {
        errs.extend(paths::no_backsteps(&f.path, &path.child("path")));
    }
    errs
}

pub fn env_from(sources: &[EnvFromSource], path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, source) in sources.iter().enumerate() {
        let at = path.index(i);
        let prefix = text(&source.prefix);
        if !prefix.is_empty() {
            errs.extend(invalid_each(&at.child("prefix"), prefix, names::relaxed_env_var_name(prefix)));
        }
        let refs = [
            ("configMapRef", source.config_map_ref.as_ref().map(|r| r.name.as_str())),
            ("secretRef", source.secret_ref.as_ref().map(|r| r.name.as_str())),
        ];
        let mut count = 0;
        for (field, name) in refs {
            let Some(name) = name else { continue };
            count += 1;
            let at = at.child(field).child("name");
            if name.is_empty() {
                errs.push(Error::required(&at, ""));
            } else {
                errs.extend(invalid_each(&at, name, meta::subdomain_name(name, true)));
            }
        }
        match count {
            0 => errs.push(Error::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errs.push(Error::invalid(path, "", "may not have more than one field specified at a time")),
        }
    }
    errs
}
