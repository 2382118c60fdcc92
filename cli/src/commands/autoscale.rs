//! `autoscale`: a HorizontalPodAutoscaler for something that scales.

use super::{Outcome, common, create};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, text};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_types::Document;
use serde_json::json;

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::OUTPUT,
    common::SHOW_MANAGED,
    common::DRY_RUN,
    common::VALIDATE,
    common::SAVE_CONFIG,
    common::field_manager("kubectl-autoscale"),
    text("min", "The lower limit for the number of pods that can be set by the autoscaler.").default("-1"),
    text("max", "The upper limit for the number of pods that can be set by the autoscaler. Required.")
        .default("-1"),
    text("cpu-percent", "The target average CPU utilization over all the pods.").default("-1"),
    text("cpu", "Target CPU over all the pods: a percentage of the request (70%) or a quantity (500m)."),
    text(
        "memory",
        "Target memory over all the pods: a percentage of the request (60%) or a quantity (200Mi).",
    ),
    text("name", "The name for the newly created object."),
];

/// What one resource is held to.
#[derive(Debug, PartialEq)]
enum Target {
    Utilization(i64),
    AverageValue(String),
}

/// `70%`, `500m`, or a bare number, which counts in `unit`.
fn target(input: &str, resource: &str, unit: &str) -> Result<Target> {
    let input = input.trim();
    if let Some(percent) = input.strip_suffix('%') {
        let trimmed = percent.trim();
        return match trimmed.parse::<i64>() {
            Ok(n) if n >= 0 => Ok(Target::Utilization(n)),
            _ => Err(message(format!("invalid percentage value: {trimmed}"))),
        };
    }
    let value = if input.parse::<i64>().is_ok() { format!("{input}{unit}") } else { input.to_owned() };
    match value.parse::<gantry_types::quantity::Quantity>() {
        Ok(_) => Ok(Target::AverageValue(value)),
        Err(_) => Err(message(format!("invalid resource {resource} value: {input}"))),
    }
}

/// The metrics asked for, by resource.
fn targets(args: &Args) -> Result<Vec<(&'static str, Target)>> {
    let mut out = Vec::new();
    let percent = args.int("cpu-percent")?;
    if percent > 0 && !args.text("cpu").is_empty() {
        return Err(message("--cpu-percent and --cpu are mutually exclusive"));
    }
    if percent > 0 {
        out.push(("cpu", Target::Utilization(percent)));
    }
    for (resource, unit) in [("cpu", "m"), ("memory", "Mi")] {
        if !args.text(resource).is_empty() {
            out.push((resource, target(args.text(resource), resource, unit)?));
        }
    }
    Ok(out)
}

pub async fn run(cx: Context, args: Args) -> Outcome {
    if !args.given("max") {
        return Err(message("required flag(s) \"max\" not set"));
    }
    let (least, most) = (args.int("min")?, args.int("max")?);
    if most < 1 {
        return Err(message(format!("--max=MAXPODS is required and must be at least 1, max: {most}")));
    }
    if most < least {
        return Err(message(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {most}, min: {least}"
        )));
    }
    let targets = targets(&args)?;
    let (infos, mut errors) = builder::fetch(&cx, &args.operands, &Query::read(&args)).await?;
    if infos.is_empty() && errors.is_empty() {
        return Err(message("no objects passed to autoscale"));
    }
    for info in infos {
        if let Err(e) = one(&cx, &args, &info, &targets, (least, most)).await {
            errors.push(e);
        }
    }
    Error::all(errors)
}

async fn one(
    cx: &Context,
    args: &Args,
    info: &Info,
    targets: &[(&'static str, Target)],
    (least, most): (i64, i64),
) -> Outcome {
    // Only what has a scale can be scaled; a kind without one answers as for an unknown resource.
    if let Err(e) = cx.rest().await?.get(&format!("{}/scale", info.path())).await {
        return Err(match e {
            e if e.is_not_found() => message(format!(
                "cannot autoscale a {}: could not find scale subresource for {}/{}, Resource={} in discovery information",
                info.resource.kind, info.resource.group, info.resource.version, info.resource.plural
            )),
            e => e,
        });
    }
    let name = Some(args.text("name")).filter(|n| !n.is_empty()).unwrap_or(&info.name);
    let mut metadata = Document::from_typed(&json!({"name": name}))?;
    if let Some(namespace) = &info.namespace {
        metadata.set_at(&["namespace"], namespace);
    }
    let mut d =
        Document::from_typed(&json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": metadata.map(),
        "spec": {"maxReplicas": most, "scaleTargetRef": {"apiVersion": info.resource.api_version(),
            "kind": info.resource.kind, "name": info.name}}}))?;
    if least > 0 {
        d.set_at(&["spec", "minReplicas"], least);
    }
    let mut metrics = Vec::new();
    for (resource, target) in targets {
        metrics.push(json!({"type": "Resource", "resource": {"name": resource, "target": match target {
            Target::Utilization(n) => json!({"type": "Utilization", "averageUtilization": n}),
            Target::AverageValue(v) => json!({"type": "AverageValue", "averageValue": v}),
        }}}));
    }
    if !metrics.is_empty() {
        d.set_at(&["spec", "metrics"], metrics);
    }
    create::generated_as(cx, args, d.map(), "autoscaled").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_percentages_or_quantities() {
        let check = |input: &str, resource: &str, unit: &str, expected: &str| {
            let got = match target(input, resource, unit) {
                Ok(Target::Utilization(n)) => format!("{n}%"),
                Ok(Target::AverageValue(v)) => v,
                Err(e) => e.bare(),
            };
            assert_eq!(got, expected, "{input}");
        };
        check("70%", "cpu", "m", "70%");
        check("500m", "cpu", "m", "500m");
        check("500", "cpu", "m", "500m");
        check("200", "memory", "Mi", "200Mi");
        check("1Gi", "memory", "Mi", "1Gi");
        check("x%", "cpu", "m", "invalid percentage value: x");
        check("many", "memory", "Mi", "invalid resource memory value: many");
    }
}
