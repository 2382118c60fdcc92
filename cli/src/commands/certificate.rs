//! `certificate approve` and `certificate deny`.

use super::table::online;
use super::{Command, Outcome, Run, common};
use crate::context::Context;
use crate::error::{Error, Result, message};
use crate::flags::{Args, Flag, on};
use crate::print::{DryRun, Said};
use crate::resources::Info;
use crate::resources::builder::{self, Query};
use gantry_types::field::go_quote;
use http::Method;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

const FLAGS: &[Flag] = &[
    common::FILENAME,
    common::KUSTOMIZE,
    common::RECURSIVE,
    common::OUTPUT,
    common::SHOW_MANAGED,
    on("force", "Update the CSR even if it is already approved or denied."),
];

pub const COMMANDS: &[Command] = &[
    online!("approve", &[], "(-f FILENAME | NAME)", "Approve a certificate signing request", FLAGS, approve),
    online!("deny", &[], "(-f FILENAME | NAME)", "Deny a certificate signing request", FLAGS, deny),
];

/// What one of the commands says.
struct Word {
    condition: &'static str,
    opposite: &'static str,
    reason: &'static str,
    message: &'static str,
    done: &'static str,
}

const APPROVE: Word = Word {
    condition: "Approved",
    opposite: "Denied",
    reason: "KubectlApprove",
    message: "This CSR was approved by kubectl certificate approve.",
    done: "approved",
};
const DENY: Word = Word {
    condition: "Denied",
    opposite: "Approved",
    reason: "KubectlDeny",
    message: "This CSR was denied by kubectl certificate deny.",
    done: "denied",
};
/// Conflicts after which to give up.
const TRIES: usize = 10;

async fn approve(cx: Context, args: Args) -> Outcome {
    each(cx, args, &APPROVE).await
}

async fn deny(cx: Context, args: Args) -> Outcome {
    each(cx, args, &DENY).await
}

async fn each(cx: Context, args: Args, word: &Word) -> Outcome {
    let query = Query::read(&args);
    if args.operands.is_empty() && query.files.is_empty() {
        return Err(message("one or more CSRs must be specified as <name> or -f <filename>"));
    }
    let said = Said::read(&args, DryRun::None)?;
    let mut operands = Vec::new();
    if !args.operands.is_empty() {
        operands.push("certificatesigningrequests".to_owned());
        operands.extend(args.operands.iter().cloned());
    }
    let (infos, mut errors) = builder::fetch(&cx, &operands, &query).await?;
    if infos.is_empty() && errors.is_empty() {
        outln!("No resources found");
    }
    for info in infos {
        match decide(&cx, &info, word, args.on("force")).await {
            Ok(()) => said.tell(&info, word.done)?,
            Err(e) => errors.push(e),
        }
    }
    Error::all(errors)
}

/// Adds the condition, unless it is there.
async fn decide(cx: &Context, info: &Info, word: &Word, force: bool) -> Outcome {
    let resource = &info.resource;
    if resource.kind != "CertificateSigningRequest" || resource.group != "certificates.k8s.io" {
        let got = match resource.group.as_str() {
            "" => resource.kind.clone(),
            group => format!("{}.{group}", resource.kind),
        };
        return Err(message(format!(
            "can only handle CertificateSigningRequest.certificates.k8s.io objects, got {got}"
        )));
    }
    let rest = cx.rest().await?;
    for attempt in 0.. {
        let mut csr = rest.get(&info.path()).await?;
        let typed: CertificateSigningRequest = csr.to_typed()?;
        let Some(conditions) = with_condition(&typed, word, force)? else { return Ok(()) };
        csr.set_at(&["status", "conditions"], conditions);
        match rest.send(Method::PUT, &format!("{}/approval", info.path()), &csr).await {
            Err(e) if attempt < TRIES && e.is_conflict() => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

/// The conditions to write; `None` where the one wanted is there already.
fn with_condition(
    csr: &CertificateSigningRequest,
    word: &Word,
    force: bool,
) -> Result<Option<Vec<CertificateSigningRequestCondition>>> {
    let mut all = csr.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    if all.iter().any(|c| c.type_ == word.opposite) {
        let name = csr.metadata.name.as_deref().unwrap_or_default();
        return Err(message(format!(
            "certificate signing request {} is already {}",
            go_quote(name),
            word.opposite
        )));
    }
    if all.iter().any(|c| c.type_ == word.condition) {
        return Ok(force.then_some(all));
    }
    let now = Timestamp::now();
    all.push(CertificateSigningRequestCondition {
        type_: word.condition.into(),
        status: "True".into(),
        reason: Some(word.reason.into()),
        message: Some(word.message.into()),
        last_update_time: Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now))),
        last_transition_time: None,
    });
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_added_once_and_never_beside_their_opposite() {
        let check = |there: &[&str], word: &Word, force: bool, expected: &str| {
            let conditions: Vec<String> =
                there.iter().map(|t| format!(r#"{{"type":"{t}","status":"True"}}"#)).collect();
            let csr: CertificateSigningRequest = serde_json::from_str(&format!(
                r#"{{"metadata":{{"name":"x"}},"spec":{{"request":"","signerName":"s"}},
                "status":{{"conditions":[{}]}}}}"#,
                conditions.join(",")
            ))
            .unwrap();
            let got = match with_condition(&csr, word, force) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(c)) => c.into_iter().map(|c| c.type_).collect::<Vec<_>>().join(","),
                Err(e) => e.bare(),
            };
            assert_eq!(got, expected, "{there:?}");
        };
        check(&[], &APPROVE, false, "Approved");
        check(&["Failed"], &DENY, false, "Failed,Denied");
        check(&["Approved"], &APPROVE, false, "nothing");
        check(&["Approved"], &APPROVE, true, "Approved");
        check(&["Denied"], &APPROVE, true, "certificate signing request \"x\" is already Denied");
    }
}
