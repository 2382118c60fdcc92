//! `version`.

use super::Outcome;
use crate::context::Context;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, on, text};
use gantry_types::Document;

pub const FLAGS: &[Flag] = &[
    on("client", "If true, shows client version only (no server required)."),
    text("output", "One of 'yaml' or 'json'.").short('o'),
];

/// The Kubernetes version whose API this build speaks.
const VERSION: &str = concat!("v1.36.2+gantry-", env!("CARGO_PKG_VERSION"));

pub async fn run(cx: Context, args: Args) -> Outcome {
    let mut all = Document::default();
    let client = ["clientVersion"];
    let parts = [("major", "1"), ("minor", "36"), ("gitVersion", VERSION), ("platform", "linux/amd64")];
    for (k, v) in parts {
        all.set_at(&[client[0], k], v);
    }
    let mut failed: Option<Error> = None;
    if !args.on("client") {
        match cx.rest().await {
            Ok(rest) => match rest.get("/version").await {
                Ok(server) => all.set_at(&["serverVersion"], server.map()),
                Err(e) => failed = Some(e),
            },
            Err(e) => failed = Some(e),
        }
    }
    match args.text("output") {
        "" => {
            outln!("Client Version: {VERSION}");
            if let Some(server) = all.str_at(&["serverVersion", "gitVersion"]) {
                outln!("Server Version: {server}");
            }
        }
        "json" => outln!("{}", json_two(&all)),
        "yaml" => out!("{}", crate::print::yaml::text(&all.into_value())),
        _ => return Err(message("--output must be 'yaml' or 'json'")),
    }
    failed.map_or(Ok(()), Err)
}

/// Indented by two, as this command alone does.
fn json_two(all: &Document) -> String {
    crate::print::json::pretty(&all.clone().into_value()).replace("    ", "  ")
}
