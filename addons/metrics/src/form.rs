//! The forms of answers: NodeMetrics, PodMetrics, their lists, and tables of them. Pure.

use crate::book::{PodUsage, Usage};
use crate::query::Include;
use crate::route::{GROUP, VERSION};
use gantry_types::quantity::Quantity;
use gantry_types::time::{Duration, rfc3339};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    creation_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a Labels>,
}

/// A resource list: quantities in their canonical text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Resources {
    cpu: String,
    memory: String,
    swap: String,
}

#[derive(Serialize)]
struct Container<'a> {
    name: &'a str,
    usage: Resources,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    kind: &'static str,
    api_version: String,
}

fn type_meta(kind: &'static str) -> TypeMeta {
    TypeMeta { kind, api_version: format!("{GROUP}/{VERSION}") }
}

/// A node's or a pod's use, ready to be written.
pub struct Item<'a> {
    kind: &'static str,
    body: Body<'a>,
    /// Of a pod: of all its containers.
    total: Resources,
}

#[derive(Serialize)]
struct Body<'a> {
    metadata: Meta<'a>,
    timestamp: String,
    window: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    containers: Option<Vec<Container<'a>>>,
}

/// An object with its type, as it stands alone.
#[derive(Serialize)]
struct Typed<T> {
    #[serde(flatten)]
    of: TypeMeta,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
struct List<'l, 'a> {
    metadata: Empty,
    items: Vec<&'l Body<'a>>,
}

#[derive(Serialize)]
struct MetaOnly<'l, 'a> {
    metadata: &'l Meta<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table<'l> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    column_definitions: [Column; 5],
    rows: Vec<Row<'l>>,
}

#[derive(Serialize)]
struct Column {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    format: &'static str,
    description: &'static str,
    priority: u8,
}

#[derive(Serialize)]
struct Row<'l> {
    cells: [&'l str; 5],
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<RowObject<'l>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RowObject<'l> {
    Whole(Typed<&'l Body<'l>>),
    Meta(Typed<MetaOnly<'l, 'l>>),
}

/// Nanocores as a quantity, which is written with the largest unit it is whole in.
fn cores(mut nano: u64) -> String {
    if nano == 0 {
        return "0".into();
    }
    for suffix in ["n", "u", "m"] {
        if !nano.is_multiple_of(1000) {
            return format!("{nano}{suffix}");
        }
        nano /= 1000;
    }
    Quantity::from_int(i64::try_from(nano).unwrap_or(i64::MAX)).to_string()
}

fn bytes(n: u64) -> String {
    Quantity::from_bytes(i64::try_from(n).unwrap_or(i64::MAX)).to_string()
}

fn resources(usage: &Usage) -> Resources {
    Resources {
        cpu: cores(usage.nanocores),
        memory: bytes(usage.memory_bytes),
        swap: bytes(usage.swap_bytes),
    }
}

/// The window as Go writes a duration.
fn window(span: SignedDuration) -> String {
    Duration(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)).to_string()
}

impl<'a> Item<'a> {
    pub fn node(name: &'a str, labels: Option<&'a Labels>, usage: &Usage, now: Timestamp) -> Self {
        let total = resources(usage);
        let metadata = Meta { name, namespace: "", creation_timestamp: rfc3339(now), labels };
        Self {
            kind: "NodeMetrics",
            body: Body {
                metadata,
                timestamp: rfc3339(usage.at),
                window: window(usage.window),
                usage: Some(total.clone()),
                containers: None,
            },
            total,
        }
    }

    pub fn pod(
        namespace: &'a str,
        name: &'a str,
        labels: Option<&'a Labels>,
        usage: &PodUsage<'a>,
        now: Timestamp,
    ) -> Self {
        let all = || usage.containers.iter().map(|(_, used)| used);
        let sum = |figure: fn(&Usage) -> u64| all().map(figure).fold(0, u64::saturating_add);
        let container = |(name, used): &(&'a str, Usage)| Container { name, usage: resources(used) };
        Self {
            kind: "PodMetrics",
            body: Body {
                metadata: Meta { name, namespace, creation_timestamp: rfc3339(now), labels },
                timestamp: rfc3339(usage.at),
                window: window(usage.window),
                usage: None,
                containers: Some(usage.containers.iter().map(container).collect()),
            },
            total: Resources {
                cpu: cores(sum(|u| u.nanocores)),
                memory: bytes(sum(|u| u.memory_bytes)),
                swap: bytes(sum(|u| u.swap_bytes)),
            },
        }
    }

    /// The object alone, JSON.
    pub fn object(&self) -> Vec<u8> {
        write(&Typed { of: type_meta(self.kind), body: &self.body })
    }

    fn row(&'a self, include: Include) -> Row<'a> {
        let (total, body) = (&self.total, &self.body);
        let object = match include {
            Include::None => None,
            Include::Metadata => {
                let of = TypeMeta { kind: "PartialObjectMetadata", api_version: "meta.k8s.io/v1".into() };
                Some(RowObject::Meta(Typed { of, body: MetaOnly { metadata: &body.metadata } }))
            }
            Include::Object => Some(RowObject::Whole(Typed { of: type_meta(self.kind), body })),
        };
        Row { cells: [body.metadata.name, &total.cpu, &total.memory, &total.swap, &body.window], object }
    }
}

fn write(value: &impl Serialize) -> Vec<u8> {
    // Structs of texts always serialize; upstream's encoder ends with a line break.
    let mut out = serde_json::to_vec(value).unwrap_or_default();
    out.push(b'\n');
    out
}

/// A list of the kind, JSON.
pub fn list(kind: &'static str, items: &[Item<'_>]) -> Vec<u8> {
    let body = List { metadata: Empty {}, items: items.iter().map(|i| &i.body).collect() };
    write(&Typed { of: type_meta(kind), body })
}

/// A table, JSON. `api_version` is `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
pub fn table(api_version: &'static str, items: &[Item<'_>], include: Include) -> Vec<u8> {
    let column =
        |name, format, description| Column { name, kind: "string", format, description, priority: 0 };
    write(&Table {
        kind: "Table",
        api_version,
        metadata: Empty {},
        column_definitions: [
            column("Name", "name", "Name of the resource"),
            column("cpu", "quantity", ""),
            column("memory", "quantity", ""),
            column("swap", "quantity", ""),
            column("Window", "duration", ""),
        ],
        rows: items.iter().map(|item| item.row(include)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_canonical() {
        let check = |nano: u64, want: &str| assert_eq!(cores(nano), want);
        check(0, "0");
        check(1, "1n");
        check(1_234_567, "1234567n");
        check(1_500_000, "1500u");
        check(250_000_000, "250m");
        check(2_000_000_000, "2");
        check(1_000_000_000_000, "1k");
        assert_eq!((bytes(5 << 20).as_str(), bytes(1025).as_str(), bytes(0).as_str()), ("5Mi", "1025", "0"));
    }

    fn used(nanocores: u64) -> Usage {
        Usage {
            at: Timestamp::from_second(1_767_225_600).unwrap(),
            window: SignedDuration::from_millis(15_250),
            nanocores,
            memory_bytes: 1 << 20,
            swap_bytes: 0,
        }
    }

    #[test]
    fn forms_are_upstreams() {
        let now = Timestamp::from_second(1_767_225_605).unwrap();
        let check =
            |got: Vec<u8>, want: &str| assert_eq!(String::from_utf8(got).unwrap(), format!("{want}\n"));
        let node = Item::node("n", None, &used(3), now);
        check(
            node.object(),
            r#"{"kind":"NodeMetrics","apiVersion":"metrics.k8s.io/v1beta1","metadata":{"name":"n","creationTimestamp":"2026-01-01T00:00:05Z"},"timestamp":"2026-01-01T00:00:00Z","window":"15.25s","usage":{"cpu":"3n","memory":"1Mi","swap":"0"}}"#,
        );
        let labels: Labels = [("a".to_owned(), "b".to_owned())].into();
        let usage = PodUsage {
            at: used(0).at,
            window: used(0).window,
            containers: vec![("c", used(400_000)), ("d", used(600_000))],
        };
        let pod = [Item::pod("ns", "p", Some(&labels), &usage, now)];
        check(
            list("PodMetricsList", &pod),
            r#"{"kind":"PodMetricsList","apiVersion":"metrics.k8s.io/v1beta1","metadata":{},"items":[{"metadata":{"name":"p","namespace":"ns","creationTimestamp":"2026-01-01T00:00:05Z","labels":{"a":"b"}},"timestamp":"2026-01-01T00:00:00Z","window":"15.25s","containers":[{"name":"c","usage":{"cpu":"400u","memory":"1Mi","swap":"0"}},{"name":"d","usage":{"cpu":"600u","memory":"1Mi","swap":"0"}}]}]}"#,
        );
        let shown = String::from_utf8(table("meta.k8s.io/v1", &pod, Include::Metadata)).unwrap();
        assert!(shown.contains(r#""cells":["p","1m","2Mi","0","15.25s"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"p","namespace":"ns","#), "{shown}");
        assert!(
            shown.contains(
                r#"{"name":"cpu","type":"string","format":"quantity","description":"","priority":0}"#
            ),
            "{shown}"
        );
        let bare = String::from_utf8(table("meta.k8s.io/v1beta1", &pod, Include::None)).unwrap();
        assert!(bare.contains(r#"15.25s"]}]}"#) && bare.contains("meta.k8s.io/v1beta1"), "{bare}");
    }
}
