//! What a request may say beside its object: the options of each verb, checked in upstream's words.

use gantry_machinery::managed::manager_name;
pub use gantry_machinery::validate::FieldValidation;
use gantry_types::field::{Error, ErrorList, Path};
use gantry_types::gvk::GroupKind;
use gantry_types::{Status, StatusResult};
use serde::Deserialize;

/// Options of create, update and patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub dry_run: bool,
    /// As given; see [`WriteOptions::manager`].
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: Option<bool>,
    /// From the `User-Agent`, for writers that do not name themselves.
    pub default_manager: String,
}

impl WriteOptions {
    /// The name the writer goes by in `managedFields`.
    pub fn manager(&self) -> &str {
        if self.field_manager.is_empty() { &self.default_manager } else { &self.field_manager }
    }
}

const MANAGER_MAX: usize = 128;

fn invalid(kind: &'static str, errors: ErrorList) -> Status {
    let gk = GroupKind { group: "meta.k8s.io".into(), kind: kind.into() };
    Status::invalid(&gk, "", errors)
}

/// Checks a manager's name: at most 128 bytes, all printable.
pub fn validate_manager(name: &str, path: &Path, errors: &mut ErrorList) {
    if name.len() > MANAGER_MAX {
        errors.push(Error::too_long(path, MANAGER_MAX));
    }
    for (i, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let code = u32::from(c);
        errors.push(Error::invalid(path, name, format!("invalid character U+{code:04X} (at position {i})")));
    }
}

fn validate_dry_run(values: &[&str], errors: &mut ErrorList) -> bool {
    if values.iter().any(|v| *v != "All") {
        errors.push(Error::not_supported(&Path::new("dryRun"), values, &["All"]));
    }
    !values.is_empty()
}

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`; `apply` says the patch is an apply.
    ///
    /// # Errors
    /// `Invalid` with every option that is wrong.
    pub fn parse<'q>(
        kind: &'static str,
        apply: bool,
        query: impl Iterator<Item = (&'q str, &'q str)>,
        user_agent: &str,
    ) -> StatusResult<Self> {
        let mut out = Self { default_manager: manager_name("", user_agent), ..Self::default() };
        let mut errors = ErrorList::new();
        let mut dry_run = Vec::new();
        for (key, value) in query {
            match key {
                "dryRun" => dry_run.push(value),
                "fieldManager" => out.field_manager = value.to_owned(),
                "force" => out.force = Some(!matches!(value, "0" | "false")),
                "fieldValidation" => match FieldValidation::parse(value) {
                    Some(validation) => out.field_validation = validation,
                    None => errors.push(Error::not_supported(
                        &Path::new("fieldValidation"),
                        value,
                        &["", "Ignore", "Strict", "Warn"],
                    )),
                },
                _ => {}
            }
        }
        if kind == "PatchOptions" {
            if apply && out.field_manager.is_empty() {
                errors.insert(0, Error::required(&Path::new("fieldManager"), "is required for apply patch"));
            } else if !apply && out.force.is_some() {
                errors.insert(
                    0,
                    Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"),
                );
            }
        }
        validate_manager(&out.field_manager, &Path::new("fieldManager"), &mut errors);
        out.dry_run = validate_dry_run(&dry_run, &mut errors);
        if errors.is_empty() { Ok(out) } else { Err(invalid(kind, errors)) }
    }
}

/// What must be true of the object for a deletion to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// `DeleteOptions`, from a body or from parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    #[serde(default)]
    pub preconditions: Option<Preconditions>,
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<String>,
    #[serde(default, rename = "dryRun")]
    pub dry_run_values: Vec<String>,
}

impl DeleteOptions {
    pub fn dry_run(&self) -> bool {
        !self.dry_run_values.is_empty()
    }

    /// # Errors
    /// `BadRequest` where a number or boolean is neither.
    pub fn from_query<'q>(query: impl Iterator<Item = (&'q str, &'q str)>) -> StatusResult<Self> {
        let mut out = Self::default();
        for (key, value) in query {
            match key {
                "gracePeriodSeconds" => {
                    let seconds = value.parse().map_err(|_| {
                        Status::bad_request(format!(
                            "strconv.ParseInt: parsing {}: invalid syntax",
                            gantry_types::field::go_quote(value)
                        ))
                    })?;
                    out.grace_period_seconds = Some(seconds);
                }
                "orphanDependents" => out.orphan_dependents = Some(!matches!(value, "0" | "false")),
                "propagationPolicy" if !value.is_empty() => out.propagation_policy = Some(value.to_owned()),
                "dryRun" => out.dry_run_values.push(value.to_owned()),
                _ => {}
            }
        }
        Ok(out)
    }

    /// # Errors
    /// `Invalid` in upstream's words.
    pub fn validate(&self) -> StatusResult<()> {
        let mut errors = ErrorList::new();
        let path = Path::new("propagationPolicy");
        if let Some(policy) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                errors.push(Error::invalid(
                    &path,
                    policy,
                    "orphanDependents and deletionPropagation cannot be both set",
                ));
            }
            if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(Error::not_supported(&path, policy, &supported));
            }
        }
        let dry_run: Vec<&str> = self.dry_run_values.iter().map(String::as_str).collect();
        validate_dry_run(&dry_run, &mut errors);
        if errors.is_empty() { Ok(()) } else { Err(invalid("DeleteOptions", errors)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &'static str, apply: bool, query: &[(&str, &str)], want: Result<(), &str>) {
        let got = WriteOptions::parse(kind, apply, query.iter().copied(), "kubectl/v1 (x)");
        assert_eq!(got.map(|_| ()).map_err(|s| s.message().to_owned()), want.map_err(str::to_owned));
    }

    #[test]
    fn write_options_are_checked() {
        check("CreateOptions", false, &[("dryRun", "All"), ("fieldManager", "me")], Ok(()));
        check(
            "CreateOptions",
            false,
            &[("fieldValidation", "x")],
            Err(
                r#"CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "x": supported values: "", "Ignore", "Strict", "Warn""#,
            ),
        );
        check(
            "PatchOptions",
            true,
            &[],
            Err(
                r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#,
            ),
        );
        check(
            "PatchOptions",
            false,
            &[("force", "true")],
            Err(
                r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#,
            ),
        );
    }

    #[test]
    fn delete_options_are_checked() {
        let parse = |q: &[(&str, &str)]| DeleteOptions::from_query(q.iter().copied()).unwrap();
        assert_eq!(parse(&[("gracePeriodSeconds", "0")]).grace_period_seconds, Some(0));
        assert!(parse(&[("propagationPolicy", "Foreground")]).validate().is_ok());
        assert!(parse(&[("propagationPolicy", "x")]).validate().is_err());
        assert!(parse(&[("propagationPolicy", "Orphan"), ("orphanDependents", "1")]).validate().is_err());
    }
}
