//! An object being worked on: a JSON tree with typed access to the metadata every kind has.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// A decoded object on its way through the write pipeline. Always a JSON object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document(Map<String, Value>);

impl Document {
    pub fn new(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// # Errors
    /// Where the bytes are not one JSON object.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes).map(Self)
    }

    /// Serializes any typed object. Fields that are absent in the type are absent here.
    ///
    /// # Errors
    /// Where the type does not serialize to a JSON object.
    pub fn from_typed<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        match serde_json::to_value(value)? {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(serde::ser::Error::custom("not a JSON object")),
        }
    }

    /// # Errors
    /// Where the tree does not fit the type.
    pub fn to_typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        // Deserializing from a borrowed tree copies only what the type keeps.
        T::deserialize(&self.0)
    }

    pub fn to_json(&self) -> Vec<u8> {
        // A tree of JSON values always serializes.
        crate::json::to_vec(&self.0).unwrap_or_default()
    }

    pub fn map(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn map_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    fn node(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |v, key| v.get(key))
    }

    /// A string below `path`, `None` where absent or of another type.
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.node(path)?.as_str()
    }

    pub fn has(&self, path: &[&str]) -> bool {
        self.node(path).is_some_and(|v| !v.is_null())
    }

    /// A typed copy of what is below `path`; `None` where absent or ill-typed.
    pub fn get_at<T: DeserializeOwned>(&self, path: &[&str]) -> Option<T> {
        T::deserialize(self.node(path)?).ok()
    }

    /// A typed view of what is below `path`, borrowing its strings; `None` where absent or ill-typed.
    pub fn view_at<'a, T: serde::Deserialize<'a>>(&'a self, path: &[&str]) -> Option<T> {
        T::deserialize(self.node(path)?).ok()
    }

    /// Sets what is below `path`, making objects on the way where there are none.
    pub fn set_at<T: Serialize>(&mut self, path: &[&str], value: T) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut at = &mut self.0;
        for key in parents {
            let next = at.entry((*key).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !next.is_object() {
                *next = Value::Object(Map::new());
            }
            match next {
                Value::Object(map) => at = map,
                _ => return,
            }
        }
        // Types without a JSON form (maps with non-string keys) are refused by leaving the field out.
        match serde_json::to_value(value) {
            Ok(v) => at.insert((*last).to_owned(), v),
            Err(_) => at.remove(*last),
        };
    }

    /// Removes what is below `path`; whether anything was there.
    pub fn remove_at(&mut self, path: &[&str]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let mut at = &mut self.0;
        for key in parents {
            match at.get_mut(*key) {
                Some(Value::Object(map)) => at = map,
                _ => return false,
            }
        }
        at.remove(*last).is_some()
    }

    pub fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"]).unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.str_at(&["kind"]).unwrap_or_default()
    }

    pub fn set_type(&mut self, api_version: &str, kind: &str) {
        self.0.insert("apiVersion".into(), api_version.into());
        self.0.insert("kind".into(), kind.into());
    }

    /// A string field of the metadata, empty where absent.
    pub fn meta_str(&self, field: &str) -> &str {
        self.str_at(&["metadata", field]).unwrap_or_default()
    }

    /// Sets a string field of the metadata, or removes it when empty.
    pub fn set_meta_str(&mut self, field: &str, value: &str) {
        if value.is_empty() {
            self.remove_at(&["metadata", field]);
        } else {
            self.set_at(&["metadata", field], value);
        }
    }

    pub fn name(&self) -> &str {
        self.meta_str("name")
    }

    pub fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }

    pub fn uid(&self) -> &str {
        self.meta_str("uid")
    }

    pub fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }

    pub fn generation(&self) -> i64 {
        self.get_at(&["metadata", "generation"]).unwrap_or_default()
    }

    pub fn deleting(&self) -> bool {
        self.has(&["metadata", "deletionTimestamp"])
    }

    pub fn finalizers(&self) -> Vec<String> {
        self.get_at(&["metadata", "finalizers"]).unwrap_or_default()
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.str_at(&["metadata", "labels", key])
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.str_at(&["metadata", "annotations", key])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_and_write() {
        let mut d = Document::default();
        d.set_at(&["metadata", "name"], "a");
        d.set_at(&["spec", "replicas"], 3);
        assert_eq!((d.name(), d.get_at::<i32>(&["spec", "replicas"])), ("a", Some(3)));
        assert!(d.remove_at(&["spec", "replicas"]) && !d.has(&["spec", "replicas"]));
    }
}
