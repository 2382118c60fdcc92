//! Server-side apply: the manifest is the patch.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::print::DryRun;
use crate::resources::Info;
use crate::rest;

/// Applies one manifest; the object as it is now and what is said of it.
///
/// # Errors
/// Refusals; conflicts come with kubectl's advice.
pub async fn apply(
    cx: &Context,
    info: &Info,
    manager: &str,
    force: bool,
    dry: DryRun,
    validation: &str,
) -> Result<(Info, &'static str)> {
    let path = rest::with_query(
        &info.path(),
        &[
            ("fieldManager", manager),
            ("fieldValidation", validation),
            ("force", if force { "true" } else { "false" }),
            dry.pair(),
        ],
    );
    match cx.rest().await?.patch(&path, rest::APPLY, info.object.to_json()).await {
        Ok(now) => Ok((info.with(now), "serverside-applied")),
        Err(Error::Api(mut s)) if s.reason == "Conflict" && !force => {
            s.message = format!("{}\n{ADVICE}", s.message);
            Err(Error::Api(s))
        }
        Err(Error::Api(s)) if s.reason == "Invalid" => Err(Error::Api(s)),
        Err(e) => Err(e),
    }
}

const ADVICE: &str = "Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";
