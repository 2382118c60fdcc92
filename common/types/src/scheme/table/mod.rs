//! The table itself: a row a kind, a file a group, groups in discovery order.

mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod networking;
mod node;
mod policy;
mod rbac;
mod scheduling;
mod storage;

use super::{Column, Kind, Scope, Storage, Subresource};

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const GET_UPDATE: &[&str] = &["get", "patch", "update"];

/// A column always shown.
const fn col(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, format: "", priority: 0 }
}

/// A column shown when wide.
const fn wide(name: &'static str, kind: &'static str) -> Column {
    Column { name, kind, format: "", priority: 1 }
}

/// The column that holds the object's name.
const NAME: Column = Column { name: "Name", kind: "string", format: "name", priority: 0 };

const fn sub(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name, kind, group_version: None, verbs }
}

const SCALE: Subresource = Subresource {
    name: "scale",
    kind: "Scale",
    group_version: Some(("autoscaling", "v1")),
    verbs: GET_UPDATE,
};

/// The groups' rows, groups in discovery order.
const GROUPS: &[&[Kind]] = &[
    core::KINDS,
    apiregistration::KINDS,
    apps::KINDS,
    events::KINDS,
    authentication::KINDS,
    authorization::KINDS,
    autoscaling::KINDS,
    batch::KINDS,
    certificates::KINDS,
    networking::KINDS,
    policy::KINDS,
    rbac::KINDS,
    storage::KINDS,
    scheduling::KINDS,
    coordination::KINDS,
    node::KINDS,
    discovery::KINDS,
];

const fn count() -> usize {
    let (mut n, mut g) = (0, 0);
    while g < GROUPS.len() {
        n += GROUPS[g].len();
        g += 1;
    }
    n
}

const fn rows() -> [Kind; count()] {
    let mut out = [GROUPS[0][0]; count()];
    let (mut n, mut g) = (0, 0);
    while g < GROUPS.len() {
        let mut k = 0;
        while k < GROUPS[g].len() {
            out[n] = GROUPS[g][k];
            (n, k) = (n + 1, k + 1);
        }
        g += 1;
    }
    out
}

static ROWS: [Kind; count()] = rows();

/// Every kind served.
pub static KINDS: &[Kind] = &ROWS;
