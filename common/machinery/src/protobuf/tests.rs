use super::*;
use crate::schema::builtin;
use std::path::{Path, PathBuf};

/// One pair, `<name>.json` and its protobuf: each must become the other.
fn check_pair(json: &Path) -> Result<(), String> {
    let want_doc: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).map_err(|e| e.to_string())?;
    let want_pb = protobuf_of(json);
    let Value::Object(map) = want_doc.clone() else { return Err("not an object".into()) };
    let doc = Document::new(map);
    let kindless = doc.kind().is_empty().then(|| GroupVersionKind {
        group: "".into(),
        version: "v1".into(),
        kind: "WatchEvent".into(),
    });
    let pb = match &kindless {
        None => encode_envelope(builtin(), &doc),
        Some(gvk) => encode_message(builtin().gvk(gvk).unwrap(), doc.map()).map(|m| envelope("", "", &m)),
    };
    let pb = pb.map_err(|e| format!("encode: {e}"))?;
    if pb != want_pb {
        let at = pb.iter().zip(&want_pb).position(|(a, b)| a != b).unwrap_or(pb.len().min(want_pb.len()));
        let near =
            |b: &[u8]| String::from_utf8_lossy(&b[at.saturating_sub(20)..b.len().min(at + 30)]).into_owned();
        return Err(format!("encode differs at {at}: {:?} for {:?}", near(&pb), near(&want_pb)));
    }
    // What upstream writes as JSON, the decoder takes as it is.
    let schema = kindless.as_ref().map_or_else(
        || {
            let gv = GroupVersion::parse(doc.api_version()).unwrap();
            builtin().kind(&gv.group, &gv.version, doc.kind())
        },
        |gvk| builtin().gvk(gvk),
    );
    let read = crate::validate::json(schema.unwrap(), &doc.to_json(), true).map_err(|e| e.to_string())?;
    if !read.problems.is_empty() || read.value != want_doc {
        return Err(format!("read: {:?} {}", read.problems, first_difference("", &read.value, &want_doc)));
    }
    let mut doc =
        decode_envelope(builtin(), &want_pb, kindless.as_ref()).map_err(|e| format!("decode: {e}"))?;
    if kindless.is_some() {
        doc.map_mut().retain(|k, _| k != "kind" && k != "apiVersion");
    }
    let doc = doc.into_value();
    if doc != want_doc {
        return Err(format!("decode differs: {}", first_difference("", &doc, &want_doc)));
    }
    Ok(())
}

/// Beside the JSON, as `.pb` or in hexadecimal as `.hex`.
fn protobuf_of(json: &Path) -> Vec<u8> {
    if let Ok(raw) = std::fs::read(json.with_extension("pb")) {
        return raw;
    }
    let hex: String =
        std::fs::read_to_string(json.with_extension("hex")).unwrap().split_whitespace().collect();
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn first_difference(path: &str, got: &Value, want: &Value) -> String {
    match (got, want) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = Value::Null;
            for k in keys {
                let (x, y) = (a.get(k).unwrap_or(&null), b.get(k).unwrap_or(&null));
                if x != y || a.contains_key(k) != b.contains_key(k) {
                    return first_difference(&format!("{path}.{k}"), x, y);
                }
            }
            String::new()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find(|(_, (x, y))| x != y)
            .map_or_else(String::new, |(i, (x, y))| first_difference(&format!("{path}[{i}]"), x, y)),
        _ => format!("{path}: {got} for {want}"),
    }
}

fn check_folder(folder: &Path, least: usize) {
    let mut pairs: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    pairs.sort();
    assert!(pairs.len() >= least, "{} pairs in {}", pairs.len(), folder.display());
    let failures: Vec<String> = pairs
        .iter()
        .filter_map(|p| check_pair(p).err().map(|e| format!("{}: {e}", p.file_name().unwrap().display())))
        .collect();
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), pairs.len(), failures.join("\n"));
}

/// Objects of ours as upstream encodes them; `GANTRY_ROUNDTRIP_DIR` names a folder with more.
#[test]
fn vectors_convert_both_ways() {
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/protobuf/vectors"), 5);
    if let Some(folder) = std::env::var_os("GANTRY_ROUNDTRIP_DIR") {
        check_folder(Path::new(&folder), 1);
    }
}

/// A small generator of documents from a schema; the seed is proptest's.
struct Gen(u64);

impl Gen {
    fn next(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn text(&mut self) -> String {
        ["", "a", "b-c", "x/y.z", "\u{e9}\u{1f600}", "<&>\"\n"][self.next(6) as usize].to_owned()
    }

    fn value(&mut self, schema: crate::schema::Schema<'_>, depth: u32) -> Value {
        use crate::schema::{Int, Shape};
        match schema.shape() {
            Shape::Any | Shape::AnyObject => serde_json::json!({ "k": self.text(), "n": self.next(9) }),
            Shape::Bool => (self.next(2) == 1).into(),
            Shape::Int(Int::I32) => (self.next(1 << 32) as u32 as i32).into(),
            Shape::Int(Int::U8) => self.next(256).into(),
            Shape::Int(Int::U16) => self.next(1 << 16).into(),
            Shape::Int(Int::U32 | Int::U64) => self.next(1 << 32).into(),
            Shape::Int(Int::I64) => (self.next(u64::MAX) as i64).into(),
            Shape::Number => (self.next(1000) as f64 / 8.0).into(),
            Shape::String => self.text().into(),
            Shape::Bytes => ["", "YQ==", "AAEC"][self.next(3) as usize].into(),
            Shape::IntOrString if self.next(2) == 0 => (self.next(100) as i64 - 50).into(),
            Shape::IntOrString => self.text().into(),
            Shape::Quantity => ["0", "1500m", "1Gi", "12e6", "-3k"][self.next(5) as usize].into(),
            Shape::Time => ["1969-07-20T20:17:40Z", "2026-01-02T03:04:05Z"][self.next(2) as usize].into(),
            Shape::MicroTime => {
                ["1969-07-20T20:17:40.000001Z", "2026-01-02T03:04:05.999999Z"][self.next(2) as usize].into()
            }
            Shape::Duration => ["0s", "1m30s", "-5ms"][self.next(3) as usize].into(),
            Shape::Struct(_) => self.object(schema, depth + 1),
            Shape::List(id) => {
                let n = if depth > 6 { 0 } else { self.next(3) };
                (0..n).map(|_| self.value(schema.arena().at(id), depth + 1)).collect()
            }
            Shape::Map(id) => {
                let n = if depth > 6 { 0 } else { self.next(3) };
                (0..n)
                    .map(|i| (format!("k{}-{i}", self.next(9)), self.value(schema.arena().at(id), depth + 1)))
                    .collect::<Map<_, _>>()
                    .into()
            }
            Shape::SchemaOrBool(id) | Shape::SchemaOrArray(id) if depth <= 6 => {
                self.object(schema.arena().of_struct(id), depth + 1)
            }
            Shape::SchemaOrBool(_) => true.into(),
            Shape::SchemaOrArray(_) => Value::Null,
            Shape::SchemaOrStrings(_) => serde_json::json!(["a", "b"]),
        }
    }

    fn object(&mut self, schema: crate::schema::Schema<'_>, depth: u32) -> Value {
        let mut out = Map::new();
        let whole = schema.fields().any(|(field, _)| field.name == "metadata");
        for (field, child) in schema.fields() {
            // An object within another (a claim of a stateful set) has no type of its own in protobuf.
            if depth > 0 && whole && matches!(&*field.name, "apiVersion" | "kind") {
                continue;
            }
            // Deep and wide types would otherwise grow without end.
            if self.next(u64::from(2 + depth)) == 0 && depth < 12 {
                let value = self.value(child, depth);
                out.insert(field.name.clone().into_owned(), value);
            }
        }
        Value::Object(out)
    }
}

/// Protobuf does not tell an empty list or map from none.
fn blur(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(map) if map.is_empty() => Value::Null,
        Value::Array(items) => items.iter().map(blur).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), blur(v))).collect::<Map<_, _>>().into(),
        other => other.clone(),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// What the decoder accepts survives protobuf and back, and the decoder changes it no further.
    #[test]
    fn documents_survive_protobuf(seed: u64) {
        let mut generator = Gen(seed);
        let kinds = gantry_types::scheme::KINDS;
        let kind = &kinds[generator.next(kinds.len() as u64) as usize];
        let schema = builtin().kind(kind.group, kind.version, kind.kind).unwrap();
        let mut object = generator.object(schema, 0);
        object["apiVersion"] = kind.api_version().into_owned().into();
        object["kind"] = kind.kind.into();
        let read = |v: &Value| {
            let decoded = crate::validate::json(schema, &serde_json::to_vec(v).unwrap(), true).unwrap();
            assert_eq!(decoded.problems, Vec::<String>::new());
            decoded.value
        };
        let once = read(&object);
        proptest::prop_assert_eq!(&read(&once), &once);
        let Value::Object(map) = once.clone() else { unreachable!("an object was generated") };
        let mut normal = map.clone();
        crate::validate::normalize(schema, &mut normal);
        proptest::prop_assert_eq!(&normal, &map);
        let pb = encode_envelope(builtin(), &Document::new(map)).unwrap();
        let back = decode_envelope(builtin(), &pb, None).unwrap().into_value();
        let (back, once) = (blur(&back), blur(&once));
        proptest::prop_assert!(back == once, "{}", first_difference("", &back, &once));
    }

    /// Broken bytes are refused or read, never a panic.
    #[test]
    fn broken_bytes_do_no_harm(mut raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let pod = builtin().kind("", "v1", "Pod").unwrap();
        let _ = decode_message(pod, &raw);
        let _ = crate::validate::json(pod, &raw, true);
        let _ = crate::validate::yaml_to_json(&raw);
        raw.splice(0..0, *MAGIC);
        let _ = decode_envelope(builtin(), &raw, None);
    }
}
