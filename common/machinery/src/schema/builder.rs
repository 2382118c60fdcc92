//! Building an arena, from the built-in table or from a custom resource's schema.

use super::{Extra, Field, Name, Node, NodeId, Omit, Schemas, Shape, Struct, StructId};
use std::collections::HashMap;

/// Fills a [`Schemas`]. Plain nodes (no attributes) are shared.
#[derive(Debug, Default)]
pub struct Builder {
    out: Schemas,
    plain: HashMap<(Shape, bool), NodeId>,
}

impl Builder {
    /// Announces a struct, so that others may refer to it before it is [defined](Self::define). A name
    /// announced twice is the same struct; the empty name is always a new one.
    pub fn declare(&mut self, name: Name) -> StructId {
        if !name.is_empty()
            && let Some(id) = self.out.names.get(&name)
        {
            return *id;
        }
        let id = StructId(self.out.structs.len() as u32);
        self.out.structs.push(Struct { name: name.clone(), ..Struct::default() });
        let root = self.node(Shape::Struct(id), false, Extra::default());
        self.out.roots.push(root);
        if !name.is_empty() {
            self.out.names.insert(name, id);
        }
        id
    }

    /// Gives a struct its content and registers its kinds. Fields are sorted here; [`Struct::wire`] must refer
    /// to them by their sorted positions (see [`sorted`]).
    pub fn define(&mut self, id: StructId, mut def: Struct) {
        def.fields.sort_by(|a: &Field, b| a.name.cmp(&b.name));
        def.filled = (0..).zip(&def.fields).filter(|(_, f)| self.is_filled(f)).map(|(i, _)| i).collect();
        for kind in &def.kinds {
            self.out.kinds.insert(kind.clone(), id);
        }
        def.name = self.out.structs[id.0 as usize].name.clone();
        self.out.structs[id.0 as usize] = def;
    }

    /// Whether Go writes the field even when nothing was said about it.
    fn is_filled(&self, field: &Field) -> bool {
        let plain = matches!(
            self.out.node(field.node).shape,
            Shape::Bool
                | Shape::Int(_)
                | Shape::Number
                | Shape::String
                | Shape::Bytes
                | Shape::List(_)
                | Shape::Map(_)
        );
        match field.omit {
            Omit::Never => true,
            Omit::Empty => !field.pointer && !plain,
            Omit::Zero => false,
        }
    }

    pub fn node(&mut self, shape: Shape, nullable: bool, extra: Extra) -> NodeId {
        let is_plain = extra == Extra::default();
        if is_plain && let Some(id) = self.plain.get(&(shape, nullable)) {
            return *id;
        }
        let id = NodeId(self.out.nodes.len() as u32);
        let extra = if is_plain { None } else { Some(Box::new(extra)) };
        self.out.nodes.push(Node { shape, nullable, extra });
        if is_plain {
            self.plain.insert((shape, nullable), id);
        }
        id
    }

    pub fn finish(mut self) -> Schemas {
        self.out.nodes.shrink_to_fit();
        self.out.structs.shrink_to_fit();
        self.out
    }
}
