//! The built-in kinds, read from the generated table at first use.
//!
//! `xtask codegen` writes the table and documents its grammar.

use super::{
    Builder, Extra, Field, Int, ListType, Name, NodeId, Omit, PatchStrategy, Schemas, Shape, Struct,
    StructId, Wire, WireTarget,
};
use std::collections::HashMap;
use std::sync::LazyLock;

static TABLE: &str = include_str!("builtin.txt");

static BUILTIN: LazyLock<Schemas> = LazyLock::new(|| {
    // The table is part of the program and a test loads it: it cannot be ill-formed.
    Loader::default().load(TABLE).expect("the built-in schema table is sound")
});

/// The schemas of every built-in kind. The first call reads the table, in a few milliseconds.
pub fn builtin() -> &'static Schemas {
    &BUILTIN
}

const SCHEMA_PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

#[derive(Default)]
struct Loader {
    builder: Builder,
    /// Structs by the abbreviated name the table refers to them with.
    by_ref: HashMap<&'static str, StructId>,
    /// Nodes by the text that describes them: types and attributes recur.
    by_text: HashMap<(&'static str, &'static str), NodeId>,
}

impl Loader {
    fn load(mut self, table: &'static str) -> Option<Schemas> {
        let mut lines = table.lines().peekable();
        while let Some(head) = lines.next() {
            let (reference, flags) = head.strip_prefix("= ")?.split_once(' ').unwrap_or((&head[2..], ""));
            let id = self.reference(reference);
            let mut def = Struct {
                kinds: flags.split(' ').filter_map(|f| kind(f.strip_prefix("kind=")?)).collect(),
                atomic: flags.split(' ').any(|f| f == "atomic"),
                ..Struct::default()
            };
            if let Some((_, json)) = flags.split_once("unions=") {
                def.unions = Some(serde_json::from_str(json).ok()?);
            }
            let (mut fields, mut wire) = (Vec::new(), Vec::new());
            while let Some(line) = lines.next_if(|l| !l.starts_with("= ")) {
                self.line(line, &mut fields, &mut wire)?;
            }
            wire.sort_by_key(|w: &Wire| w.number);
            (def.fields, def.wire) = (fields.into(), wire.into());
            self.builder.define(id, def);
        }
        Some(self.builder.finish())
    }

    /// One field, or one inlined message. Fields come in name order, so their positions are final.
    fn line(&mut self, line: &'static str, fields: &mut Vec<Field>, wire: &mut Vec<Wire>) -> Option<()> {
        let mut parts = line.splitn(5, ' ');
        let (name, ty, flags, number) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let pointer = flags.contains('*');
        let target = if name == ">" {
            WireTarget::Inline(self.reference(ty.strip_prefix('@')?))
        } else {
            let mut rest = parts.next().unwrap_or_default();
            let mut through = None;
            if let Some(text) = rest.strip_prefix("i=") {
                let (names, attributes) = text.split_once(' ').unwrap_or((text, ""));
                (through, rest) = (Some(names.into()), attributes);
            }
            let omit = match flags {
                f if f.contains('z') => Omit::Zero,
                f if f.contains('e') => Omit::Empty,
                _ => Omit::Never,
            };
            let node = self.node(ty, rest)?;
            let required = flags.contains('r');
            fields.push(Field { name: name.into(), node, required, pointer, omit, through });
            WireTarget::Field(fields.len() as u32 - 1)
        };
        if number != "-" {
            wire.push(Wire { number: number.parse().ok()?, target, pointer });
        }
        Some(())
    }

    fn reference(&mut self, reference: &'static str) -> StructId {
        if let Some(id) = self.by_ref.get(reference) {
            return *id;
        }
        let name: Name = match reference.strip_prefix('~') {
            Some(rest) => format!("io.k8s.api.{rest}").into(),
            None => reference.into(),
        };
        let id = self.builder.declare(name);
        self.by_ref.insert(reference, id);
        id
    }

    fn shape(&mut self, ty: &'static str, extra: &mut Extra) -> Option<Shape> {
        if let Some(rest) = ty.strip_prefix('@') {
            return Some(Shape::Struct(self.reference(rest)));
        }
        if let Some((name, rest)) = ty.strip_prefix('(').and_then(|t| t.split_once(')')) {
            extra.go_name = Some(name.into());
            return self.shape(rest, extra);
        }
        if let Some(rest) = ty.strip_prefix('w') {
            extra.wrapped = true;
            return self.shape(rest, extra);
        }
        if let Some(rest) = ty.strip_prefix("[]") {
            return Some(Shape::List(self.inner(rest)?));
        }
        if let Some(rest) = ty.strip_prefix("{}") {
            return Some(Shape::Map(self.inner(rest)?));
        }
        Some(match ty {
            "any" => Shape::Any,
            "object" => {
                // Raw extensions are owned whole.
                extra.atomic = true;
                Shape::AnyObject
            }
            "bool" => Shape::Bool,
            "int32" => Shape::Int(Int::I32),
            "int64" => Shape::Int(Int::I64),
            "uint8" => Shape::Int(Int::U8),
            "uint16" => Shape::Int(Int::U16),
            "uint32" => Shape::Int(Int::U32),
            "uint64" => Shape::Int(Int::U64),
            "number" => Shape::Number,
            "string" => Shape::String,
            "bytes" => Shape::Bytes,
            "intorstring" => Shape::IntOrString,
            "quantity" => Shape::Quantity,
            "time" => Shape::Time,
            "microtime" => Shape::MicroTime,
            "duration" => Shape::Duration,
            "schemaorbool" => Shape::SchemaOrBool(self.reference(SCHEMA_PROPS)),
            "schemaorarray" => Shape::SchemaOrArray(self.reference(SCHEMA_PROPS)),
            "schemaorstrings" => Shape::SchemaOrStrings(self.reference(SCHEMA_PROPS)),
            _ => return None,
        })
    }

    fn inner(&mut self, ty: &'static str) -> Option<NodeId> {
        self.node(ty, "")
    }

    fn node(&mut self, ty: &'static str, rest: &'static str) -> Option<NodeId> {
        if let Some(id) = self.by_text.get(&(ty, rest)) {
            return Some(*id);
        }
        let mut extra = attributes(rest)?;
        let shape = self.shape(ty, &mut extra)?;
        let id = self.builder.node(shape, false, extra);
        self.by_text.insert((ty, rest), id);
        Some(id)
    }
}

/// `group/version/Kind`; the group may be empty.
fn kind(text: &'static str) -> Option<(Name, Name, Name)> {
    let mut parts = text.split('/');
    Some((parts.next()?.into(), parts.next()?.into(), parts.next()?.into()))
}

fn attributes(mut text: &'static str) -> Option<Extra> {
    let mut extra = Extra::default();
    while !text.is_empty() {
        if let Some(json) = text.strip_prefix("d=") {
            extra.default = Some(serde_json::from_str(json).ok()?);
            break;
        }
        let (one, rest) = text.split_once(' ').unwrap_or((text, ""));
        text = rest;
        match one.split_once('=').unwrap_or((one, "")) {
            ("l", "atomic") => extra.list_type = Some(ListType::Atomic),
            ("l", "set") => extra.list_type = Some(ListType::Set),
            ("l", "map") => extra.list_type = Some(ListType::Map),
            ("k", keys) => extra.list_map_keys = keys.split(',').map(Name::from).collect(),
            ("m", v) => extra.atomic = v == "atomic",
            ("p", v) => extra.patch = strategy(v),
            ("K", key) => extra.patch_merge_key = Some(key.into()),
            ("u", _) => extra.preserve_unknown = true,
            ("x", _) => extra.embedded_resource = true,
            _ => return None,
        }
    }
    Some(extra)
}

fn strategy(text: &str) -> PatchStrategy {
    let has = |word| text.split(',').any(|t| t == word);
    PatchStrategy { merge: has("merge"), replace: has("replace"), retain_keys: has("retainKeys") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_loads_and_every_reference_is_defined() {
        let start = std::time::Instant::now();
        let all = Loader::default().load(TABLE).unwrap();
        println!("loaded in {:?}: {} structs, {} nodes", start.elapsed(), all.structs.len(), all.nodes.len());
        for s in &all.structs {
            assert!(s.fields.is_sorted_by(|a, b| a.name < b.name), "{}", s.name);
            // The decoder keeps one bit a field.
            assert!(s.fields.len() <= 128, "{}", s.name);
            let reference = s.name.replacen("io.k8s.api.", "~", 1);
            let head = |l: &str| l.strip_prefix("= ").and_then(|l| l.split(' ').next()) == Some(&reference);
            assert!(TABLE.lines().any(head), "{} is only referred to", s.name);
        }
    }

    #[test]
    fn every_served_kind_has_a_schema() {
        for k in gantry_types::scheme::KINDS {
            assert!(builtin().kind(k.group, k.version, k.kind).is_some(), "{}", k.kind);
            for sub in k.subresources {
                let (g, v) = sub.group_version.unwrap_or((k.group, k.version));
                assert!(builtin().kind(g, v, sub.kind).is_some(), "{g}/{v} {}", sub.kind);
            }
        }
    }

    #[test]
    fn places_say_how_they_merge() {
        let spec = builtin().kind("", "v1", "Pod").unwrap().field("spec").unwrap();
        let ports = spec.field("containers").unwrap().items().unwrap().field("ports").unwrap();
        assert_eq!(ports.list_type(), ListType::Map);
        assert_eq!(ports.list_map_keys(), ["containerPort", "protocol"]);
        assert_eq!(ports.patch_merge_key(), Some("containerPort"));
        assert!(ports.patch_strategy().merge);
        assert_eq!(ports.items().unwrap().field("protocol").unwrap().default(), Some(&"TCP".into()));
        let volumes = spec.field("volumes").unwrap();
        assert!(volumes.patch_strategy().merge && volumes.patch_strategy().retain_keys);
        assert!(spec.field("nodeSelector").unwrap().atomic());
        let deployment = builtin().kind("apps", "v1", "Deployment").unwrap();
        assert!(deployment.field("spec").unwrap().field("selector").unwrap().atomic());
        let revision = builtin().kind("apps", "v1", "ControllerRevision").unwrap();
        assert!(revision.field("data").unwrap().atomic());
        let strategy = deployment.field("spec").unwrap().field("strategy").unwrap();
        assert!(strategy.patch_strategy().retain_keys);
        assert!(spec.field("volumes").unwrap().items().unwrap().field("emptyDir").is_some());
        assert!(builtin().kind("apps", "v1", "DeleteOptions").is_some());
    }
}
