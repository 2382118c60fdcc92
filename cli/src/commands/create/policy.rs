//! `create quota`, `poddisruptionbudget` and `priorityclass`: rules for pods.

use super::super::{Outcome, common};
use super::{generated, meta};
use crate::context::Context;
use crate::error::{Result, message};
use crate::flags::Args;
use gantry_types::Document;
use serde_json::json;
use std::collections::BTreeMap;

pub async fn priority_class(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create priorityclass")?;
    let mut d = Document::from_typed(&json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": meta(name), "value": args.int("value")?, "preemptionPolicy": args.text("preemption-policy")}))?;
    if args.on("global-default") {
        d.set_at(&["globalDefault"], true);
    }
    if !args.text("description").is_empty() {
        d.set_at(&["description"], args.text("description"));
    }
    generated(&cx, &args, d.map()).await
}

/// `cpu=1,pods=2`.
fn resources(text: &str) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for statement in text.split(',').filter(|_| !text.is_empty()) {
        match statement.split_once('=') {
            Some((name, value)) if !value.contains('=') => out.insert(name.to_owned(), value.to_owned()),
            _ => {
                return Err(message(format!(
                    "Invalid argument syntax {statement}, expected <resource>=<value>"
                )));
            }
        };
    }
    Ok(out)
}

pub async fn quota(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create quota")?;
    let mut d =
        Document::from_typed(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta(name)}))?;
    let hard = resources(args.text("hard"))?;
    if !hard.is_empty() {
        d.set_at(&["spec", "hard"], hard);
    }
    let scopes: Vec<&str> = args.text("scopes").split(',').collect();
    if !args.text("scopes").is_empty() {
        if scopes.contains(&"") {
            return Err(message("invalid resource quota scope \"\""));
        }
        d.set_at(&["spec", "scopes"], scopes);
    }
    generated(&cx, &args, d.map()).await
}

/// Digits, and perhaps a percent sign.
fn is_amount(text: &str) -> bool {
    let digits = text.strip_suffix('%').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

pub async fn disruption_budget(cx: Context, args: Args) -> Outcome {
    let name = common::one_name(&args, "create poddisruptionbudget")?;
    let selector = args.text("selector");
    if selector.is_empty() {
        return Err(message("a selector must be specified"));
    }
    let (least, most) = (args.text("min-available"), args.text("max-unavailable"));
    let (flag, field, amount) = match (least.is_empty(), most.is_empty()) {
        (true, true) => return Err(message("one of min-available or max-unavailable must be specified")),
        (false, false) => return Err(message("min-available and max-unavailable cannot be both specified")),
        (false, true) => ("min-available", "minAvailable", least),
        (true, false) => ("max-unavailable", "maxUnavailable", most),
    };
    if !is_amount(amount) {
        return Err(message(format!("invalid format specified for {flag}")));
    }
    let mut labels = BTreeMap::new();
    for pair in selector.split(',') {
        let (key, value) = pair
            .split_once("==")
            .or_else(|| pair.split_once('='))
            .ok_or_else(|| message(format!("couldn't parse the selector string \"{selector}\"")))?;
        labels.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    let mut d = Document::from_typed(&json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": meta(name), "spec": {"selector": {"matchLabels": labels}}}))?;
    match amount.parse::<i32>() {
        Ok(number) => d.set_at(&["spec", field], number),
        Err(_) => d.set_at(&["spec", field], amount),
    }
    generated(&cx, &args, d.map()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_and_amounts_are_read() {
        let check = |text: &str, expected: &str| {
            let got = resources(text).map_or_else(|e| e.bare(), |r| format!("{r:?}"));
            assert_eq!(got, expected, "{text}");
        };
        check("", "{}");
        check("cpu=1,pods=2", r#"{"cpu": "1", "pods": "2"}"#);
        check("cpu", "Invalid argument syntax cpu, expected <resource>=<value>");
        check("cpu=1=2", "Invalid argument syntax cpu=1=2, expected <resource>=<value>");
        for (text, expected) in [("10", true), ("30%", true), ("10Gb", false), ("%", false), ("", false)] {
            assert_eq!(is_amount(text), expected, "{text}");
        }
    }
}
