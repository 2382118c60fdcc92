//! Namespaces, config maps, secrets and service accounts.

use super::policy;
use super::text::{Text, time};
use crate::context::Context;
use crate::error::Result;
use crate::resources::builder::{self, Query};
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ResourceQuota, Secret, ServiceAccount};

pub async fn namespace(cx: &Context, t: &mut Text, n: &Namespace) -> Result<()> {
    let m = &n.metadata;
    let name = m.name.as_deref().unwrap_or_default();
    t.pair(0, "Name", name);
    t.labels("Labels", m.labels.as_ref());
    t.annotations("Annotations", m.annotations.as_ref());
    let status = n.status.clone().unwrap_or_default();
    t.pair(0, "Status", status.phase.unwrap_or_default());
    if let Some(conditions) = status.conditions.filter(|c| !c.is_empty()) {
        t.line(0, "Conditions:");
        t.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        t.line(1, "----\t------\t------------------\t------\t-------");
        for c in conditions {
            let at = c.last_transition_time.map(|t| time(t.0)).unwrap_or_default();
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            t.line(1, &format!("{}\t{}\t{at}\t{reason}\t{message}", c.type_, c.status));
        }
    }
    let query = Query::default();
    let quotas = builder::list(cx, &*cx.resource("resourcequotas").await?, Some(name), &query).await?;
    t.line(0, "");
    if quotas.is_empty() {
        t.line(0, "No resource quota.");
    } else {
        t.line(0, "Resource Quotas");
    }
    for q in quotas {
        let q: ResourceQuota = q.to_typed()?;
        t.pair(1, "Name", q.metadata.name.unwrap_or_default());
        t.line(1, "Resource\tUsed\tHard");
        t.line(1, "--------\t---\t---");
        policy::quota_rows(t, 1, &q.status.unwrap_or_default());
    }
    let limits = builder::list(cx, &*cx.resource("limitranges").await?, Some(name), &query).await?;
    t.line(0, "");
    if limits.is_empty() {
        t.line(0, "No LimitRange resource.");
        return Ok(());
    }
    t.line(0, "Resource Limits");
    policy::LIMIT_HEAD.iter().for_each(|line| t.line(1, line));
    for l in limits {
        let l: LimitRange = l.to_typed()?;
        policy::limit_rows(t, 1, &l.spec.unwrap_or_default());
    }
    Ok(())
}

pub fn config_map(t: &mut Text, c: &ConfigMap) {
    t.head(&c.metadata);
    t.line(0, "\nData\n====");
    for (key, value) in c.data.iter().flatten() {
        t.line(0, &format!("{key}:\n----\n{value}\n"));
    }
    t.line(0, "\nBinaryData\n====");
    for (key, value) in c.binary_data.iter().flatten() {
        t.line(0, &format!("{key}: {} bytes", value.0.len()));
    }
    t.line(0, "");
}

pub fn secret(t: &mut Text, s: &Secret) {
    t.head(&s.metadata);
    let kind = s.type_.as_deref().unwrap_or_default();
    t.line(0, &format!("\nType:\t{kind}"));
    t.line(0, "\nData\n====");
    for (key, value) in s.data.iter().flatten() {
        match key.as_str() {
            "token" if kind == "kubernetes.io/service-account-token" => {
                t.pair(0, key, String::from_utf8_lossy(&value.0));
            }
            _ => t.pair(0, key, format!("{} bytes", value.0.len())),
        }
    }
}

pub fn service_account(t: &mut Text, s: &ServiceAccount) {
    t.head(&s.metadata);
    let pulls: Vec<String> = s.image_pull_secrets.iter().flatten().map(|p| p.name.clone()).collect();
    if pulls.is_empty() {
        t.line(0, "Image pull secrets:\t<none>");
    }
    for (i, name) in pulls.iter().enumerate() {
        let title = if i == 0 { "Image pull secrets:" } else { "                   " };
        t.line(0, &format!("{title}\t{name}"));
    }
}
