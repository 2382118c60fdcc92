//! Who owns whom. Pure: events in, work out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

pub(super) type Uid = Arc<str>;

/// Names an object, as an owner reference and its namespace do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    /// Empty for cluster-scoped objects; for a virtual one, its dependent's.
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Uid,
}

impl Identity {
    pub(super) fn of_owner(owner: &OwnerReference, namespace: &str) -> Self {
        Self {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            namespace: namespace.into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        }
    }

    fn fits(&self, owner: &OwnerReference) -> bool {
        *self.uid == *owner.uid
            && *self.name == *owner.name
            && *self.kind == *owner.kind
            && *self.api_version == *owner.api_version
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub identity: Identity,
    pub owners: Vec<OwnerReference>,
    pub dependents: BTreeSet<Uid>,
    /// Known only from a reference; no watch has shown it.
    pub is_virtual: bool,
    /// Virtual because it was deleted: who comes to name it has to be looked at, too.
    pub gone: bool,
    pub deleting: bool,
    /// Waits, with the foreground finalizer, for its dependents to go.
    pub deleting_dependents: bool,
}

/// Something to do about an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Work {
    /// Look whether it must go, or may now.
    Delete(Uid),
    /// Take it out of its dependents' owner references.
    Orphan(Uid),
}

/// An object as a watch shows it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub identity: Identity,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    pub foreground: bool,
    pub orphan: bool,
}

const MAX_ABSENT: usize = 500;

#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
    /// Owners known to be gone, newest last.
    absent: VecDeque<Identity>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub(super) fn dependents(&self, uid: &str) -> Vec<Node> {
        let node = self.nodes.get(uid);
        node.iter().flat_map(|n| &n.dependents).filter_map(|d| self.nodes.get(d)).cloned().collect()
    }

    /// Dependents whose reference to `uid` holds up its deletion.
    pub(super) fn blocking(&self, uid: &str) -> Vec<Node> {
        let blocks = |n: &Node| n.owners.iter().any(|o| o.uid == uid && o.block_owner_deletion == Some(true));
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    pub(super) fn is_absent(&self, owner: &OwnerReference, namespace: &str) -> bool {
        self.absent.iter().any(|i| i.fits(owner) && (i.namespace.is_empty() || *i.namespace == *namespace))
    }

    pub(super) fn note_absent(&mut self, identity: Identity) {
        self.absent.retain(|known| *known != identity);
        self.absent.push_back(identity);
        if self.absent.len() > MAX_ABSENT {
            self.absent.pop_front();
        }
    }

    /// An object was added or changed. Dependents in other namespaces than their owner are returned beside
    /// the work: their references can never hold.
    pub(super) fn seen(&mut self, seen: Seen) -> (Vec<Work>, Vec<Node>) {
        let mut works = Vec::new();
        let mut astray = Vec::new();
        let uid = seen.identity.uid.clone();
        let old = self.nodes.get(&uid).cloned();
        if let Some(old) = &old
            && old.is_virtual
        {
            for dependent in self.dependents(&uid) {
                let elsewhere = !seen.identity.namespace.is_empty()
                    && dependent.identity.namespace != seen.identity.namespace;
                let mismatched = dependent.owners.iter().any(|o| *o.uid == *uid && !seen.identity.fits(o));
                if elsewhere || mismatched {
                    works.push(Work::Delete(dependent.identity.uid.clone()));
                }
                if elsewhere {
                    astray.push(dependent);
                }
            }
        }
        let before: Vec<OwnerReference> = old.as_ref().map(|o| o.owners.clone()).unwrap_or_default();
        let was_waiting = old.as_ref().is_some_and(|o| o.deleting_dependents);
        let was_deleting = old.as_ref().is_some_and(|o| o.deleting && !o.is_virtual);
        let node = Node {
            identity: seen.identity.clone(),
            owners: seen.owners.clone(),
            dependents: old.map(|o| o.dependents).unwrap_or_default(),
            is_virtual: false,
            gone: false,
            deleting: seen.deleting,
            deleting_dependents: seen.deleting && seen.foreground,
        };
        self.nodes.insert(uid.clone(), node);
        self.unblock(&before, &seen.owners, &mut works);
        for owner in before.iter().filter(|o| !seen.owners.iter().any(|n| n.uid == o.uid)) {
            self.leave(&owner.uid, &uid);
        }
        for owner in &seen.owners {
            if self.join(owner, &seen.identity, &mut works) {
                astray.extend(self.nodes.get(&uid).cloned());
            }
        }
        if seen.deleting && seen.orphan && !was_deleting {
            works.push(Work::Orphan(uid.clone()));
        } else if seen.deleting && seen.foreground && !was_waiting {
            // All dependents are to go, and the object itself may have none that block.
            let dependents = self.nodes.get(&uid).map(|n| n.dependents.clone()).unwrap_or_default();
            works.extend(dependents.into_iter().map(Work::Delete));
            works.push(Work::Delete(uid));
        }
        (works, astray)
    }

    /// Owners that wait for this dependent and no longer need to.
    fn unblock(&self, before: &[OwnerReference], after: &[OwnerReference], works: &mut Vec<Work>) {
        for old in before.iter().filter(|o| o.block_owner_deletion == Some(true)) {
            let still = after.iter().any(|n| n.uid == old.uid && n.block_owner_deletion == Some(true));
            if !still && self.nodes.get(old.uid.as_str()).is_some_and(|n| n.deleting_dependents) {
                works.push(Work::Delete(old.uid.as_str().into()));
            }
        }
    }

    fn leave(&mut self, owner: &str, dependent: &str) {
        let gone = self.nodes.get_mut(owner).is_some_and(|node| {
            node.dependents.remove(dependent);
            node.is_virtual && node.dependents.is_empty()
        });
        if gone {
            self.nodes.remove(owner);
        }
    }

    /// Makes `dependent` one of the owner's; true where the owner lives in another namespace.
    fn join(&mut self, owner: &OwnerReference, dependent: &Identity, works: &mut Vec<Work>) -> bool {
        let uid: Uid = owner.uid.as_str().into();
        if let Some(node) = self.nodes.get_mut(&uid) {
            let new = node.dependents.insert(dependent.uid.clone());
            if new && node.gone {
                works.push(Work::Delete(dependent.uid.clone()));
            }
            if !new || node.is_virtual {
                return false;
            }
            let elsewhere =
                !node.identity.namespace.is_empty() && node.identity.namespace != dependent.namespace;
            if elsewhere || !node.identity.fits(owner) {
                works.push(Work::Delete(dependent.uid.clone()));
            }
            return elsewhere;
        }
        let node = Node {
            identity: Identity::of_owner(owner, &dependent.namespace),
            owners: Vec::new(),
            dependents: [dependent.uid.clone()].into(),
            is_virtual: true,
            gone: false,
            deleting: false,
            deleting_dependents: false,
        };
        self.nodes.insert(uid.clone(), node);
        // Perhaps it is gone already: a look at the server tells.
        works.push(Work::Delete(uid));
        false
    }

    /// A watch showed the object's deletion, or it was not there after a relist.
    pub(super) fn deleted(&mut self, uid: &str) -> Vec<Work> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        self.removed(node)
    }

    fn removed(&mut self, mut node: Node) -> Vec<Work> {
        // An object may name itself; that holds nothing.
        node.dependents.remove(&node.identity.uid);
        let uid = &node.identity.uid;
        if !node.dependents.is_empty() {
            self.note_absent(node.identity.clone());
        }
        let mut works: Vec<Work> = node.dependents.iter().cloned().map(Work::Delete).collect();
        for owner in &node.owners {
            if self.nodes.get(owner.uid.as_str()).is_some_and(|n| n.deleting_dependents) {
                works.push(Work::Delete(owner.uid.as_str().into()));
            }
            self.leave(&owner.uid, uid);
        }
        // Until its dependents are gone, or no longer name it, the edges stay; only the object does not.
        if !node.dependents.is_empty() {
            let rest = Node {
                owners: Vec::new(),
                is_virtual: true,
                gone: true,
                deleting: false,
                deleting_dependents: false,
                ..node
            };
            self.nodes.insert(rest.identity.uid.clone(), rest);
        }
        works
    }

    /// The server says no such object exists under this identity. Where dependents name the same uid with
    /// other coordinates, one of those is looked for next.
    pub(super) fn verified_absent(&mut self, identity: &Identity) -> Vec<Work> {
        let Some(node) = self.nodes.get(&identity.uid).cloned() else { return Vec::new() };
        let dependents = self.dependents(&identity.uid);
        let matches = |d: &&Node| {
            (identity.namespace.is_empty() || d.identity.namespace == identity.namespace)
                && d.owners.iter().any(|o| identity.fits(o))
        };
        let (matching, others): (Vec<&Node>, Vec<&Node>) = dependents.iter().partition(matches);
        if node.is_virtual && others.is_empty() || !node.is_virtual && node.identity == *identity {
            let gone = self.nodes.remove(&identity.uid);
            return gone.map(|n| self.removed(n)).unwrap_or_default();
        }
        let mut works = Vec::new();
        if !matching.is_empty() {
            self.note_absent(identity.clone());
            works.extend(matching.iter().map(|d| Work::Delete(d.identity.uid.clone())));
        }
        if node.is_virtual && node.identity == *identity {
            let other = others.iter().flat_map(|d| {
                let named = d.owners.iter().filter(|o| *o.uid == *identity.uid);
                named.map(|o| Identity::of_owner(o, &d.identity.namespace))
            });
            if let Some(other) = other.filter(|o| o != identity).min_by_key(|i| format!("{i:?}")) {
                if let Some(node) = self.nodes.get_mut(&identity.uid) {
                    node.identity = other;
                }
                works.push(Work::Delete(identity.uid.clone()));
            }
        }
        works
    }

    /// Invariants that hold after every event: edges go both ways, virtual nodes have dependents.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for (uid, node) in &self.nodes {
            assert!(!node.is_virtual || !node.dependents.is_empty(), "{uid} is virtual and alone");
            for dependent in &node.dependents {
                let known =
                    self.nodes.get(dependent).unwrap_or_else(|| panic!("{dependent} of {uid} is unknown"));
                assert!(known.owners.iter().any(|o| *o.uid == **uid), "{dependent} does not name {uid}");
            }
            let owners: BTreeSet<_> = node.owners.iter().map(|o| o.uid.as_str()).collect();
            for owner in owners {
                if let Some(owner) = self.nodes.get(owner) {
                    assert!(owner.dependents.contains(uid), "{uid} is not among its owner's dependents");
                }
            }
        }
    }
}
