//! HTTP extenders: outside services asked to filter, score, preempt and bind.

use crate::config::{Extender as Given, ExtenderTls};
use gantry_client::{Client, ClientConfig, Informer, Key};
use gantry_scheduler_core::framework::MAX_SCORE;
use gantry_scheduler_core::outside::Outside;
use gantry_scheduler_core::preemption::Candidate;
use gantry_scheduler_core::{Cluster, NodeIndex, PodInfo, Rejection};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Where a call that names no time out gives up.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_EXTENDER_SCORE: i64 = 10;

struct Extender {
    given: Given,
    client: Client,
}

/// All extenders of a configuration; what they are sent comes from the informers.
#[derive(Clone)]
pub struct Extenders {
    list: Arc<Vec<Extender>>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Args<'a> {
    pod: &'a Pod,
    nodes: Option<List<Node>>,
    node_names: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Filtered {
    nodes: Option<List<Node>>,
    node_names: Option<Vec<String>>,
    failed_nodes: Option<BTreeMap<String, String>>,
    failed_and_unresolvable_nodes: Option<BTreeMap<String, String>>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostPriority {
    host: String,
    score: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Binding<'a> {
    pod_name: &'a str,
    pod_namespace: &'a str,
    #[serde(rename = "PodUID")]
    pod_uid: &'a str,
    node: &'a str,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Bound {
    error: String,
}

#[derive(Serialize, Deserialize)]
struct MetaPod {
    #[serde(rename = "UID")]
    uid: String,
}

#[derive(Serialize, Deserialize)]
struct MetaVictims {
    #[serde(rename = "Pods")]
    pods: Vec<MetaPod>,
    #[serde(rename = "NumPDBViolations", default)]
    violations: i64,
}

#[derive(Serialize)]
struct Victims {
    #[serde(rename = "Pods")]
    pods: Vec<Arc<Pod>>,
    #[serde(rename = "NumPDBViolations")]
    violations: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PreemptArgs<'a> {
    pod: &'a Pod,
    node_name_to_victims: Option<BTreeMap<String, Victims>>,
    node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Preempted {
    node_name_to_meta_victims: Option<BTreeMap<String, MetaVictims>>,
}

impl Extender {
    fn new(given: Given) -> anyhow::Result<Self> {
        let mut config = kube::Config::new(given.url_prefix.parse()?);
        config.read_timeout = Some(given.http_timeout.map_or(TIMEOUT, Duration::from));
        if let Some(tls) = &given.tls_config {
            secure(&mut config, tls)?;
        } else if given.enable_https {
            config.accept_invalid_certs = true;
        }
        Ok(Self { client: ClientConfig::new(config).build()?, given })
    }

    fn interested(&self, pod: &PodInfo) -> bool {
        let managed = &self.given.managed_resources;
        managed.is_empty() || managed.iter().any(|m| pod.requests.scalars.iter().any(|(n, _)| **n == *m.name))
    }

    async fn send<T: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> Result<T, String> {
        let url = format!("{}/{verb}", self.given.url_prefix.trim_end_matches('/'));
        // The client puts the prefix before it.
        let path = format!("/{verb}");
        let body = serde_json::to_vec(body).map_err(|e| e.to_string())?;
        let request =
            http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let call = self.client.request_text(request.map_err(|e| e.to_string())?);
        let limit = self.given.http_timeout.map_or(TIMEOUT, Duration::from);
        let text = match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|e| match gantry_client::error::ApiError::code(&e) {
                Some(code) => format!("failed {verb} with extender at URL {url}, code {code}"),
                None => e.to_string(),
            })?,
            Err(_) => return Err(format!("Post {url:?}: context deadline exceeded")),
        };
        serde_json::from_str(&text).map_err(|e| e.to_string())
    }
}

fn secure(config: &mut kube::Config, tls: &ExtenderTls) -> anyhow::Result<()> {
    use kube::config::{
        AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
    };
    let text = |s: &String| Some(s.clone()).filter(|s| !s.is_empty());
    let cluster = Cluster {
        server: Some(config.cluster_url.to_string()),
        insecure_skip_tls_verify: Some(tls.insecure),
        certificate_authority: text(&tls.ca_file),
        certificate_authority_data: text(&tls.ca_data),
        tls_server_name: text(&tls.server_name),
        ..Cluster::default()
    };
    let user = AuthInfo {
        client_certificate: text(&tls.cert_file),
        client_certificate_data: text(&tls.cert_data),
        client_key: text(&tls.key_file),
        client_key_data: text(&tls.key_data).map(Into::into),
        ..AuthInfo::default()
    };
    let name = "extender".to_owned();
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() }),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let timeout = config.read_timeout;
    let options = KubeConfigOptions::default();
    let made = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
    *config = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(made))?;
    config.read_timeout = timeout;
    Ok(())
}

/// Waits for an answer on the loop's own thread, which has nothing else to do before it.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answer))
}

impl Extenders {
    /// # Errors
    /// Where an address or a certificate makes no sense.
    pub fn new(list: Vec<Given>, pods: Informer<Pod>, nodes: Informer<Node>) -> anyhow::Result<Self> {
        let list = list.into_iter().map(Extender::new).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { list: Arc::new(list), pods, nodes })
    }

    fn pod(&self, pod: &PodInfo) -> Option<Arc<Pod>> {
        self.pods.store().get(&Key::new(&pod.namespace, &pod.name))
    }

    fn args<'a>(
        &self,
        extender: &Extender,
        pod: &'a Pod,
        cluster: &Cluster,
        nodes: &[NodeIndex],
    ) -> Args<'a> {
        let names = nodes.iter().filter_map(|at| cluster.node(*at)).map(|n| n.name.to_string());
        if extender.given.node_cache_capable {
            return Args { pod, nodes: None, node_names: Some(names.collect()) };
        }
        let items = names.filter_map(|n| self.nodes.store().get(&Key::new("", &n))).map(|n| Node::clone(&n));
        Args { pod, nodes: Some(List { items: items.collect(), ..List::default() }), node_names: None }
    }

    /// Lets an extender that binds do so. `None`: there is none for the pod.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Option<Result<(), String>> {
        for extender in self.list.iter().filter(|e| !e.given.bind_verb.is_empty() && e.interested(pod)) {
            let body =
                Binding { pod_name: &pod.name, pod_namespace: &pod.namespace, pod_uid: &pod.uid, node };
            let answer = extender.send::<Bound>(&extender.given.bind_verb, &body).await;
            let answer = answer.and_then(|b| if b.error.is_empty() { Ok(()) } else { Err(b.error) });
            if answer.is_err() && extender.given.ignorable {
                continue;
            }
            return Some(answer);
        }
        None
    }
}

impl Outside for Extenders {
    fn filter(
        &mut self,
        pod: &PodInfo,
        cluster: &Cluster,
        nodes: &mut Vec<NodeIndex>,
        refuse: &mut dyn FnMut(NodeIndex, Rejection),
    ) -> Result<(), String> {
        for extender in self.list.iter().filter(|e| !e.given.filter_verb.is_empty() && e.interested(pod)) {
            let Some(object) = self.pod(pod).filter(|_| !nodes.is_empty()) else { return Ok(()) };
            let args = self.args(extender, &object, cluster, nodes);
            let answer = wait(extender.send::<Filtered>(&extender.given.filter_verb, &args));
            let answer = match answer.and_then(|a| if a.error.is_empty() { Ok(a) } else { Err(a.error) }) {
                Ok(answer) => answer,
                Err(_) if extender.given.ignorable => continue,
                Err(error) => return Err(error),
            };
            let names = answer.node_names.or_else(|| {
                let items = answer.nodes?.items.into_iter();
                Some(items.filter_map(|n| n.metadata.name).collect())
            });
            let names = names.unwrap_or_default();
            let hopeless = answer.failed_and_unresolvable_nodes.unwrap_or_default();
            for (name, why) in &hopeless {
                cluster
                    .index(name)
                    .into_iter()
                    .for_each(|at| refuse(at, Rejection::unresolvable(why.clone())));
            }
            for (name, why) in answer.failed_nodes.unwrap_or_default() {
                if !hopeless.contains_key(&name) {
                    let at = cluster.index(&name).into_iter();
                    at.for_each(|at| refuse(at, Rejection::unschedulable(why.clone())));
                }
            }
            nodes.retain(|at| cluster.node(*at).is_some_and(|n| names.iter().any(|x| **x == *n.name)));
        }
        Ok(())
    }

    fn score(&mut self, pod: &PodInfo, cluster: &Cluster, nodes: &[NodeIndex], scores: &mut [i64]) {
        for extender in self.list.iter().filter(|e| !e.given.prioritize_verb.is_empty() && e.interested(pod))
        {
            let Some(object) = self.pod(pod) else { return };
            let args = self.args(extender, &object, cluster, nodes);
            // An extender that fails has no preference.
            let answer = wait(extender.send::<Vec<HostPriority>>(&extender.given.prioritize_verb, &args));
            let answer: HashMap<String, i64> =
                answer.unwrap_or_default().into_iter().map(|p| (p.host, p.score)).collect();
            for (score, at) in scores.iter_mut().zip(nodes) {
                let own = cluster.node(*at).and_then(|n| answer.get(&*n.name)).copied().unwrap_or(0);
                *score += own * extender.given.weight * (MAX_SCORE / MAX_EXTENDER_SCORE);
            }
        }
    }

    fn preempt(
        &mut self,
        pod: &PodInfo,
        cluster: &Cluster,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), String> {
        let name = |at: NodeIndex| cluster.node(at).map(|n| n.name.to_string()).unwrap_or_default();
        for extender in self.list.iter().filter(|e| !e.given.preempt_verb.is_empty() && e.interested(pod)) {
            let Some(object) = self.pod(pod).filter(|_| !candidates.is_empty()) else { return Ok(()) };
            let violations = |c: &Candidate| i64::try_from(c.violations).unwrap_or(i64::MAX);
            let meta = |c: &Candidate| MetaVictims {
                pods: c.victims.iter().map(|v| MetaPod { uid: v.uid.to_string() }).collect(),
                violations: violations(c),
            };
            let whole = |c: &Candidate| Victims {
                pods: c.victims.iter().filter_map(|v| self.pod(v)).collect(),
                violations: violations(c),
            };
            let cached = extender.given.node_cache_capable;
            let args = PreemptArgs {
                pod: &object,
                node_name_to_victims: (!cached)
                    .then(|| candidates.iter().map(|c| (name(c.node), whole(c))).collect()),
                node_name_to_meta_victims: cached
                    .then(|| candidates.iter().map(|c| (name(c.node), meta(c))).collect()),
            };
            let answer = match wait(extender.send::<Preempted>(&extender.given.preempt_verb, &args)) {
                Ok(answer) => answer.node_name_to_meta_victims.unwrap_or_default(),
                Err(_) if extender.given.ignorable => continue,
                Err(error) => return Err(error),
            };
            let mut empty = None;
            candidates.retain_mut(|c| {
                let Some(kept) = answer.get(&name(c.node)) else { return false };
                if kept.pods.is_empty() {
                    empty = Some(name(c.node));
                    return false;
                }
                c.victims.retain(|v| kept.pods.iter().any(|p| *p.uid == *v.uid));
                c.violations = usize::try_from(kept.violations).unwrap_or(0);
                !c.victims.is_empty()
            });
            if let Some(node) = empty.filter(|_| !extender.given.ignorable) {
                return Err(format!("expected at least one victim pod on node {node:?}"));
            }
        }
        Ok(())
    }
}
