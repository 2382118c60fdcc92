//! What a configuration is refused for, in upstream's words.

use super::file::{Extender, File, FileProfile, PluginArgs, PluginSet};
use super::profiles::points;
use anyhow::bail;
use gantry_machinery::selector::{NodeSelector, PreferredTerms};
use gantry_scheduler_plugins::args::{
    NodeResourcesFitArgs, PodTopologySpreadArgs, ResourceSpec, UtilizationShapePoint,
};
use gantry_types::field::{Error, ErrorList, Path};
use gantry_types::names;
use std::collections::BTreeMap;

/// Plugins that were once there.
const GONE: [&str; 4] = ["AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits"];
const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const STRATEGIES: [&str; 3] = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];

/// # Errors
/// Everything that is wrong, together.
pub fn check(file: &File) -> anyhow::Result<()> {
    let mut errors: Vec<String> = all(file).iter().map(ToString::to_string).collect();
    errors.extend(selectors(file));
    match errors.as_slice() {
        [] => Ok(()),
        [one] => bail!("{one}"),
        many => bail!("[{}]", many.join(", ")),
    }
}

fn all(file: &File) -> ErrorList {
    let mut errs = ErrorList::new();
    if file.client_connection.burst < 0 {
        let at = Path::new("clientConnection").child("burst");
        errs.push(Error::invalid(&at, &file.client_connection.burst, "must be non-negative"));
    }
    if let Some(lock) =
        file.leader_election.resource_lock.as_deref().filter(|l| !l.is_empty() && *l != "leases")
        && file.leader_election.leader_elect != Some(false)
    {
        let at = Path::new("leaderElection").child("resourceLock");
        errs.push(Error::invalid(&at, lock, "resourceLock value must be \"leases\""));
    }
    if let Some(n) = file.parallelism.filter(|n| *n <= 0) {
        let words = "should be an integer value greater than zero";
        errs.push(Error::invalid(&Path::new("parallelism"), &n, words));
    }
    let at = Path::new("profiles");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, profile) in file.profiles.iter().enumerate() {
        let path = at.index(i);
        one_profile(profile, &path, &mut errs);
        let name = profile.scheduler_name.as_deref().unwrap_or_default();
        if let Some(before) = seen.insert(name, i) {
            let before = at.index(before).child("schedulerName").to_string();
            errs.push(Error::duplicate(&path.child("schedulerName"), before.as_str()));
        }
    }
    queue_sorts(&file.profiles, &at, &mut errs);
    percentage(file.percentage_of_nodes_to_score, &Path::root(), &mut errs);
    let (initial, max) =
        (file.pod_initial_backoff_seconds.unwrap_or(1), file.pod_max_backoff_seconds.unwrap_or(10));
    if initial <= 0 {
        errs.push(Error::invalid(&Path::new("podInitialBackoffSeconds"), &initial, "must be greater than 0"));
    }
    if max < initial {
        let words = "must be greater than or equal to PodInitialBackoffSeconds";
        errs.push(Error::invalid(&Path::new("podMaxBackoffSeconds"), &max, words));
    }
    extenders(&file.extenders, &mut errs);
    errs
}

fn percentage(given: Option<i32>, at: &Path, errs: &mut ErrorList) {
    if let Some(n) = given.filter(|n| !(0..=100).contains(n)) {
        errs.push(Error::invalid(&at.child("percentageOfNodesToScore"), &n, "not in valid range [0-100]"));
    }
}

fn one_profile(profile: &FileProfile, at: &Path, errs: &mut ErrorList) {
    if profile.scheduler_name.as_deref().unwrap_or_default().is_empty() {
        errs.push(Error::required(&at.child("schedulerName"), ""));
    }
    percentage(profile.percentage_of_nodes_to_score, at, errs);
    let gone =
        format!("was invalid in version {VERSION:?} (KubeSchedulerConfiguration is version {VERSION:?})");
    for (_, words, set) in points(&profile.plugins) {
        let mut point = words.to_owned();
        point[..1].make_ascii_lowercase();
        let at = at.child("plugins").child(&point).child("enabled");
        for (i, plugin) in set.enabled.iter().enumerate().filter(|(_, p)| GONE.contains(&p.name.as_str())) {
            errs.push(Error::invalid(&at.index(i), plugin.name.as_str(), gone.clone()));
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, config) in profile.plugin_config.iter().enumerate() {
        let path = at.child("pluginConfig").index(i);
        if seen.contains(&config.name.as_str()) {
            errs.push(Error::duplicate(&path, config.name.as_str()));
        }
        seen.push(&config.name);
        if GONE.contains(&config.name.as_str()) {
            errs.push(Error::invalid(&path, config.name.as_str(), gone.clone()));
        }
        arguments(&config.args, &path.child("args"), errs);
    }
}

fn arguments(args: &PluginArgs, at: &Path, errs: &mut ErrorList) {
    match args {
        PluginArgs::DefaultPreemption(a) => {
            let (percent, count) = (a.min_candidate_nodes_percentage, a.min_candidate_nodes_absolute);
            let (at_percent, at_count) =
                (at.child("minCandidateNodesPercentage"), at.child("minCandidateNodesAbsolute"));
            if !(0..=100).contains(&percent) {
                errs.push(Error::invalid(&at_percent, &percent, "not in valid range [0, 100]"));
            }
            if count < 0 {
                errs.push(Error::invalid(&at_count, &count, "not in valid range [0, inf)"));
            }
            if (percent, count) == (0, 0) {
                let words = |other: &str| format!("cannot be zero at the same time as {other}");
                errs.push(Error::invalid(&at_percent, &0, words("minCandidateNodesAbsolute")));
                errs.push(Error::invalid(&at_count, &0, words("minCandidateNodesPercentage")));
            }
        }
        PluginArgs::InterPodAffinity(a) => {
            if !(0..=100).contains(&a.hard_pod_affinity_weight) {
                let at = at.child("hardPodAffinityWeight");
                errs.push(Error::invalid(&at, &a.hard_pod_affinity_weight, "not in valid range [0, 100]"));
            }
        }
        PluginArgs::BalancedAllocation(a) => {
            for (i, r) in a.resources.iter().enumerate() {
                let at = at.child("resources").index(i);
                if a.resources[..i].iter().any(|o| o.name == r.name) {
                    errs.push(Error::duplicate(&at.child("name"), r.name.as_str()));
                }
                if !matches!(r.weight, 0 | 1) {
                    errs.push(Error::invalid(&at.child("weight"), &r.weight, "must be 1"));
                }
            }
        }
        PluginArgs::NodeResourcesFit(a) => fit(a, at, errs),
        PluginArgs::PodTopologySpread(a) => spread(a, at, errs),
        PluginArgs::VolumeBinding(a) => {
            if a.bind_timeout_seconds < 0 {
                let words = "invalid BindTimeoutSeconds, should not be a negative value";
                errs.push(Error::invalid(&at.child("bindTimeoutSeconds"), &a.bind_timeout_seconds, words));
            }
            if let Some(shape) = &a.shape {
                let points: Vec<(i32, i32)> = shape.iter().map(|p| (p.utilization, p.score)).collect();
                let words =
                    "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
                errs.push(Error::invalid(&at.child("shape"), &points, words));
            }
        }
        PluginArgs::NodeAffinity(_) | PluginArgs::None => {}
    }
}

fn label_name(name: &str, at: &Path, errs: &mut ErrorList) {
    errs.extend(names::qualified_name(name).into_iter().map(|why| Error::invalid(at, name, why)));
}

fn fit(a: &NodeResourcesFitArgs, at: &Path, errs: &mut ErrorList) {
    for (i, name) in a.ignored_resources.iter().enumerate() {
        label_name(name, &at.child("ignoredResources").index(i), errs);
    }
    for (i, group) in a.ignored_resource_groups.iter().enumerate() {
        let at = at.child("ignoredResourceGroups").index(i);
        if group.contains('/') {
            errs.push(Error::invalid(&at, group.as_str(), "resource group name can't contain '/'"));
        }
        label_name(group, &at, errs);
    }
    let Some(strategy) = &a.scoring_strategy else { return };
    let at = at.child("scoringStrategy");
    if !STRATEGIES.contains(&strategy.type_.as_str()) {
        errs.push(Error::not_supported(&at.child("type"), strategy.type_.as_str(), &STRATEGIES));
    }
    resources(&strategy.resources, &at.child("resources"), errs);
    let at = at.child("requestedToCapacityRatio");
    match (&strategy.requested_to_capacity_ratio, strategy.type_ == "RequestedToCapacityRatio") {
        (None, true) => {
            errs.push(Error::required(&at, "must be specified when type is RequestedToCapacityRatio"));
        }
        (Some(ratio), true) => shape(&ratio.shape, &at.child("shape"), errs),
        (Some(_), false) => {
            errs.push(Error::forbidden(&at, "must be nil when type is not RequestedToCapacityRatio"));
        }
        (None, false) => {}
    }
}

fn resources(list: &[ResourceSpec], at: &Path, errs: &mut ErrorList) {
    for (i, r) in list.iter().enumerate().filter(|(_, r)| !(0..=100).contains(&r.weight)) {
        let words = format!("resource weight of {} not in valid range (0, 100]", r.name);
        errs.push(Error::invalid(&at.index(i).child("weight"), &r.weight, words));
    }
}

fn shape(points: &[UtilizationShapePoint], at: &Path, errs: &mut ErrorList) {
    if points.is_empty() {
        errs.push(Error::required(at, "at least one point must be specified"));
    }
    if let Some(i) = (1..points.len()).find(|i| points[i - 1].utilization >= points[*i].utilization) {
        let at = at.index(i).child("utilization");
        errs.push(Error::invalid(&at, &points[i].utilization, "values must be sorted in increasing order"));
    }
    for (i, p) in points.iter().enumerate() {
        if !(0..=100).contains(&p.utilization) {
            let at = at.index(i).child("utilization");
            errs.push(Error::invalid(&at, &p.utilization, "not in valid range [0, 100]"));
        }
        if !(0..=10).contains(&p.score) {
            errs.push(Error::invalid(&at.index(i).child("score"), &p.score, "not in valid range [0, 10]"));
        }
    }
}

fn spread(a: &PodTopologySpreadArgs, at: &Path, errs: &mut ErrorList) {
    let kind = at.child("defaultingType");
    match a.defaulting_type.as_str() {
        "List" => {}
        "System" if a.default_constraints.is_empty() => {}
        "System" => errs.push(Error::invalid(&kind, "System", "when .defaultConstraints are not empty")),
        other => errs.push(Error::not_supported(&kind, other, &["System", "List"])),
    }
    let at = at.child("defaultConstraints");
    for (i, c) in a.default_constraints.iter().enumerate() {
        let at = at.index(i);
        if c.max_skew <= 0 {
            errs.push(Error::invalid(&at.child("maxSkew"), &c.max_skew, "not in valid range (0, inf)"));
        }
        if c.topology_key.is_empty() {
            errs.push(Error::required(&at.child("topologyKey"), "can not be empty"));
        } else {
            label_name(&c.topology_key, &at.child("topologyKey"), errs);
        }
        let action = at.child("whenUnsatisfiable");
        match c.when_unsatisfiable.as_str() {
            "" => errs.push(Error::required(&action, "can not be empty")),
            "DoNotSchedule" | "ScheduleAnyway" => {}
            other => errs.push(Error::not_supported(&action, other, &["DoNotSchedule", "ScheduleAnyway"])),
        }
        if c.label_selector.is_some() {
            let words = "constraint must not define a selector, as they deduced for each pod";
            errs.push(Error::forbidden(&at.child("labelSelector"), words));
        }
        let same = |o: &&k8s_openapi::api::core::v1::TopologySpreadConstraint| {
            o.topology_key == c.topology_key && o.when_unsatisfiable == c.when_unsatisfiable
        };
        if a.default_constraints[..i].iter().any(|o| same(&o)) {
            let value = format!("{{{}, {}}}", c.topology_key, c.when_unsatisfiable);
            errs.push(Error::duplicate(&at, value.as_str()));
        }
    }
}

/// What is wrong with added affinities; their messages come whole from the selectors.
fn selectors(file: &File) -> Vec<String> {
    let mut out = Vec::new();
    for (i, profile) in file.profiles.iter().enumerate() {
        for (j, config) in profile.plugin_config.iter().enumerate() {
            let PluginArgs::NodeAffinity(args) = &config.args else { continue };
            let Some(added) = &args.added_affinity else { continue };
            let at = Path::new("profiles").index(i).child("pluginConfig").index(j);
            let at = at.child("args").child("addedAffinity");
            if let Some(required) = &added.required_during_scheduling_ignored_during_execution {
                let at = at.child("requiredDuringSchedulingIgnoredDuringExecution");
                out.extend(NodeSelector::new(required, &at).error().map(|e| e.0));
            }
            if let Some(preferred) = &added.preferred_during_scheduling_ignored_during_execution {
                let at = at.child("preferredDuringSchedulingIgnoredDuringExecution");
                out.extend(PreferredTerms::new(preferred, &at).err().map(|e| e.0));
            }
        }
    }
    out
}

fn queue_sorts(profiles: &[FileProfile], at: &Path, errs: &mut ErrorList) {
    let Some(first) = profiles.first() else { return };
    let canon = &first.plugins.queue_sort;
    let names = |set: &PluginSet| set.enabled.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    if canon.enabled.len() > 1 {
        let at = at.index(0).child("plugins").child("queueSort").child("Enabled");
        errs.push(Error::invalid(&at, &canon.enabled.len(), "only one queue sort plugin can be enabled"));
    }
    for (i, profile) in profiles.iter().enumerate().skip(1) {
        let own = &profile.plugins.queue_sort;
        if own != canon {
            let at = at.index(i).child("plugins").child("queueSort");
            errs.push(Error::invalid(&at, &names(own), "must be the same for all profiles"));
        }
    }
}

fn extenders(list: &[Extender], errs: &mut ErrorList) {
    let at = Path::new("extenders");
    let mut seen: Vec<&str> = Vec::new();
    for (i, extender) in list.iter().enumerate() {
        let at = at.index(i);
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let words = "must have a positive weight applied to it";
            errs.push(Error::invalid(&at.child("weight"), &extender.weight, words));
        }
        for (j, resource) in extender.managed_resources.iter().enumerate() {
            let at = at.child("managedResources").index(j).child("name");
            let name = resource.name.as_str();
            let wrong = names::qualified_name(name);
            if wrong.is_empty()
                && (!name.contains('/') || name.contains("kubernetes.io/") || name.starts_with("requests."))
            {
                errs.push(Error::invalid(&at, name, "is an invalid extended resource name"));
            }
            errs.extend(wrong.into_iter().map(|why| Error::invalid(&at, name, why)));
            if seen.contains(&name) {
                errs.push(Error::invalid(&at, name, "duplicate extender managed resource name"));
            }
            seen.push(name);
        }
    }
    let binders = list.iter().filter(|e| !e.bind_verb.is_empty()).count();
    if binders > 1 {
        let value = format!("found {binders} extenders implementing bind");
        errs.push(Error::invalid(&at, value.as_str(), "only one extender can implement bind"));
    }
}
