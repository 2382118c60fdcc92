//! Which plugins a profile has, where, in which order and with which weights and arguments.

use super::file::{File, FileProfile, PluginArgs, PluginRef, PluginSet, Plugins};
use super::{Settled, settled, validate};
use anyhow::bail;
use gantry_scheduler_core::{Point, Profile};
use gantry_scheduler_plugins::args::Args;
use gantry_scheduler_plugins::{DEFAULT, registry};
use std::collections::BTreeMap;

/// Defaults, checks and makes what a file describes.
///
/// # Errors
/// What is wrong, in upstream's words.
pub fn settle(mut file: File) -> anyhow::Result<Settled> {
    if file.profiles.is_empty() {
        file.profiles.push(FileProfile::default());
    }
    // Several profiles must all be named.
    if let [only] = file.profiles.as_mut_slice() {
        only.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    }
    validate::check(&file)?;
    let percentage = file.percentage_of_nodes_to_score.unwrap_or(0);
    let profiles = file.profiles.iter().map(|p| profile(p, percentage, &file)).collect::<Result<_, _>>()?;
    let (initial, max) =
        (file.pod_initial_backoff_seconds.unwrap_or(1), file.pod_max_backoff_seconds.unwrap_or(10));
    settled(profiles, file.extenders, initial, max)
}

/// A plugin and its weight; 0 where none is given.
type Listed = (String, i64);

/// The default set with what is disabled left out, what is given again in its place, and the rest after it.
pub(super) fn merge(defaults: &[(&str, i64)], custom: &PluginSet) -> Vec<Listed> {
    let off = |name: &str| custom.disabled.iter().any(|d| d.name == name || d.name == "*");
    let weight = |p: &PluginRef| p.weight.map_or(0, i64::from);
    let mut left: Vec<&PluginRef> = custom.enabled.iter().collect();
    let mut out: Vec<Listed> = Vec::new();
    for (name, default) in defaults {
        if off(name) {
            continue;
        }
        let again = left.iter().position(|p| p.name == *name).map(|at| left.remove(at));
        out.push(((*name).to_owned(), again.map_or(*default, weight)));
    }
    out.extend(left.into_iter().map(|p| (p.name.clone(), weight(p))));
    out
}

/// Each point with the set that speaks of it.
pub(super) fn points(plugins: &Plugins) -> [(Point, &'static str, &PluginSet); 12] {
    [
        (Point::PreEnqueue, "PreEnqueue", &plugins.pre_enqueue),
        (Point::QueueSort, "QueueSort", &plugins.queue_sort),
        (Point::PreFilter, "PreFilter", &plugins.pre_filter),
        (Point::Filter, "Filter", &plugins.filter),
        (Point::PostFilter, "PostFilter", &plugins.post_filter),
        (Point::PreScore, "PreScore", &plugins.pre_score),
        (Point::Score, "Score", &plugins.score),
        (Point::Reserve, "Reserve", &plugins.reserve),
        (Point::Permit, "Permit", &plugins.permit),
        (Point::PreBind, "PreBind", &plugins.pre_bind),
        (Point::Bind, "Bind", &plugins.bind),
        (Point::PostBind, "PostBind", &plugins.post_bind),
    ]
}

fn arguments(profile: &FileProfile) -> Args {
    let mut args = Args::default();
    for config in &profile.plugin_config {
        match config.args.clone() {
            PluginArgs::DefaultPreemption(a) => args.default_preemption = a,
            PluginArgs::InterPodAffinity(a) => args.inter_pod_affinity = a,
            PluginArgs::NodeAffinity(a) => args.node_affinity = a,
            PluginArgs::BalancedAllocation(a) => args.balanced_allocation = a.with_defaults(),
            PluginArgs::NodeResourcesFit(a) => args.node_resources_fit = a,
            PluginArgs::PodTopologySpread(a) => args.pod_topology_spread = a,
            PluginArgs::VolumeBinding(a) => args.volume_binding = a,
            PluginArgs::None => {}
        }
    }
    args.node_resources_fit = args.node_resources_fit.with_defaults();
    args
}

fn profile(given: &FileProfile, percentage: i32, file: &File) -> anyhow::Result<Profile> {
    let mut args = arguments(given);
    // What an extender answers for is not the scheduler's to count.
    let managed = file.extenders.iter().flat_map(|e| &e.managed_resources).filter(|m| m.ignored_by_scheduler);
    args.node_resources_fit.ignored_resources.extend(managed.map(|m| m.name.clone()));
    let scheduler = given.scheduler_name.as_deref().unwrap_or_default();
    let percentage = given.percentage_of_nodes_to_score.unwrap_or(percentage);
    let mut out = Profile {
        scheduler: scheduler.into(),
        percentage_of_nodes_to_score: usize::try_from(percentage).unwrap_or(0),
        ..Profile::default()
    };
    let wrong = |what: String| {
        anyhow::anyhow!("initializing profiles: creating profile for scheduler name {scheduler}: {what}")
    };
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut place = |out: &mut Profile, name: &str| -> anyhow::Result<usize> {
        if let Some(at) = known.get(name) {
            return Ok(*at);
        }
        let Some(plugin) = registry(name, &args) else { bail!(wrong(format!("{name} does not exist"))) };
        out.plugins.push(plugin);
        known.insert(name.to_owned(), out.plugins.len() - 1);
        Ok(out.plugins.len() - 1)
    };
    let multi = merge(&DEFAULT, &given.plugins.multi_point);
    let mut sorted = false;
    for (name, _) in &multi {
        place(&mut out, name)?;
    }
    for (point, words, set) in points(&given.plugins) {
        let off = |name: &str| set.disabled.iter().any(|d| d.name == name || d.name == "*");
        let has = |out: &Profile, at: usize| out.plugins[at].points().contains(&point);
        let mut own: Vec<(usize, i64)> = Vec::new();
        for plugin in &set.enabled {
            let at = place(&mut out, &plugin.name)?;
            if !has(&out, at) {
                bail!(wrong(format!("plugin {:?} does not extend {words} plugin", plugin.name)));
            }
            if own.iter().any(|(a, _)| *a == at) {
                bail!(wrong(format!("plugin {:?} already registered as {:?}", plugin.name, words)));
            }
            own.push((at, plugin.weight.map_or(0, i64::from)));
        }
        // Those of the default set that are given again at the point come first there, then its own, then
        // the rest.
        let mut order: Vec<(usize, i64)> = Vec::new();
        let mut rest: Vec<(usize, i64)> = Vec::new();
        for (name, weight) in &multi {
            let at = place(&mut out, name)?;
            if !has(&out, at) || off(name) {
                continue;
            }
            match own.iter().position(|(a, _)| *a == at) {
                Some(i) => order.push(own.remove(i)),
                None => rest.push((at, *weight)),
            }
        }
        order.extend(own);
        order.extend(rest);
        if point == Point::QueueSort {
            if order.len() > 1 {
                bail!(wrong(format!(
                    "only one queue sort plugin required for profile with scheduler name {scheduler:?}, but got {}",
                    order.len()
                )));
            }
            sorted = !order.is_empty();
        }
        for (at, weight) in order {
            out.enable(point, at, if weight == 0 { 1 } else { weight });
        }
    }
    if !sorted {
        bail!(wrong(format!(
            "at least one queue sort plugin is required for profile with scheduler name {scheduler:?}"
        )));
    }
    if out.bind.is_empty() {
        bail!(wrong("at least one bind plugin is needed".into()));
    }
    Ok(out)
}
