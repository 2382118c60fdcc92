//! The handle to walk a schema with.

use super::{Extra, Field, ListType, Name, Node, NodeId, PatchStrategy, Schemas, Shape, Struct};
use serde_json::Value;

/// A place in a schema. `Copy`; as cheap as two words.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    all: &'a Schemas,
    node: &'a Node,
    id: NodeId,
}

impl std::fmt::Debug for Schema<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.structure() {
            Some(s) => f.write_str(&s.name),
            None => self.node.shape.fmt(f),
        }
    }
}

impl<'a> Schema<'a> {
    pub(super) fn new(all: &'a Schemas, id: NodeId) -> Self {
        Self { all, node: all.node(id), id }
    }

    pub fn id(self) -> NodeId {
        self.id
    }

    /// The arena this place belongs to.
    pub fn arena(self) -> &'a Schemas {
        self.all
    }

    pub fn shape(self) -> Shape {
        self.node.shape
    }

    pub fn node(self) -> &'a Node {
        self.node
    }

    fn extra(self) -> Option<&'a Extra> {
        self.node.extra.as_deref()
    }

    /// The struct that stands here, where one does.
    pub fn structure(self) -> Option<&'a Struct> {
        match self.node.shape {
            Shape::Struct(id) => Some(self.all.get_struct(id)),
            _ => None,
        }
    }

    /// A named field's declaration, where a struct stands here and has it.
    pub fn field_decl(self, name: &str) -> Option<&'a Field> {
        let fields = &self.structure()?.fields;
        fields.binary_search_by(|f| (*f.name).cmp(name)).ok().map(|i| &fields[i])
    }

    /// What may stand at a named field of this struct; `None` for unknown fields and for anything but structs.
    pub fn field(self, name: &str) -> Option<Schema<'a>> {
        self.field_decl(name).map(|f| Self::new(self.all, f.node))
    }

    /// The fields of this struct in name order; nothing for anything but structs.
    pub fn fields(self) -> impl Iterator<Item = (&'a Field, Schema<'a>)> {
        let all = self.all;
        self.structure().into_iter().flat_map(|s| s.fields.iter()).map(move |f| (f, Self::new(all, f.node)))
    }

    /// What the items of this list may be.
    pub fn items(self) -> Option<Schema<'a>> {
        match self.node.shape {
            Shape::List(id) => Some(Self::new(self.all, id)),
            _ => None,
        }
    }

    /// What the values of this map may be.
    pub fn values(self) -> Option<Schema<'a>> {
        match self.node.shape {
            Shape::Map(id) => Some(Self::new(self.all, id)),
            _ => None,
        }
    }

    /// What may stand under a key of the JSON object here: a struct's field or a map's value.
    pub fn child(self, key: &str) -> Option<Schema<'a>> {
        match self.node.shape {
            Shape::Map(id) => Some(Self::new(self.all, id)),
            _ => self.field(key),
        }
    }

    /// Filled in where this place is absent.
    pub fn default(self) -> Option<&'a Value> {
        self.extra()?.default.as_ref()
    }

    pub fn enumeration(self) -> &'a [Value] {
        self.extra().map_or(&[], |e| &e.enumeration)
    }

    pub fn format(self) -> Option<&'a str> {
        self.extra()?.format.as_deref()
    }

    pub fn nullable(self) -> bool {
        self.node.nullable
    }

    /// How a list here is owned and merged by server-side apply; atomic where nothing is said.
    pub fn list_type(self) -> ListType {
        self.extra().and_then(|e| e.list_type).unwrap_or_default()
    }

    /// Whether a list type is said at all (discovery of defaults needs the difference).
    pub fn explicit_list_type(self) -> Option<ListType> {
        self.extra()?.list_type
    }

    /// The keys that tell the items of a [`ListType::Map`] list apart.
    pub fn list_map_keys(self) -> &'a [Name] {
        self.extra().map_or(&[], |e| &e.list_map_keys)
    }

    /// Whether a map or struct here is owned and replaced whole by server-side apply.
    pub fn atomic(self) -> bool {
        self.extra().is_some_and(|e| e.atomic) || self.structure().is_some_and(|s| s.atomic)
    }

    pub fn patch_strategy(self) -> PatchStrategy {
        self.extra().map_or(PatchStrategy::default(), |e| e.patch)
    }

    /// The key strategic merge patch tells the items of this list apart by.
    pub fn patch_merge_key(self) -> Option<&'a str> {
        self.extra()?.patch_merge_key.as_deref()
    }

    /// Whether fields the schema does not name are kept.
    pub fn preserve_unknown(self) -> bool {
        matches!(self.node.shape, Shape::Any | Shape::AnyObject)
            || self.extra().is_some_and(|e| e.preserve_unknown)
    }

    pub fn embedded_resource(self) -> bool {
        self.extra().is_some_and(|e| e.embedded_resource)
    }
}
