//! The environment of a container.

use crate::ctx::Ctx;
use gantry_kubelet_core::{env, fields, pods};
use gantry_kubelet_volumes::{FetchError, Source};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use std::collections::{BTreeMap, HashMap};

/// Every variable with its final value, in the order of the spec, service variables last.
///
/// # Errors
/// Where something referred to is missing and not optional, in upstream's words.
pub async fn build(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    pod_ips: &[String],
) -> Result<Vec<(String, String)>, String> {
    let ns = pods::namespace(pod);
    let mut services: BTreeMap<String, String> = BTreeMap::new();
    for s in ctx.objects.services(pod).await {
        services.extend(env::service(&s));
    }
    let mut order: Vec<String> = Vec::new();
    let mut values: HashMap<String, String> = HashMap::new();
    let mut set = |values: &mut HashMap<String, String>, name: String, value: String| {
        if values.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    };
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let pairs: Vec<(String, String)> = if let Some(r) = &from.config_map_ref {
            let map = optional(ctx.objects.config_map(ns, &r.name).await, r.optional)?;
            map.and_then(|m| m.data.clone()).into_iter().flatten().collect()
        } else if let Some(r) = &from.secret_ref {
            let secret = optional(ctx.objects.secret(ns, &r.name).await, r.optional)?;
            let data = secret.and_then(|s| s.data.clone()).into_iter().flatten();
            data.map(|(k, v)| (k, String::from_utf8_lossy(&v.0).into_owned())).collect()
        } else {
            Vec::new()
        };
        for (key, value) in pairs {
            let name = format!("{prefix}{key}");
            if env::is_name(&name) {
                set(&mut values, name, value);
            }
        }
    }
    let node = ctx.field_facts(pod_ips);
    for e in container.env.iter().flatten() {
        let value = match (&e.value, &e.value_from) {
            (Some(v), _) if !v.is_empty() => {
                Some(env::expand(v, |name| values.get(name).or_else(|| services.get(name)).cloned()))
            }
            (_, Some(from)) => referred(ctx, pod, container, from, &node).await?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut values, e.name.clone(), value);
        }
    }
    for (name, value) in services {
        if !values.contains_key(&name) {
            set(&mut values, name, value);
        }
    }
    Ok(order.into_iter().map(|n| (values.remove(&n).unwrap_or_default(), n)).map(|(v, n)| (n, v)).collect())
}

fn optional<T>(found: Result<T, FetchError>, optional: Option<bool>) -> Result<Option<T>, String> {
    match found {
        Ok(v) => Ok(Some(v)),
        Err(FetchError::NotFound(_)) if optional == Some(true) => Ok(None),
        Err(e) => Err(e.to_string()),
    }
}

async fn referred(
    ctx: &Ctx,
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    node: &fields::Node,
) -> Result<Option<String>, String> {
    let ns = pods::namespace(pod);
    if let Some(f) = &from.field_ref {
        return fields::field(pod, &f.field_path, node).map(Some);
    }
    if let Some(r) = &from.resource_field_ref {
        return fields::resource(pod, Some(container), r, node).map(Some);
    }
    if let Some(r) = &from.config_map_key_ref {
        let Some(map) = optional(ctx.objects.config_map(ns, &r.name).await, r.optional)? else {
            return Ok(None);
        };
        return match map.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(v.clone())),
            None if r.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {ns}/{}", r.key, r.name)),
        };
    }
    if let Some(r) = &from.secret_key_ref {
        let Some(secret) = optional(ctx.objects.secret(ns, &r.name).await, r.optional)? else {
            return Ok(None);
        };
        return match secret.data.as_ref().and_then(|d| d.get(&r.key)) {
            Some(v) => Ok(Some(String::from_utf8_lossy(&v.0).into_owned())),
            None if r.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {ns}/{}", r.key, r.name)),
        };
    }
    Ok(None)
}
