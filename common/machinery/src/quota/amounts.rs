//! Amounts of resources by name.

use gantry_types::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use gantry_types::quantity::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

pub(super) fn one() -> Quantity {
    Quantity::from_int(1)
}

/// The amounts of an API list; what is no amount is none.
pub fn parse(list: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let read = |(name, q): (&String, &ApiQuantity)| Some((name.clone(), Quantity::try_from(q).ok()?));
    list.into_iter().flatten().filter_map(read).collect()
}

/// The amounts as the API writes them.
pub fn write(amounts: &Amounts) -> BTreeMap<String, ApiQuantity> {
    amounts.iter().map(|(name, q)| (name.clone(), ApiQuantity(q.to_string()))).collect()
}

/// The sum of two lists.
pub fn total(a: &Amounts, b: &Amounts) -> Amounts {
    let mut out = a.clone();
    add(&mut out, b);
    out
}

pub(super) fn add(to: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        match to.get_mut(name) {
            Some(q) => q.add(amount),
            None => _ = to.insert(name.clone(), amount.clone()),
        }
    }
}

/// Raises each amount to the other list's.
pub(super) fn raise(to: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        match to.get_mut(name) {
            Some(q) if *amount > *q => q.clone_from(amount),
            Some(_) => {}
            None => _ = to.insert(name.clone(), amount.clone()),
        }
    }
}

/// The difference, never below nothing.
pub(super) fn growth(new: &Amounts, old: &Amounts) -> Amounts {
    let mut out = Amounts::new();
    for (name, amount) in new {
        let mut left = amount.clone();
        if let Some(q) = old.get(name) {
            left.sub(q);
        }
        if left.sign() > 0 {
            out.insert(name.clone(), left);
        }
    }
    out
}

/// Whether two lists name the same resources in the same amounts.
pub fn same(a: &Amounts, b: &Amounts) -> bool {
    a.len() == b.len() && a.iter().all(|(name, q)| b.get(name) == Some(q))
}

/// Only the resources a list names.
pub(super) fn mask(amounts: &Amounts, named: impl Fn(&str) -> bool) -> Amounts {
    amounts.iter().filter(|(name, _)| named(name)).map(|(n, q)| (n.clone(), q.clone())).collect()
}

/// `cpu=1,pods=3`.
pub fn format(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, q)| format!("{name}={q}")).collect::<Vec<_>>().join(",")
}
