//! Tolerations and taint effects.

use super::options::PodOptions;
use crate::kinds::prelude::*;
use gantry_types::k8s_openapi::api::core::v1::Toleration;

/// An effect of a taint or toleration.
pub fn effect(effect: &str, path: &Path) -> Option<Error> {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    (!EFFECTS.contains(&effect)).then(|| Error::not_supported(path, effect, EFFECTS))
}

pub fn tolerations(all: &[Toleration], options: &PodOptions, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (i, t) in all.iter().enumerate() {
        let at = path.index(i);
        let (key, operator, value) = (text(&t.key), text(&t.operator), text(&t.value));
        let (operator_at, effect_at) = (at.child("operator"), at.child("effect"));
        if !key.is_empty() {
            errs.extend(invalid_each(&at.child("key"), key, names::qualified_name(key)));
        } else if operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errs.push(Error::invalid(&operator_at, operator, why));
        }
        if t.toleration_seconds.is_some() && text(&t.effect) != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errs.push(Error::invalid(&effect_at, text(&t.effect), why));
        }
        match operator {
            "Equal" | "" => {
                let messages = names::label_value(value);
                if !messages.is_empty() {
                    errs.push(Error::invalid(&operator_at, value, messages.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    errs.push(Error::invalid(&operator_at, value, why));
                }
            }
            "Lt" | "Gt" if options.allow_toleration_comparison => {
                if value.parse::<i64>().is_err() {
                    let why = format!("strconv.ParseInt: parsing \"{value}\": invalid syntax");
                    errs.push(Error::invalid(&at.child("value"), value, why));
                }
            }
            "Lt" | "Gt" => {
                let all = ["Equal", "Exists", "Lt", "Gt"];
                errs.push(Error::not_supported(&operator_at, operator, &all));
            }
            other => errs.push(Error::not_supported(&operator_at, other, &["Equal", "Exists"])),
        }
        if !text(&t.effect).is_empty() {
            errs.extend(effect(text(&t.effect), &effect_at));
        }
    }
    errs
}

/// Tolerations of a stored pod may only grow in number or change their seconds.
pub fn only_added(new: &[Toleration], old: &[Toleration], options: &PodOptions, path: &Path) -> ErrorList {
    let kept = |o: &Toleration| {
        new.iter().any(|n| {
            let o = Toleration { toleration_seconds: n.toleration_seconds, ..o.clone() };
            o == *n
        })
    };
    if !old.iter().all(kept) {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        return vec![Error::forbidden(path, why)];
    }
    tolerations(new, options, path)
}
