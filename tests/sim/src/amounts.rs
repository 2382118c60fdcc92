//! Numbers and percentages, counted anew: not with the controllers' own functions.

use crate::truth::Truth;
use crate::views::PodView;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A number, or a percentage of `whole`.
pub fn scaled(value: &IntOrString, whole: impl Fn() -> i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(n) => *n,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let hundredfold = whole() * percent;
            if up { (hundredfold + 99) / 100 } else { hundredfold / 100 }
        }
    }
}

/// How far a deployment's roll-out may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub replicas: i32,
    pub surge: i32,
    pub unavailable: i32,
}

pub fn bounds(deployment: &Deployment) -> Bounds {
    let spec = deployment.spec.clone().unwrap_or_default();
    let replicas = spec.replicas.unwrap_or(1);
    let strategy = spec.strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("Recreate") {
        return Bounds { replicas, surge: 0, unavailable: replicas };
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let quarter = IntOrString::String("25%".into());
    let surge = scaled(rolling.max_surge.as_ref().unwrap_or(&quarter), || replicas, true);
    let unavailable = scaled(rolling.max_unavailable.as_ref().unwrap_or(&quarter), || replicas, false);
    // With neither nothing could ever happen.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { replicas, surge, unavailable: unavailable.min(replicas) }
}

impl Truth {
    /// The fewest pods the owners of these wanted lately.
    pub fn fewest_expected(&self, pods: &[&PodView]) -> i32 {
        self.sum(pods, |sizes| sizes.min())
    }

    /// The pods the owners of these want now.
    pub fn expected(&self, pods: &[&PodView]) -> i32 {
        self.sum(pods, |sizes| sizes.last())
    }

    fn sum(&self, pods: &[&PodView], choose: fn(&mut dyn Iterator<Item = i32>) -> Option<i32>) -> i32 {
        let mut owners: Vec<String> = Vec::new();
        let mut sum = 0;
        for owner in pods.iter().filter_map(|p| p.owner.as_ref()) {
            let (root, wanted) = self.wanted_by(&owner.uid, choose);
            if !owners.contains(&root) {
                owners.push(root);
                sum += wanted;
            }
        }
        sum
    }

    /// Who decides about an owner's size, and one of the sizes it may be believed to have, the present one last.
    fn wanted_by(
        &self,
        uid: &str,
        choose: fn(&mut dyn Iterator<Item = i32>) -> Option<i32>,
    ) -> (String, i32) {
        let chosen = |sizes: &mut dyn Iterator<Item = i32>| choose(sizes).unwrap_or(0);
        let sets = self.replica_sets.values().find(|s| s.now.metadata.uid.as_deref() == Some(uid));
        if let Some(set) = sets {
            let above =
                set.now.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
            let found = above.and_then(|above| {
                self.deployments.values().find(|d| d.now.metadata.uid.as_ref() == Some(&above.uid))
            });
            return match found {
                Some(d) => {
                    let uid = d.now.metadata.uid.clone().unwrap_or_default();
                    (uid, chosen(&mut d.believable().map(|d| bounds(d).replicas)))
                }
                None => {
                    let size = |s: &k8s_openapi::api::apps::v1::ReplicaSet| {
                        s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
                    };
                    (uid.to_owned(), chosen(&mut set.believable().map(size)))
                }
            };
        }
        let stateful = self.stateful_sets.values().find(|s| s.now.metadata.uid.as_deref() == Some(uid));
        let size = |s: &k8s_openapi::api::apps::v1::StatefulSet| {
            s.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
        };
        (uid.to_owned(), stateful.map_or(0, |s| chosen(&mut s.believable().map(size))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: (i32, i32, i32)) {
        let deployment: Deployment = serde_json::from_str(text).unwrap();
        let b = bounds(&deployment);
        assert_eq!((b.replicas, b.surge, b.unavailable), expected, "{text}");
    }

    #[test]
    fn bounds_round_as_documented() {
        check(r#"{"spec":{"replicas":3}}"#, (3, 1, 0));
        check(r#"{"spec":{"replicas":10}}"#, (10, 3, 2));
        check(r#"{"spec":{"replicas":4,"strategy":{"type":"Recreate"}}}"#, (4, 0, 4));
        let both =
            r#"{"spec":{"replicas":3,"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":"10%"}}}}"#;
        check(both, (3, 0, 1));
        check(
            r#"{"spec":{"replicas":2,"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":5}}}}"#,
            (2, 0, 2),
        );
    }
}
