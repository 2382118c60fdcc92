//! `why`: the command; what is found of each kind is in [`crate::why`].

use super::Outcome;
use crate::context::Context;
use crate::error::{Error, message, usage};
use crate::flags::{Args, Flag, text};
use crate::print::Format;
use crate::resources::builder::{self, Query};
use crate::why::{Report, explain};
use gantry_types::Document;

pub const FLAGS: &[Flag] = &[text("output", "Output format. One of: (json, yaml).").short('o')];

pub async fn run(cx: Context, args: Args) -> Outcome {
    let format = match args.text("output") {
        "" => None,
        "json" | "yaml" => Some(Format::parse(args.text("output"), false)?),
        other => {
            return Err(message(format!(
                "unable to match a printer suitable for the output format {other:?}, allowed formats are: json,yaml"
            )));
        }
    };
    let targets = builder::targets(&args.operands)?;
    if targets.named.is_empty() {
        return Err(usage("why", "expected 'why TYPE NAME', 'why TYPE/NAME'"));
    }
    let (infos, mut errors) = builder::fetch(&cx, &args.operands, &Query::default()).await?;
    let mut reports: Vec<Report> = Vec::new();
    for info in &infos {
        match explain(&cx, info).await {
            Ok(report) => reports.push(report),
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(e),
        }
    }
    for (i, report) in reports.iter().enumerate() {
        match &format {
            None => out!("{}{}", if i > 0 { "\n" } else { "" }, report.text()),
            Some(format) => out!("{}", format.object(&Document::from_typed(report)?)?),
        }
    }
    Error::all(errors)
}
