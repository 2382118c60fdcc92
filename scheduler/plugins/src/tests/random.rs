//! Random clusters and pods, and random things that happen to them.

use super::reference::Everything;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

pub struct Dice(pub StdRng);

impl Dice {
    pub fn up_to(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.up_to(n) == 0
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.up_to(of.len())]
    }

    fn labels(&mut self) -> Value {
        let mut out = Map::new();
        for (key, values) in [("app", &["x", "y", "z"][..]), ("tier", &["1", "2"][..])] {
            if !self.once_in(4) {
                out.insert(key.into(), self.one(values).into());
            }
        }
        Value::Object(out)
    }

    fn selector(&mut self) -> Value {
        match self.up_to(8) {
            0 => json!({}),
            1 => json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}),
            2 => json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["1"]}]}),
            3 => json!({"matchLabels": {"app": self.one(&["x", "y"]), "tier": self.one(&["1", "2"])}}),
            _ => json!({"matchLabels": {"app": self.one(&["x", "y", "z"])}}),
        }
    }

    fn key(&mut self) -> &'static str {
        match self.up_to(5) {
            0 => "rack",
            1 | 2 => "kubernetes.io/hostname",
            _ => "topology.kubernetes.io/zone",
        }
    }

    fn term(&mut self) -> Value {
        let mut term = json!({"labelSelector": self.selector(), "topologyKey": self.key()});
        match self.up_to(8) {
            0 => term["namespaces"] = json!([self.one(&["n1", "n2"])]),
            1 => term["namespaceSelector"] = json!({}),
            2 => term["namespaceSelector"] = json!({"matchLabels": {"team": self.one(&["a", "b"])}}),
            _ => {}
        }
        term
    }

    fn weighted(&mut self) -> Value {
        json!({"weight": 1 + self.up_to(100), "podAffinityTerm": self.term()})
    }

    fn node_term(&mut self) -> Value {
        let requirement = match self.up_to(6) {
            0 => json!({"key": "disk", "operator": "In", "values": ["ssd"]}),
            1 => json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}),
            2 => json!({"key": "rack", "operator": "Exists"}),
            3 => json!({"key": "rack", "operator": "DoesNotExist"}),
            4 => json!({"key": "cores", "operator": "Gt", "values": ["4"]}),
            _ => json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["za", "zb"]}),
        };
        if self.once_in(8) {
            let node = format!("n{}", self.up_to(8));
            return json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
        }
        json!({"matchExpressions": [requirement]})
    }

    fn spread(&mut self) -> Value {
        let mut c = json!({
            "maxSkew": 1 + self.up_to(3), "topologyKey": self.key(), "labelSelector": self.selector(),
            "whenUnsatisfiable": self.one(&["DoNotSchedule", "DoNotSchedule", "ScheduleAnyway"])});
        if self.once_in(4) && c["whenUnsatisfiable"] == "DoNotSchedule" {
            c["minDomains"] = json!(1 + self.up_to(4));
        }
        if self.once_in(4) {
            c["nodeAffinityPolicy"] = self.one(&["Honor", "Ignore"]).into();
        }
        if self.once_in(4) {
            c["nodeTaintsPolicy"] = self.one(&["Honor", "Ignore"]).into();
        }
        if self.once_in(5) {
            c["matchLabelKeys"] = json!(["tier"]);
        }
        c
    }

    pub fn node(&mut self, i: usize) -> Value {
        let name = format!("n{i}");
        let mut labels = json!({"kubernetes.io/hostname": name, "disk": self.one(&["ssd", "hdd"]), "cores": self.one(&["2", "4", "8"])});
        if !self.once_in(8) {
            labels["topology.kubernetes.io/zone"] = self.one(&["za", "zb", "zc"]).into();
        }
        if self.once_in(2) {
            labels["rack"] = self.one(&["r1", "r2"]).into();
        }
        if self.once_in(20) {
            labels.as_object_mut().unwrap().remove("kubernetes.io/hostname");
        }
        let mut taints = Vec::new();
        if self.once_in(4) {
            let effect = self.one(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
            taints.push(
                json!({"key": self.one(&["k", "l"]), "value": self.one(&["v", "w"]), "effect": effect}),
            );
        }
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"unschedulable": self.once_in(12), "taints": taints},
            "status": {"allocatable": {
                "cpu": self.one(&["1", "2", "4"]), "memory": self.one(&["1Gi", "4Gi"]),
                "ephemeral-storage": "10Gi", "pods": self.one(&["3", "10", "110"]),
                "x.y/gpu": self.one(&["0", "2"])}}})
    }

    fn requests(&mut self) -> Value {
        let mut out = json!({});
        if !self.once_in(3) {
            out["cpu"] = self.one(&["100m", "250m", "500m", "1"]).into();
        }
        if !self.once_in(3) {
            out["memory"] = self.one(&["64Mi", "256Mi", "1Gi"]).into();
        }
        if self.once_in(12) {
            out["x.y/gpu"] = "1".into();
        }
        json!({"requests": out})
    }

    pub fn pod(&mut self, name: &str) -> Value {
        let mut container = json!({"name": "c", "image": "i", "resources": self.requests()});
        if self.once_in(6) {
            let mut port = json!({"containerPort": 80, "hostPort": 80 + self.up_to(2)});
            if self.once_in(2) {
                port["hostIP"] = self.one(&["127.0.0.1", "10.0.0.1", "0.0.0.0"]).into();
            }
            container["ports"] = json!([port]);
        }
        let mut spec = json!({"containers": [container]});
        if self.once_in(6) {
            let mut init = json!({"name": "i", "image": "i", "resources": self.requests()});
            if self.once_in(2) {
                init["restartPolicy"] = "Always".into();
            }
            spec["initContainers"] = json!([init]);
        }
        if self.once_in(10) {
            spec["overhead"] = json!({"cpu": "50m"});
        }
        if self.once_in(10) {
            spec["resources"] = json!({"requests": {"cpu": "500m"}});
        }
        if self.once_in(6) {
            spec["nodeSelector"] = json!({"disk": self.one(&["ssd", "hdd"])});
        }
        if self.once_in(3) {
            let mut toleration = json!({"key": self.one(&["k", "l"]), "operator": "Exists"});
            match self.up_to(4) {
                0 => toleration = json!({"operator": "Exists"}),
                1 => toleration = json!({"key": "k", "value": "v", "effect": "NoSchedule"}),
                2 => toleration["effect"] = "NoExecute".into(),
                _ => {}
            }
            spec["tolerations"] = json!([toleration]);
        }
        let mut affinity = json!({});
        if self.once_in(5) {
            let terms: Vec<Value> = (0..1 + self.up_to(2)).map(|_| self.node_term()).collect();
            affinity["nodeAffinity"] =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        }
        for kind in ["podAffinity", "podAntiAffinity"] {
            if self.once_in(3) {
                let terms: Vec<Value> = (0..1 + self.up_to(5) / 4).map(|_| self.term()).collect();
                affinity[kind] = json!({"requiredDuringSchedulingIgnoredDuringExecution": terms});
            } else if self.once_in(4) {
                affinity[kind] =
                    json!({"preferredDuringSchedulingIgnoredDuringExecution": [self.weighted()]});
            }
        }
        spec["affinity"] = affinity;
        if self.once_in(3) {
            let list: Vec<Value> = (0..1 + self.up_to(3) / 2).map(|_| self.spread()).collect();
            spec["topologySpreadConstraints"] = list.into();
        }
        if self.once_in(6) {
            let volume = match self.up_to(3) {
                0 => {
                    json!({"name": "v", "gcePersistentDisk": {"pdName": self.one(&["d1", "d2"]), "readOnly": self.once_in(2)}})
                }
                _ => {
                    json!({"name": "v", "persistentVolumeClaim": {"claimName": format!("c{}", self.up_to(5))}})
                }
            };
            spec["volumes"] = json!([volume]);
        }
        json!({"metadata": {"namespace": self.one(&["n1", "n2"]), "name": name, "uid": name, "labels": self.labels()},
               "spec": spec})
    }

    /// A pod that is on a node, maybe on its way out.
    pub fn placed(&mut self, name: &str, nodes: usize) -> Value {
        let mut pod = self.pod(name);
        pod["spec"]["nodeName"] = format!("n{}", self.up_to(nodes)).into();
        if self.once_in(10) {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        }
        pod
    }

    pub fn namespace(&mut self, name: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"team": self.one(&["a", "b"])}}})
    }

    /// Claims `c0` to `c3` in both namespaces; `c4` is missing.
    pub fn storage(&mut self, all: &mut Everything) {
        let class = json!({
            "metadata": {"name": "late"}, "provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{"matchLabelExpressions": [
                {"key": "topology.kubernetes.io/zone", "values": [self.one(&["za", "zb"]), "zc"]}]}]});
        let early =
            json!({"metadata": {"name": "early"}, "provisioner": "p", "volumeBindingMode": "Immediate"});
        all.classes = vec![serde_json::from_value(class).unwrap(), serde_json::from_value(early).unwrap()];
        for space in ["n1", "n2"] {
            let claim = |name: &str, spec: Value, bound: bool| {
                let notes = if bound { json!({"pv.kubernetes.io/bind-completed": "yes"}) } else { json!({}) };
                let object = json!({"metadata": {"namespace": space, "name": name, "uid": name, "annotations": notes}, "spec": spec});
                serde_json::from_value(object).unwrap()
            };
            let volume = format!("v-{space}");
            all.claims.push(claim(
                "c0",
                json!({"volumeName": volume, "accessModes": ["ReadWriteOnce"]}),
                true,
            ));
            let single = format!("w-{space}");
            all.claims.push(claim(
                "c1",
                json!({"volumeName": single, "accessModes": ["ReadWriteOncePod"]}),
                true,
            ));
            all.claims.push(claim(
                "c2",
                json!({"storageClassName": "late", "accessModes": ["ReadWriteOnce"]}),
                false,
            ));
            all.claims.push(claim("c3", json!({"storageClassName": "early"}), false));
            let terms = json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]);
            let zone = self.one(&["za", "zb"]);
            for (name, spec, labels) in [
                (volume, json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}), json!({})),
                (single, json!({}), json!({"topology.kubernetes.io/zone": zone})),
            ] {
                let object = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
                all.volumes.push(serde_json::from_value(object).unwrap());
            }
        }
    }
}
