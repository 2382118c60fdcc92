//! `v1` LimitRange.

use crate::kinds::core::pod_defaults::resource_list;
use crate::kinds::prelude::*;
use crate::kinds::validate::resources::{
    ResourceList, container_resource_name, overcommit_allowed, parse, resource_name,
};
use crate::kinds::{print, validate::meta};
use gantry_types::k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use gantry_types::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// Bounds and defaults of what containers, pods and claims of a namespace may ask for.
pub struct LimitRanges;

/// Amounts above this have no thousandths upstream.
const MAX_MILLI: i64 = i64::MAX / 1000;

fn items(range: &LimitRange) -> &[LimitRangeItem] {
    range.spec.as_ref().map(|s| s.limits.as_slice()).unwrap_or_default()
}

fn fill(to: &mut ResourceList, from: Option<&ResourceList>) {
    for (name, amount) in from.into_iter().flatten() {
        to.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

/// What a container gets that says nothing: at most the maximum, at least the minimum.
fn default_item(item: &mut LimitRangeItem) {
    if item.type_ == "Container" {
        let limits = item.default.get_or_insert_default();
        fill(limits, item.max.as_ref());
        let requests = item.default_request.get_or_insert_default();
        fill(requests, Some(limits));
        fill(requests, item.min.as_ref());
    }
    for list in [
        &mut item.max,
        &mut item.min,
        &mut item.default,
        &mut item.default_request,
        &mut item.max_limit_request_ratio,
    ] {
        resource_list(list);
        if list.as_ref().is_some_and(ResourceList::is_empty) {
            *list = None;
        }
    }
}

fn type_name(name: &str, path: &Path) -> ErrorList {
    let errs: ErrorList = invalid_each(path, name, names::qualified_name(name)).collect();
    let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&name);
    if errs.is_empty() && !name.contains('/') && !standard {
        return vec![Error::invalid(path, name, "must be a standard limit type or fully qualified")];
    }
    errs
}

/// The amounts of one item by list, each read once.
struct Amounts {
    min: BTreeMap<String, Quantity>,
    max: BTreeMap<String, Quantity>,
    default: BTreeMap<String, Quantity>,
    request: BTreeMap<String, Quantity>,
    ratio: BTreeMap<String, Quantity>,
}

fn amounts(list: Option<&ResourceList>) -> BTreeMap<String, Quantity> {
    list.into_iter().flatten().filter_map(|(name, q)| Some((name.clone(), parse(q)?))).collect()
}

fn ratio_error(name: &str, all: &Amounts, path: &Path) -> Option<Error> {
    let (ratio, min, max) = (all.ratio.get(name)?, all.min.get(name)?, all.max.get(name)?);
    let (mut value, mut low, mut high) = (ratio.value() as f64, min.value(), max.value());
    if ratio.value() < MAX_MILLI && low < MAX_MILLI && high < MAX_MILLI {
        (value, low, high) = (ratio.milli_value() as f64 / 1000.0, min.milli_value(), max.milli_value());
    }
    let most = high as f64 / low as f64;
    (value > most).then(|| {
        let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
        Error::invalid(path, &ratio.to_string(), why)
    })
}

/// What the amounts of one resource may not be to each other.
fn relations(name: &str, all: &Amounts, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let of = |list: &'static str| path.child(list).key(name);
    let one = Quantity::from_int(1);
    let [min, max, default, request] = [&all.min, &all.max, &all.default, &all.request].map(|l| l.get(name));
    let mut above =
        |low: Option<&Quantity>, high: Option<&Quantity>, at: &str, words: [&str; 2], show_low| {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                let why = format!("{} value {low} is greater than {} value {high}", words[0], words[1]);
                let shown = if show_low { low } else { high };
                errs.push(Error::invalid(&path.child(at).key(name), &shown.to_string(), why));
            }
        };
    above(min, max, "min", ["min", "max"], true);
    above(min, request, "defaultRequest", ["min", "default request"], false);
    above(request, max, "defaultRequest", ["default request", "max"], true);
    above(request, default, "defaultRequest", ["default request", "default limit"], true);
    above(min, default, "default", ["min", "default"], true);
    above(default, max, "default", ["default", "max"], false);
    let ratio_at = of("maxLimitRequestRatio");
    if let Some(ratio) = all.ratio.get(name).filter(|r| **r < one) {
        errs.push(Error::invalid(&ratio_at, &ratio.to_string(), format!("ratio {ratio} is less than 1")));
    }
    errs.extend(ratio_error(name, all, &ratio_at));
    if let (Some(default), Some(request)) = (default, request)
        && !overcommit_allowed(name)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errs.push(Error::invalid(&of("defaultRequest"), &request.to_string(), why));
    }
    errs
}

fn validate_item(item: &LimitRangeItem, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    let pod = item.type_ == "Pod";
    let check = if pod || item.type_ == "Container" { container_resource_name } else { resource_name };
    let mut lists = vec![("max", item.max.as_ref()), ("min", item.min.as_ref())];
    let defaults = [("default", item.default.as_ref()), ("defaultRequest", item.default_request.as_ref())];
    if pod {
        for (name, list) in defaults {
            if list.is_some_and(|l| !l.is_empty()) {
                let why = "may not be specified when `type` is 'Pod'";
                errs.push(Error::forbidden(&path.child(name), why));
            }
        }
    } else {
        lists.extend(defaults);
    }
    lists.push(("maxLimitRequestRatio", item.max_limit_request_ratio.as_ref()));
    let mut keys = BTreeSet::new();
    for (list_name, list) in lists {
        for name in list.into_iter().flat_map(BTreeMap::keys) {
            errs.extend(check(name, &path.child(list_name).key(name)));
            keys.insert(name.as_str());
        }
    }
    let bounds_storage =
        [&item.min, &item.max].iter().any(|l| l.as_ref().is_some_and(|l| l.contains_key("storage")));
    if item.type_ == "PersistentVolumeClaim" && !bounds_storage {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errs.push(Error::required(&path.child("limits"), why));
    }
    let all = Amounts {
        min: amounts(item.min.as_ref()),
        max: amounts(item.max.as_ref()),
        default: amounts(item.default.as_ref().filter(|_| !pod)),
        request: amounts(item.default_request.as_ref().filter(|_| !pod)),
        ratio: amounts(item.max_limit_request_ratio.as_ref()),
    };
    errs.extend(keys.into_iter().flat_map(|name| relations(name, &all, path)));
    errs
}

fn validate(range: &LimitRange) -> ErrorList {
    let mut errs = meta::object_meta(&range.metadata, true, meta::subdomain_name);
    let path = Path::new("spec").child("limits");
    for (i, item) in items(range).iter().enumerate() {
        let at = path.index(i);
        errs.extend(type_name(&item.type_, &at.child("type")));
        if items(range)[..i].iter().any(|earlier| earlier.type_ == item.type_) {
            errs.push(Error::duplicate(&at.child("type"), &item.type_));
        }
        errs.extend(validate_item(item, &at));
    }
    errs
}

impl Strategy for LimitRanges {
    type Kind = LimitRange;

    fn default(&self, range: &mut LimitRange) {
        range.spec.get_or_insert_default().limits.iter_mut().for_each(default_item);
    }

    fn prepare_create(&self, _cx: &Context<'_>, range: &mut LimitRange) {
        if text(&range.metadata.name).is_empty() {
            range.metadata.name = Some(uuid::Uuid::new_v4().to_string());
        }
    }

    fn validate_create(&self, _cx: &Context<'_>, range: &LimitRange) -> ErrorList {
        validate(range)
    }

    fn validate_update(&self, _cx: &Context<'_>, range: &LimitRange, _old: &LimitRange) -> ErrorList {
        validate(range)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn row(&self, range: &LimitRange, _now: Timestamp) -> Vec<Cell> {
        let created = range.metadata.creation_timestamp.as_ref();
        let created = created.map_or(Cell::Null, |t| crate::generic::time_text(t.0).into());
        vec![print::name(&range.metadata), created]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        meta::subdomain_name(name, prefix)
    }
}
