//! One structural schema type, for built-in kinds and for custom resources alike.
//!
//! A [`Schemas`] is an arena: [`Struct`]s (objects with named fields) and [`Node`]s (what may stand at one
//! place of a document, with the attributes of that place). Nodes refer to structs and to each other by id, so
//! recursive types need no boxes and a walk chases no pointers. [`Schema`] is the handle to walk with: a
//! reference to the arena and a node, cheap to copy.
//!
//! ```
//! let pod = gantry_machinery::schema::builtin().kind("", "v1", "Pod").unwrap();
//! let containers = pod.field("spec").and_then(|s| s.field("containers")).unwrap();
//! assert_eq!(containers.patch_merge_key(), Some("name"));
//! ```

mod builder;
mod builtin;
mod walk;

pub use builder::Builder;
pub use builtin::builtin;
pub use walk::Schema;

use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashMap;

/// A name out of a schema: borrowed for built-in kinds, owned for custom ones.
pub type Name = Cow<'static, str>;

/// A node of a [`Schemas`] arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// A struct of a [`Schemas`] arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StructId(pub(crate) u32);

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Any JSON value (`JSON`, `RawExtension`, a schema without a type).
    Any,
    /// Any JSON object, kept as it is (`FieldsV1`, `RawExtension`, an untyped `type: object`).
    AnyObject,
    Bool,
    /// An integer of the given width.
    Int(Int),
    /// A floating point number.
    Number,
    String,
    /// Base64 text (`format: byte`).
    Bytes,
    /// An integer or a string (`x-kubernetes-int-or-string`, `IntOrString`).
    IntOrString,
    /// A resource quantity; numbers are taken too and become text.
    Quantity,
    /// RFC 3339 in seconds.
    Time,
    /// RFC 3339 in microseconds.
    MicroTime,
    /// A Go duration as text (`1m30s`).
    Duration,
    /// A JSON object with the given fields.
    Struct(StructId),
    /// A JSON array of the given items.
    List(NodeId),
    /// A JSON object whose values are as given.
    Map(NodeId),
    /// A bool or a `JSONSchemaProps`, which the id is for. Atomic to every kind of merge.
    SchemaOrBool(StructId),
    /// A `JSONSchemaProps` or a list of them.
    SchemaOrArray(StructId),
    /// A `JSONSchemaProps` or a list of strings.
    SchemaOrStrings(StructId),
}

/// The width of an integer; CRD schemas without a format use `I64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Int {
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// `x-kubernetes-list-type`. Absent means [`ListType::Atomic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ListType {
    /// One value owned and replaced whole.
    #[default]
    Atomic,
    /// A set of scalars, each owned apart.
    Set,
    /// Objects told apart by [`Schema::list_map_keys`].
    Map,
}

/// `x-kubernetes-patch-strategy`: how strategic merge patch treats a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PatchStrategy {
    /// Merge element by element (by the merge key, or as a set of scalars).
    pub merge: bool,
    /// Replace whole (a map that would otherwise be merged).
    pub replace: bool,
    /// Drop sibling keys the patch's `$retainKeys` does not list.
    pub retain_keys: bool,
}

/// How Go's JSON encoder leaves a field out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Omit {
    /// Always written: zero values too, and `null` for a nil list, map or pointer.
    #[default]
    Never,
    /// `omitempty`: left out when false, 0, "", nil, or an empty list or map; a struct is always written.
    Empty,
    /// `omitzero`: left out when the zero value; a struct of nothing but zero values is left out too.
    Zero,
}

/// What may stand at one place of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub shape: Shape,
    /// `nullable: true`: null is a value of its own, not absence. Only custom resources have it.
    pub nullable: bool,
    /// Only where something beyond the shape is said.
    pub extra: Option<Box<Extra>>,
}

/// The attributes of a place that most places do not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// Filled in where the place is absent.
    pub default: Option<Value>,
    pub enumeration: Vec<Value>,
    /// `format` where it says more than the shape does.
    pub format: Option<Name>,
    pub list_type: Option<ListType>,
    pub list_map_keys: Vec<Name>,
    /// `x-kubernetes-map-type: atomic` here (a struct type may say so as well).
    pub atomic: bool,
    pub patch: PatchStrategy,
    pub patch_merge_key: Option<Name>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: has apiVersion, kind and metadata of its own.
    pub embedded_resource: bool,
    /// A list that is a protobuf message with one repeated field (`ExtraValue`).
    pub wrapped: bool,
    /// The type's name in Go where the shape does not give it (`v1.RestartPolicy`).
    pub go_name: Option<Name>,
}

/// A JSON object with named fields.
#[derive(Clone, Debug, Default)]
pub struct Struct {
    /// The definition's name (`io.k8s.api.core.v1.Pod`); empty where a custom resource nests it unnamed.
    pub name: Name,
    /// Sorted by name; fields of inlined Go structs are listed here like any other.
    pub fields: Box<[Field]>,
    /// `x-kubernetes-map-type: atomic` on the type itself (`LabelSelector`, `ObjectReference`).
    pub atomic: bool,
    /// The group, version and kind objects of this type carry, where it is a kind of its own.
    pub kinds: Box<[(Name, Name, Name)]>,
    /// Protobuf fields by ascending number; empty for custom resources.
    pub wire: Box<[Wire]>,
    /// Fields Go's encoder writes even when they are absent, by index in `fields`; derived by the builder.
    pub(crate) filled: Box<[u32]>,
    /// `x-kubernetes-unions`, as one JSON value.
    pub unions: Option<Value>,
}

/// A field of a [`Struct`].
#[derive(Clone, Debug)]
pub struct Field {
    pub name: Name,
    pub node: NodeId,
    pub required: bool,
    /// A Go pointer: absence and the zero value differ.
    pub pointer: bool,
    pub omit: Omit,
    /// The embedded Go structs the field comes through (`ProbeHandler`), as upstream's messages name them.
    pub through: Option<Name>,
}

/// A protobuf field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    pub number: u32,
    pub target: WireTarget,
    /// A Go pointer: written only when present. Others are written even when zero.
    pub pointer: bool,
}

/// Where the value of a protobuf field lives in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireTarget {
    /// A field, by its index in [`Struct::fields`].
    Field(u32),
    /// A nested message whose fields stand in this very JSON object (a Go struct embedded inline).
    Inline(StructId),
}

/// Kinds of `meta/v1` that upstream registers in every group version.
const EVERYWHERE: &[&str] = &[
    "WatchEvent",
    "ListOptions",
    "GetOptions",
    "DeleteOptions",
    "CreateOptions",
    "UpdateOptions",
    "PatchOptions",
];

/// An arena of schemas with its two indexes: by kind and by definition name.
#[derive(Debug, Default)]
pub struct Schemas {
    pub(crate) nodes: Vec<Node>,
    pub(crate) structs: Vec<Struct>,
    /// The node that is just "this struct", per struct.
    pub(crate) roots: Vec<NodeId>,
    pub(crate) names: HashMap<Name, StructId>,
    pub(crate) kinds: HashMap<(Name, Name, Name), StructId>,
}

impl Schemas {
    /// The schema of a kind. The `*List` kinds and `Status` are there too; the kinds every group speaks
    /// (`DeleteOptions`, `WatchEvent`, …) are found under any group and version.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Schema<'_>> {
        let found = self.lookup(&(group.into(), version.into(), kind.into()));
        let found = match found {
            None if EVERYWHERE.contains(&kind) => self.lookup(&("".into(), "v1".into(), kind.into())),
            found => found,
        };
        found.map(|id| self.of_struct(id))
    }

    fn lookup<'k>(&self, key: &(Cow<'k, str>, Cow<'k, str>, Cow<'k, str>)) -> Option<StructId> {
        // HashMap<(Name, Name, Name), _> is covariant in its keys' lifetimes.
        let kinds: &HashMap<(Cow<'k, str>, Cow<'k, str>, Cow<'k, str>), StructId> = &self.kinds;
        kinds.get(key).copied()
    }

    /// The schema of a kind by its full name.
    pub fn gvk(&self, gvk: &gantry_types::GroupVersionKind) -> Option<Schema<'_>> {
        self.kind(&gvk.group, &gvk.version, &gvk.kind)
    }

    /// The schema of a definition such as `io.k8s.api.core.v1.PodSpec`.
    pub fn definition(&self, name: &str) -> Option<Schema<'_>> {
        self.names.get(name).map(|id| self.of_struct(*id))
    }

    /// A handle on any node.
    pub fn at(&self, id: NodeId) -> Schema<'_> {
        Schema::new(self, id)
    }

    /// The struct with this id.
    pub fn get_struct(&self, id: StructId) -> &Struct {
        &self.structs[id.0 as usize]
    }

    /// All named structs, in no particular order.
    pub fn definitions(&self) -> impl Iterator<Item = &Struct> {
        self.structs.iter().filter(|s| !s.name.is_empty())
    }

    pub(crate) fn of_struct(&self, id: StructId) -> Schema<'_> {
        Schema::new(self, self.roots[id.0 as usize])
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}
