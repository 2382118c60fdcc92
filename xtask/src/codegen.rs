//! Writes the table of built-in schemas: field names and Go kinds from the API's Go types, wire shapes from
//! `generated.proto`, everything semantic from the OpenAPI v3 documents. No prose is carried over.
//!
//! The table is text, one line a field, so that a new API version reads as a diff. Grammar, per struct:
//!
//! ```text
//! = <definition> [flag ...]          flags: kind=<group>/<version>/<Kind>  atomic  unions=<json>
//! <json name> <type> <flags> <wire> [attribute ...]
//! > <type> <flags> <wire>            a nested protobuf message whose fields stand inline in JSON
//! ```
//!
//! A type is a scalar's name, `@<definition>`, `[]<type>`, `w[]<type>` where the list is a protobuf message of
//! its own, or `{}<type>`, after `(<Go name>)` where a type that is no struct has one; `~` abbreviates
//! `io.k8s.api.`. Flags: `*` pointer, `e` omitempty, `z` omitzero,
//! `r` required, `-` none. Wire: the protobuf number or `-`. Attributes: `i=` the
//! embedded Go structs the field comes through, `l=` list type, `k=` list map keys, `m=` map
//! type, `p=` patch strategy, `K=` patch merge key, `u` preserve unknown fields, `x` embedded
//! resource, `d=` default (JSON, to the end of the line).

mod go;
mod openapi;
mod table;

use anyhow::{Context, Result};
use std::path::PathBuf;

/// Sources and target; none is assumed.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of OpenAPI v3 documents, as an apiserver serves them, one file a group version.
    #[arg(long)]
    openapi: PathBuf,
    /// The `staging/src/k8s.io` folder of a Kubernetes source tree.
    #[arg(long)]
    staging: PathBuf,
    /// The table to write.
    #[arg(long, default_value = "common/machinery/src/schema/builtin.txt")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let packages = go::load(&args.staging)?;
    let docs = openapi::load(&args.openapi)?;
    let text = table::write(&packages, &docs)?;
    std::fs::write(&args.out, &text).with_context(|| format!("writing {}", args.out.display()))?;
    eprintln!("{}: {} lines, {} bytes", args.out.display(), text.lines().count(), text.len());
    Ok(())
}
