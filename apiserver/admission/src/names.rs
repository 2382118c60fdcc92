//! The names of plugins in flags.

use crate::PLUGINS;
use gantry_types::field::go_quote;

/// Upstream's other plugins: their names are known, the plugins are not here (yet).
const ABSENT: [&str; 26] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "ClusterTrustBundleAttest",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "JobValidation",
    "LimitPodHardAntiAffinityTopology",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeDeclaredFeatureValidator",
    "OwnerReferencesPermissionEnforcement",
    "PodGroupProtection",
    "PodGroupWorkloadExists",
    "PodNodeSelector",
    "PodResizeValidator",
    "PodSecurity",
    "PodTolerationRestriction",
    "PodTopologyLabels",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
];

/// A plugin named in a flag that cannot be.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum UnknownPlugin {
    #[error("{flag} plugin {} is unknown", go_quote(name))]
    Name { flag: &'static str, name: String },
    #[error("[{}] in enable-admission-plugins and disable-admission-plugins overlapped", names.join(" "))]
    Both { names: Vec<String> },
}

/// Checks the names in `--enable-admission-plugins` and `--disable-admission-plugins`.
///
/// # Errors
/// Where a name is no plugin of Kubernetes, or in both lists.
pub fn check_names(enable: &[String], disable: &[String]) -> Result<(), UnknownPlugin> {
    let known = |name: &str| PLUGINS.iter().any(|(n, _)| *n == name) || ABSENT.contains(&name);
    for (flag, list) in [("enable-admission-plugins", enable), ("disable-admission-plugins", disable)] {
        if let Some(name) = list.iter().find(|name| !known(name)) {
            return Err(UnknownPlugin::Name { flag, name: name.clone() });
        }
    }
    let mut names: Vec<String> = enable.iter().filter(|n| disable.contains(n)).cloned().collect();
    names.sort();
    names.dedup();
    if names.is_empty() { Ok(()) } else { Err(UnknownPlugin::Both { names }) }
}

/// The names in a list that are upstream's and do nothing here.
pub fn absent(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().map(String::as_str).filter(|name| ABSENT.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_known_by_name() {
        let check = |enable: &[&str], disable: &[&str], want: Option<&str>| {
            let owned = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
            let found = check_names(&owned(enable), &owned(disable)).err().map(|e| e.to_string());
            assert_eq!(found.as_deref(), want);
        };
        check(&["NodeRestriction", "PodSecurity"], &["ResourceQuota"], None);
        check(&["Nodes"], &[], Some(r#"enable-admission-plugins plugin "Nodes" is unknown"#));
        check(&[], &["a\"b"], Some(r#"disable-admission-plugins plugin "a\"b" is unknown"#));
        let why = "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped";
        check(&["Priority"], &["Priority"], Some(why));
        assert!(PLUGINS.iter().all(|(name, _)| !ABSENT.contains(name)));
    }
}
