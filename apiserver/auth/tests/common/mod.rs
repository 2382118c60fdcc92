use futures::StreamExt;
use futures::stream::BoxStream;
use gantry_types::reader::{ObjectEvent, ObjectReader};
use gantry_types::{GroupResource, Object, Revision};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Objects by resource, namespace and name.
#[derive(Default)]
pub struct Fixed(Mutex<BTreeMap<(String, String, String), Object>>);

impl Fixed {
    pub fn put(&self, resource: &GroupResource, json: &str) {
        let meta = Object::parse_meta(json.as_bytes()).unwrap();
        let key = (resource.to_string(), meta.namespace.to_string(), meta.name.to_string());
        self.0.lock().unwrap().insert(key, Object::new(meta, Revision(1), json.to_owned().into()));
    }

    #[allow(dead_code)] // each test binary uses its part
    pub fn remove(&self, resource: &GroupResource, namespace: &str, name: &str) {
        self.0.lock().unwrap().remove(&(resource.to_string(), namespace.into(), name.into()));
    }
}

impl ObjectReader for Fixed {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object> {
        self.0.lock().unwrap().get(&(resource.to_string(), namespace.into(), name.into())).cloned()
    }

    fn list(&self, resource: &GroupResource, namespace: Option<&str>) -> Vec<Object> {
        let all = self.0.lock().unwrap();
        let wanted = |(r, ns, _): &(String, String, String)| {
            *r == resource.to_string() && namespace.is_none_or(|wanted| wanted == ns)
        };
        all.iter().filter(|(key, _)| wanted(key)).map(|(_, o)| o.clone()).collect()
    }

    fn subscribe(&self, resource: &GroupResource) -> BoxStream<'static, ObjectEvent> {
        let mut events: Vec<_> = self.list(resource, None).into_iter().map(ObjectEvent::Applied).collect();
        events.push(ObjectEvent::Synced);
        // Stays open, as a watch does.
        futures::stream::iter(events).chain(futures::stream::pending()).boxed()
    }
}
