//! Label selectors, in string form and as `LabelSelector`.

use super::SelectorError;
use gantry_types::field::{self, Error, ErrorList, Path};
use gantry_types::k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use gantry_types::names;
use std::collections::BTreeMap;
use std::fmt;

/// Anything with labels.
pub trait Labels {
    fn lookup(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<Box<str>, Box<str>> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(|v| &**v)
    }
}

impl Labels for BTreeMap<String, String> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: Labels> Labels for Option<L> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.as_ref()?.lookup(key)
    }
}

impl<L: Labels> Labels for &L {
    fn lookup(&self, key: &str) -> Option<&str> {
        (**self).lookup(key)
    }
}

/// How a requirement looks at a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Equals,
    DoubleEquals,
    NotEquals,
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: Box<str>,
    op: Op,
    /// As given; sorted and without repeats where they come from a string.
    values: Vec<Box<str>>,
    /// The bound of `>` and `<`.
    bound: i64,
}

/// What matches objects by their labels. All requirements must hold; none matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

fn aggregate(errors: ErrorList) -> Result<(), SelectorError> {
    if errors.is_empty() { Ok(()) } else { Err(SelectorError(field::aggregate(&errors))) }
}

pub(super) fn check_key(key: &str, path: &Path) -> Option<Error> {
    let errs = names::qualified_name(key);
    (!errs.is_empty()).then(|| Error::invalid(path, key, errs.join("; ")))
}

impl Requirement {
    /// # Errors
    /// Where the key or a value is no label key or value, or the values do not suit the operator. `path` is
    /// where in an object the requirement stands; the root for selectors in strings.
    pub fn new(key: &str, op: Op, values: Vec<Box<str>>, path: &Path) -> Result<Self, SelectorError> {
        let mut errors: ErrorList = check_key(key, &path.child("key")).into_iter().collect();
        let at = path.child("values");
        let mut refuse = |why: &str| errors.push(Error::invalid(&at, &values, why));
        let mut bound = 0;
        match op {
            Op::In | Op::NotIn if values.is_empty() => {
                refuse("for 'in', 'notin' operators, values set can't be empty");
            }
            Op::Equals | Op::DoubleEquals | Op::NotEquals if values.len() != 1 => {
                refuse("exact-match compatibility requires one single value");
            }
            Op::Exists | Op::DoesNotExist if !values.is_empty() => {
                refuse("values set must be empty for exists and does not exist");
            }
            Op::GreaterThan | Op::LessThan => {
                if values.len() != 1 {
                    refuse("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, v) in values.iter().enumerate() {
                    match v.parse() {
                        Ok(n) => bound = n,
                        Err(_) => errors.push(Error::invalid(
                            &at.index(i),
                            &**v,
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        )),
                    }
                }
            }
            _ => {}
        }
        for (i, v) in values.iter().enumerate() {
            let errs = names::label_value(v);
            if !errs.is_empty() {
                errors.push(Error::invalid(&at.index(i).key(key), &**v, errs.join("; ")));
            }
        }
        aggregate(errors)?;
        Ok(Self { key: key.into(), op, values, bound })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn op(&self) -> Op {
        self.op
    }

    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|v| &**v)
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        let label = labels.lookup(&self.key);
        let has = |v: &str| self.values.iter().any(|x| **x == *v);
        let number = |v: &str| v.parse::<i64>().ok();
        match self.op {
            Op::Equals | Op::DoubleEquals | Op::In => label.is_some_and(has),
            Op::NotEquals | Op::NotIn => !label.is_some_and(has),
            Op::Exists => label.is_some(),
            Op::DoesNotExist => label.is_none(),
            Op::GreaterThan => label.and_then(number).is_some_and(|n| n > self.bound),
            Op::LessThan => label.and_then(number).is_some_and(|n| n < self.bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values().collect();
        values.sort_unstable();
        let values = values.join(",");
        let key = &self.key;
        match self.op {
            Op::Equals => write!(f, "{key}={values}"),
            Op::DoubleEquals => write!(f, "{key}=={values}"),
            Op::NotEquals => write!(f, "{key}!={values}"),
            Op::In => write!(f, "{key} in ({values})"),
            Op::NotIn => write!(f, "{key} notin ({values})"),
            Op::Exists => f.write_str(key),
            Op::DoesNotExist => write!(f, "!{key}"),
            Op::GreaterThan => write!(f, "{key}>{values}"),
            Op::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses `a=b,c in (d,e),!f,g>1`.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        super::parse::parse(text).map(Self::of)
    }

    /// All of these must hold.
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Every label of a set must be there: a service's or replication controller's selector.
    pub fn from_set<'a>(set: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let one = |(k, v): (&String, &String)| Requirement {
            key: k.as_str().into(),
            op: Op::Equals,
            values: vec![v.as_str().into()],
            bound: 0,
        };
        Self::of(set.into_iter().map(one).collect())
    }

    /// Compiles the struct form. `None` matches nothing, an empty one everything.
    ///
    /// # Errors
    /// Where an operator is unknown, or a key or value is not one of a label.
    pub fn from_struct(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(s) = selector else { return Ok(Self::nothing()) };
        let mut out = Vec::new();
        let root = Path::root();
        for (k, v) in s.match_labels.iter().flatten() {
            out.push(Requirement::new(k, Op::Equals, vec![v.as_str().into()], &root)?);
        }
        for e in s.match_expressions.iter().flatten() {
            let op = match e.operator.as_str() {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::DoesNotExist,
                other => {
                    let other = field::go_quote(other);
                    return Err(SelectorError(format!("{other} is not a valid label selector operator")));
                }
            };
            let values = e.values.iter().flatten().map(|v| v.as_str().into()).collect();
            out.push(Requirement::new(&e.key, op, values, &root)?);
        }
        Ok(Self::of(out))
    }

    pub fn matches(&self, labels: &impl Labels) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether every object matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// A label and value that every match has: what an index can be asked for.
    pub fn equality(&self) -> Option<(&str, &str)> {
        self.requirements.iter().find_map(|r| match (r.op, r.values.as_slice()) {
            (Op::Equals | Op::DoubleEquals | Op::In, [one]) => Some((&*r.key, &**one)),
            _ => None,
        })
    }

    /// The one value a label must have, where it must have one.
    pub fn exact(&self, key: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| *r.key == *key)?;
        match (r.op, r.values.as_slice()) {
            (Op::Equals | Op::DoubleEquals | Op::In, [one]) => Some(one),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            r.fmt(f)?;
        }
        Ok(())
    }
}

/// Validates the struct form as the API does when an object carries one.
pub fn validate_label_selector(selector: Option<&LabelSelector>, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(s) = selector else { return errors };
    let labels = path.child("matchLabels");
    for (k, v) in s.match_labels.iter().flatten() {
        errors.extend(names::qualified_name(k).into_iter().map(|m| Error::invalid(&labels, k, m)));
        errors.extend(names::label_value(v).into_iter().map(|m| Error::invalid(&labels, v, m)));
    }
    for (i, e) in s.match_expressions.iter().flatten().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let values = at.child("values");
        let given = e.values.as_deref().unwrap_or_default();
        match e.operator.as_str() {
            "In" | "NotIn" => {
                if given.is_empty() {
                    let why = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(Error::required(&values, why));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !given.is_empty() {
                    let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(Error::forbidden(&values, why));
                }
            }
            other => {
                errors.push(Error::invalid(&at.child("operator"), other, "not a valid selector operator"));
            }
        }
        let key = at.child("key");
        errors.extend(names::qualified_name(&e.key).into_iter().map(|m| Error::invalid(&key, &e.key, m)));
        for (j, v) in given.iter().enumerate() {
            let at = values.index(j);
            errors.extend(names::label_value(v).into_iter().map(|m| Error::invalid(&at, v, m)));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(text: &str) -> BTreeMap<Box<str>, Box<str>> {
        text.split(',').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
    }

    #[test]
    fn selectors_match() {
        let check = |selector: &str, on: &str, want: bool| {
            assert_eq!(Selector::parse(selector).unwrap().matches(&labels(on)), want, "{selector} on {on}");
        };
        for (s, on, want) in [
            ("", "", true),
            ("x=a", "x=a", true),
            ("x==a", "x=b", false),
            ("x!=a", "", true),
            ("x!=a", "x=a", false),
            ("x in (a,b)", "x=b", true),
            ("x notin (a,b)", "x=b", false),
            ("x notin (a,b)", "", true),
            ("x", "x=", true),
            ("!x", "x=", false),
            ("x>5", "x=6", true),
            ("x<5", "x=6", false),
            ("x>5", "x=z", false),
            ("x=", "x=", true),
            ("x=a,y=b", "x=a,y=b", true),
            ("x=a,y=b", "x=a", false),
            ("in in (in)", "in=in", true),
            ("x in ()", "x=", true),
            ("x in (,a)", "x=", true),
        ] {
            check(s, on, want);
        }
        assert_eq!(Selector::parse("b in (x),a=c,!z").unwrap().equality(), Some(("a", "c")));
        assert!(!Selector::from_struct(None).unwrap().matches(&labels("a=b")));
        assert!(Selector::from_struct(Some(&LabelSelector::default())).unwrap().is_everything());
    }

    #[test]
    fn bad_selectors_have_upstream_errors() {
        let check =
            |s: &str, want: &str| assert_eq!(Selector::parse(s).unwrap_err().to_string(), want, "{s}");
        check(
            "x=a||y=b",
            "unable to parse requirement: values[0][x]: Invalid value: \"a||y\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        );
        check("x==a==b", "found '==', expected: ',' or 'end of string'");
        check("!x=a", "found '=', expected: ',' or 'end of string'");
        check(
            "x<a",
            "unable to parse requirement: values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer",
        );
        check(",a", "found ',', expected: !, identifier, or 'end of string'");
        check("a,", "found '', expected: identifier after ','");
        check("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt");
        check("x in a", "unable to parse requirement: found 'a' expected: '('");
        check("x in (a", "unable to parse requirement: found '', expected: ',' or ')'");
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(
            parts in proptest::collection::vec(
                ("[a-d]", 0u8..9, proptest::collection::btree_set("[a-z0-9]{1,3}", 1..4), 0i64..99), 0..5),
            on in proptest::collection::btree_map("[a-d]", "[a-z0-9]{1,3}", 0..4),
        ) {
            let text: Vec<String> = parts.iter().map(|(k, op, vs, n)| {
                let all = vs.iter().cloned().collect::<Vec<_>>().join(",");
                let one = vs.first().cloned().unwrap_or_default();
                match op {
                    0 => format!("{k}={one}"),
                    1 => format!("{k}=={one}"),
                    2 => format!("{k} != {one}"),
                    3 => format!("{k} in ({all})"),
                    4 => format!("{k}  notin( {all} )"),
                    5 => k.clone(),
                    6 => format!("!{k}"),
                    7 => format!("{k}>{n}"),
                    _ => format!("{k} <{n}"),
                }
            }).collect();
            let a = Selector::parse(&text.join(" , ")).unwrap();
            let b = Selector::parse(&a.to_string()).unwrap();
            prop_assert_eq!(&a, &b);
            prop_assert_eq!(a.matches(&on), b.matches(&on));
        }

        #[test]
        fn any_text_parses_or_fails(text in "[a-c=!(),<> \\PC]{0,16}") {
            let _ = Selector::parse(&text);
        }
    }
}
