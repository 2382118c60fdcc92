//! `describe`: the command; what is said of each kind is in [`crate::describe`].

use super::{Outcome, common};
use crate::context::Context;
use crate::describe::describe;
use crate::error::{Error, message};
use crate::flags::{Args, Flag, on, text};
use crate::resources::builder::{self, Query};

pub const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::SELECTOR,
    common::ALL_NAMESPACES,
    on("show-events", "If true, display events related to the described object.").default("true"),
    text("chunk-size", "Return large lists in chunks rather than all at once. Pass 0 to disable.")
        .default("500"),
];

pub async fn run(cx: Context, args: Args) -> Outcome {
    let query = Query::read(&args);
    if args.operands.is_empty() && query.files.is_empty() {
        return Err(Error::Plain("You must specify the type of resource to describe. Use \"kctl api-resources\" for a complete list of supported resources.".into()));
    }
    let (mut infos, mut errors) = builder::fetch(&cx, &args.operands, &query).await?;
    // A name that is none may begin some.
    let prefix = matches!(errors.as_slice(), [e] if e.is_not_found()) && infos.is_empty();
    if let (true, [kind, name]) = (prefix, args.operands.as_slice()) {
        let (all, _) = builder::fetch(&cx, std::slice::from_ref(kind), &query).await?;
        infos = all.into_iter().filter(|i| i.name.starts_with(name.as_str())).collect();
        if !infos.is_empty() {
            errors.clear();
        }
    }
    if infos.is_empty() && errors.is_empty() {
        match query.all_namespaces {
            true => eprintln!("No resources found"),
            false => eprintln!("No resources found in {} namespace.", cx.namespace().await?),
        }
        return Ok(());
    }
    for (i, info) in infos.iter().enumerate() {
        match describe(&cx, info, args.on("show-events")).await {
            Ok(text) => out!("{}{text}", if i > 0 { "\n\n" } else { "" }),
            Err(e @ Error::Transport { .. }) => return Err(e),
            Err(e) => errors.push(message(e.bare())),
        }
    }
    Error::all(errors)
}
