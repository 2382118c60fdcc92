//! What plugins are: named hooks at the framework's extension points.
//!
//! A plugin is asked once per pod shape ([`Plugin::prepare`]), once per cycle ([`Plugin::pre_filter`],
//! [`Plugin::pre_score`]) and once per node ([`Plugin::filter`], [`Plugin::score`]). What a local plugin says
//! of a node is remembered for all equal pods until that node changes.

use crate::cluster::{Cluster, NodeIndex};
use crate::cycle::Search;
use crate::event::Event;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::preemption::Preemption;
use crate::tally::TallyIndex;
use jiff::SignedDuration;
use std::any::Any;
use std::borrow::Cow;

pub const MAX_SCORE: i64 = 100;

/// Where plugins hang on, in the names of `KubeSchedulerConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
}

/// Upstream's words, one or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasons {
    One(Cow<'static, str>),
    Many(Vec<Cow<'static, str>>),
}

impl Reasons {
    pub fn iter(&self) -> std::slice::Iter<'_, Cow<'static, str>> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::Many(many) => many.iter(),
        }
    }
}

/// Why a node (or the pod as a whole) is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Each is counted over the nodes.
    pub reasons: Reasons,
    /// Whether removing pods from the node could help.
    pub resolvable: bool,
}

impl Rejection {
    /// Removing pods could help.
    pub fn unschedulable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: Reasons::One(reason.into()), resolvable: true }
    }

    /// Nothing that happens to pods could help.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: Reasons::One(reason.into()), resolvable: false }
    }
}

/// What a plugin made of the pod before any node is looked at.
pub enum PreFilter {
    /// Look at every node.
    Run,
    /// This plugin has nothing to say on this pod.
    Skip,
    /// Only these nodes can do.
    Only(Vec<NodeIndex>),
    Reject(Rejection),
}

/// What a plugin worked out for a shape of pod, for all cycles.
pub type Prepared = Option<Box<dyn Any + Send>>;

/// What a plugin carries from its pre-filter to its filter and scores, for one pod.
pub type Carried = Option<Box<dyn Any>>;

/// What plugins look at.
pub struct Cx<'a> {
    pub pod: &'a PodInfo,
    pub cluster: &'a Cluster,
    pub prepared: &'a Prepared,
}

impl Cx<'_> {
    /// What [`Plugin::prepare`] made, as what it is.
    pub fn prepared<T: 'static>(&self) -> Option<&T> {
        self.prepared.as_ref()?.downcast_ref()
    }
}

/// The carried value as what it is.
pub fn carried<T: 'static>(carried: &Carried) -> Option<&T> {
    carried.as_ref()?.downcast_ref()
}

/// Whether a pod may be bound to the node chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permit {
    Allow,
    Reject(Rejection),
}

/// One thing to do before or in binding, in order. Claims are `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bind a volume to a claim.
    GiveVolume { volume: String, claim: String },
    /// Say for which node a claim's volume is to be made.
    ChooseNode { claim: String, node: String },
    /// Wait until these are bound.
    AwaitClaims { claims: Vec<String>, node: String, timeout: SignedDuration },
    /// Post the Binding.
    Bind { node: String },
}

/// A plugin. Every hook has the behaviour of not being there as its default.
pub trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;

    /// The extension points it has something at.
    fn points(&self) -> &'static [Point];

    /// # Errors
    /// Why the pod may not even wait for its turn.
    fn pre_enqueue(&self, _pod: &PodInfo, _cluster: &Cluster) -> Result<(), &'static str> {
        Ok(())
    }

    /// Greater ranks are tried first; equal ones in the order they came.
    fn rank(&self, _pod: &PodInfo) -> i64 {
        0
    }

    /// Once for all pods of a shape: what to know beforehand. Tallies begun are put on `hold` and end when
    /// the shape is forgotten.
    fn prepare(&self, _pod: &PodInfo, _cluster: &mut Cluster, _hold: &mut Vec<TallyIndex>) -> Prepared {
        None
    }

    /// Whether what was prepared still holds after namespaces or workloads have changed.
    fn still(&self, _cx: &Cx<'_>) -> bool {
        true
    }

    fn pre_filter(&self, _cx: &Cx<'_>, _carried: &mut Carried) -> PreFilter {
        PreFilter::Run
    }

    /// Pods have been put or lifted on trial since the pre-filter.
    fn refresh(&self, _cx: &Cx<'_>, _carried: &mut Carried) {}

    /// Whether filter and score depend on nothing but the pod's shape, the node and its pods.
    fn local(&self) -> bool {
        true
    }

    /// What else a local plugin depends on, as a number.
    fn local_epoch(&self, _cx: &Cx<'_>) -> u64 {
        0
    }

    /// # Errors
    /// Where the pod cannot run on the node.
    fn filter(
        &self,
        _cx: &Cx<'_>,
        _at: NodeIndex,
        _node: &NodeInfo,
        _carried: &Carried,
    ) -> Result<(), Rejection> {
        Ok(())
    }

    /// Filters many at once: keeps those that pass, tells of those that do not.
    fn filter_many(
        &self,
        cx: &Cx<'_>,
        nodes: &mut Vec<NodeIndex>,
        carried: &Carried,
        refuse: &mut dyn FnMut(NodeIndex, Rejection),
    ) {
        nodes.retain(|at| {
            let Some(node) = cx.cluster.node(*at) else { return false };
            match self.filter(cx, *at, node, carried) {
                Ok(()) => true,
                Err(why) => {
                    refuse(*at, why);
                    false
                }
            }
        });
    }

    /// Makes room, or says why it cannot. `None`: has nothing to say.
    fn post_filter(&self, _search: &mut Search<'_, '_>) -> Option<Preemption> {
        None
    }

    /// Whether the plugin scores this pod at all.
    fn pre_score(&self, _cx: &Cx<'_>, _feasible: &[NodeIndex], _carried: &mut Carried) -> bool {
        true
    }

    /// Any scale where the plugin normalizes, else 0 to [`MAX_SCORE`].
    fn score(&self, _cx: &Cx<'_>, _at: NodeIndex, _node: &NodeInfo, _carried: &Carried) -> i64 {
        0
    }

    fn score_many(&self, cx: &Cx<'_>, nodes: &[NodeIndex], carried: &Carried, out: &mut [i64]) {
        for (out, at) in out.iter_mut().zip(nodes) {
            *out = cx.cluster.node(*at).map_or(0, |node| self.score(cx, *at, node, carried));
        }
    }

    fn normalizes(&self) -> bool {
        false
    }

    fn normalize(&self, _cx: &Cx<'_>, _nodes: &[NodeIndex], _carried: &Carried, _scores: &mut [i64]) {}

    /// # Errors
    /// Where what the pod needs cannot be set aside after all.
    fn reserve(&self, _pod: &PodInfo, _node: NodeIndex, _cluster: &mut Cluster) -> Result<(), Rejection> {
        Ok(())
    }

    fn unreserve(&self, _pod: &PodInfo, _node: NodeIndex, _cluster: &mut Cluster) {}

    fn permit(&self, _pod: &PodInfo, _node: NodeIndex, _cluster: &Cluster) -> Permit {
        Permit::Allow
    }

    fn pre_bind(&self, _pod: &PodInfo, _node: NodeIndex, _cluster: &Cluster) -> Vec<Step> {
        Vec::new()
    }

    fn bind(&self, _pod: &PodInfo, _node: NodeIndex, _cluster: &Cluster) -> Option<Step> {
        None
    }

    fn post_bind(&self, _pod: &PodInfo, _cluster: &mut Cluster) {}

    /// Whether an event could let a pod pass that this plugin refused (KEP-4247).
    fn helps(&self, _pod: &PodInfo, _event: &Event<'_>, _cluster: &Cluster) -> bool {
        false
    }
}

/// Brings scores to 0 to [`MAX_SCORE`] in proportion to the largest; `reverse` makes small ones good.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    if max == 0 {
        return scores.fill(if reverse { MAX_SCORE } else { 0 });
    }
    for score in scores.iter_mut() {
        let scaled = *score * MAX_SCORE / max;
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// A scheduler's plugins, and where each takes part, in order. Numbers are places in `plugins`, at most 63.
#[derive(Default)]
pub struct Profile {
    pub scheduler: Box<str>,
    pub plugins: Vec<Box<dyn Plugin>>,
    pub pre_enqueue: Vec<usize>,
    pub queue_sort: usize,
    pub pre_filter: Vec<usize>,
    pub filter: Vec<usize>,
    pub post_filter: Vec<usize>,
    pub pre_score: Vec<usize>,
    /// With weights.
    pub score: Vec<(usize, i64)>,
    pub reserve: Vec<usize>,
    pub permit: Vec<usize>,
    pub pre_bind: Vec<usize>,
    pub bind: Vec<usize>,
    pub post_bind: Vec<usize>,
    /// 0: as many as the adaptive rule says.
    pub percentage_of_nodes_to_score: usize,
}

impl Profile {
    /// Each plugin with its weight, at every point it has something at.
    pub fn new(scheduler: &str, plugins: Vec<(Box<dyn Plugin>, i64)>) -> Self {
        let mut out = Self { scheduler: scheduler.into(), ..Self::default() };
        for (i, (plugin, weight)) in plugins.into_iter().enumerate() {
            for point in plugin.points() {
                out.enable(*point, i, weight);
            }
            out.plugins.push(plugin);
        }
        out
    }

    /// Lets a plugin take part at a point, after those that do already.
    pub fn enable(&mut self, point: Point, plugin: usize, weight: i64) {
        match point {
            Point::QueueSort => self.queue_sort = plugin,
            Point::Score => self.score.push((plugin, weight)),
            Point::PreEnqueue => self.pre_enqueue.push(plugin),
            Point::PreFilter => self.pre_filter.push(plugin),
            Point::Filter => self.filter.push(plugin),
            Point::PostFilter => self.post_filter.push(plugin),
            Point::PreScore => self.pre_score.push(plugin),
            Point::Reserve => self.reserve.push(plugin),
            Point::Permit => self.permit.push(plugin),
            Point::PreBind => self.pre_bind.push(plugin),
            Point::Bind => self.bind.push(plugin),
            Point::PostBind => self.post_bind.push(plugin),
        }
    }

    /// The first plugin that keeps a pod out of the queues, and why.
    ///
    /// # Errors
    /// Its place and its words.
    pub fn admit(&self, pod: &PodInfo, cluster: &Cluster) -> Result<(), (usize, &'static str)> {
        for i in &self.pre_enqueue {
            self.plugins[*i].pre_enqueue(pod, cluster).map_err(|why| (*i, why))?;
        }
        Ok(())
    }

    pub fn rank(&self, pod: &PodInfo) -> i64 {
        self.plugins.get(self.queue_sort).map_or(0, |p| p.rank(pod))
    }

    /// The names of the plugins in a mask, sorted.
    pub fn names(&self, mask: u64) -> Vec<&'static str> {
        let set = self.plugins.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0);
        let mut names: Vec<_> = set.map(|(_, p)| p.name()).collect();
        names.sort_unstable();
        names
    }
}
