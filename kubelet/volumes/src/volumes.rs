//! A pod's volumes as directories on this node.

use crate::payload::{self, Files};
use crate::source::{FetchError, Source};
use crate::{atomic, claim, host_path, ownership, subpath};
use gantry_kubelet_core::{fields, pods, quantity};
use gantry_kubelet_host::mount;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A volume that could not be set up; the text is the `FailedMount` event's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum VolumeError {
    #[error("MountVolume.SetUp failed for volume {volume:?} : {why}")]
    SetUp { volume: String, why: String },
    /// What is to be mounted is not there.
    #[error("MountVolume.NewMounter initialization failed for volume {volume:?} : {why}")]
    NewMounter { volume: String, why: String },
    /// It is not known yet what is to be mounted.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: {why}"
    )]
    Unresolved { volume: String, why: String },
}

/// Where a volume is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePath {
    pub path: PathBuf,
    /// Whatever the mount says, containers may not write.
    pub read_only: bool,
}

/// A pod's volumes by name.
#[derive(Clone, Debug, Default)]
pub struct Mounted {
    pub paths: BTreeMap<String, VolumePath>,
    /// When a token among them wants renewal.
    pub refresh_at: Option<Timestamp>,
}

/// All volumes of this node. Cheap to share; calls for one pod must not overlap.
pub struct Volumes {
    root: PathBuf,
    source: Arc<dyn Source>,
    /// What each written volume last showed, to leave unchanged ones alone.
    written: Mutex<HashMap<(String, String), u64>>,
    /// Where the storage behind claims is, by pod and volume: it never moves while the pod is here.
    located: Mutex<HashMap<(String, String), PathBuf>>,
}

const PLUGIN_DIRS: [(&str, bool); 5] = [
    ("kubernetes.io~configmap", false),
    ("kubernetes.io~secret", true),
    ("kubernetes.io~projected", true),
    ("kubernetes.io~downward-api", true),
    ("kubernetes.io~empty-dir", false),
];

impl Volumes {
    /// `root` is the kubelet's `--root-dir`.
    pub fn new(root: PathBuf, source: Arc<dyn Source>) -> Self {
        Self { root, source, written: Mutex::default(), located: Mutex::default() }
    }

    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(plugin).join(name)
    }

    /// Sets up or brings up to date every volume of the pod.
    ///
    /// # Errors
    /// The first that failed; the rest are tried again with it.
    pub async fn mount(
        &self,
        pod: &Pod,
        node: &fields::Node,
        now: Timestamp,
    ) -> Result<Mounted, VolumeError> {
        let mut out = Mounted::default();
        for volume in pods::spec(pod).volumes.iter().flatten() {
            let fail = |why: String| VolumeError::SetUp { volume: volume.name.clone(), why };
            let (path, refresh) = match claim::name(pod, volume) {
                Some((name, read_only)) => (self.claimed(pod, volume, &name, read_only).await?, None),
                None => self.one(pod, volume, node, now).await.map_err(fail)?,
            };
            if let Some(at) = refresh {
                out.refresh_at = Some(out.refresh_at.map_or(at, |r| r.min(at)));
            }
            out.paths.insert(volume.name.clone(), path);
        }
        Ok(out)
    }

    async fn one(
        &self,
        pod: &Pod,
        volume: &Volume,
        node: &fields::Node,
        now: Timestamp,
    ) -> Result<(VolumePath, Option<Timestamp>), String> {
        let text = |e: FetchError| e.to_string();
        if let Some(p) = payload::build(pod, volume, &*self.source, node).await.map_err(text)? {
            let plugin = match volume {
                Volume { config_map: Some(_), .. } => PLUGIN_DIRS[0],
                Volume { secret: Some(_), .. } => PLUGIN_DIRS[1],
                Volume { projected: Some(_), .. } => PLUGIN_DIRS[2],
                _ => PLUGIN_DIRS[3],
            };
            let path = self.show(pod, &volume.name, plugin, p.files, now).await?;
            return Ok((VolumePath { path, read_only: true }, p.refresh_at));
        }
        if let Some(h) = &volume.host_path {
            host_path::check(&h.path, h.type_.as_deref().unwrap_or_default())?;
            return Ok((VolumePath { path: h.path.clone().into(), read_only: false }, None));
        }
        if let Some(e) = &volume.empty_dir {
            let medium = e.medium.as_deref().unwrap_or_default();
            let size = e.size_limit.as_ref().map(quantity::value);
            let path = self.empty(pod, &volume.name, medium, size).await?;
            return Ok((VolumePath { path, read_only: false }, None));
        }
        Err("no volume plugin matched".into())
    }

    /// The storage behind a claim, given to the pod's group.
    async fn claimed(
        &self,
        pod: &Pod,
        volume: &Volume,
        claim: &str,
        read_only: bool,
    ) -> Result<VolumePath, VolumeError> {
        let key = (pods::uid(pod).to_owned(), volume.name.clone());
        let known = self.located.lock().get(&key).cloned();
        let path = match known {
            Some(path) => path,
            None => {
                let path = claim::locate(pod, volume, claim, &*self.source).await?;
                self.located.lock().insert(key, path.clone());
                path
            }
        };
        let fail = |why: String| VolumeError::SetUp { volume: volume.name.clone(), why };
        self.given(path, read_only, fs_group(pod), pod).await.map_err(fail)
    }

    /// Writes a volume that shows API objects.
    async fn show(
        &self,
        pod: &Pod,
        name: &str,
        (plugin, memory): (&'static str, bool),
        files: Files,
        now: Timestamp,
    ) -> Result<PathBuf, String> {
        let uid = pods::uid(pod).to_owned();
        let dir = self.volume_dir(&uid, plugin, name);
        let mut hasher = DefaultHasher::new();
        files.hash(&mut hasher);
        let (key, digest) = ((uid, name.to_owned()), hasher.finish());
        if self.written.lock().get(&key) == Some(&digest) {
            return Ok(dir);
        }
        let group = fs_group(pod);
        let at = dir.clone();
        blocking(move || {
            fs::create_dir_all(&at)?;
            if memory && !mount::is_mount_point(&at)? {
                mount::tmpfs(&at, None)?;
            }
            fs::set_permissions(
                &at,
                fs::Permissions::from_mode(if group.is_some() { 0o2777 } else { 0o777 }),
            )?;
            if let Some(g) = group {
                std::os::unix::fs::lchown(&at, None, Some(g))?;
            }
            atomic::write(&at, &files, now, |fresh| match group {
                Some(g) => ownership::apply(fresh, g, true),
                None => Ok(()),
            })
        })
        .await?;
        self.written.lock().insert(key, digest);
        Ok(dir)
    }

    async fn empty(&self, pod: &Pod, name: &str, medium: &str, size: Option<i64>) -> Result<PathBuf, String> {
        let dir = self.volume_dir(pods::uid(pod), PLUGIN_DIRS[4].0, name);
        let memory = match medium {
            "" => false,
            "Memory" => true,
            other => return Err(format!("unknown storage medium {other:?}")),
        };
        let key = (pods::uid(pod).to_owned(), name.to_owned());
        if self.written.lock().contains_key(&key) {
            return Ok(dir);
        }
        let group = fs_group(pod);
        let at = dir.clone();
        blocking(move || {
            let there = at.is_dir();
            if !there {
                fs::create_dir_all(&at)?;
            }
            if memory && !mount::is_mount_point(&at)? {
                mount::tmpfs(&at, size)?;
            }
            if !there || memory {
                fs::set_permissions(&at, fs::Permissions::from_mode(0o777))?;
            }
            match group {
                Some(g) if !ownership::matches(&at, g, false)? => ownership::apply(&at, g, false),
                _ => Ok(()),
            }
        })
        .await?;
        self.written.lock().insert(key, 0);
        Ok(dir)
    }

    /// A directory that exists already, given to the pod's group.
    async fn given(
        &self,
        path: PathBuf,
        read_only: bool,
        group: Option<u32>,
        pod: &Pod,
    ) -> Result<VolumePath, String> {
        let security = pods::spec(pod).security_context.as_ref();
        let always = security.and_then(|s| s.fs_group_change_policy.as_deref()) != Some("OnRootMismatch");
        let key = (pods::uid(pod).to_owned(), path.to_string_lossy().into_owned());
        let at = path.clone();
        let known = self.written.lock().contains_key(&key);
        if let Some(g) = group.filter(|_| !known && !read_only) {
            blocking(move || {
                if always || !ownership::matches(&at, g, false)? {
                    ownership::apply(&at, g, false)?;
                }
                Ok(())
            })
            .await?;
        }
        self.written.lock().insert(key, 0);
        Ok(VolumePath { path, read_only })
    }

    /// The host path of a sub-path of a mounted volume, bound where container `container` will find it.
    ///
    /// # Errors
    /// Where it cannot be prepared; the reason stays in the log, since it may tell of the host.
    pub async fn sub_path(
        &self,
        pod: &Pod,
        container: &str,
        index: usize,
        volume: &str,
        base: &VolumePath,
        sub: &str,
    ) -> io::Result<PathBuf> {
        let dirs = self.pod_dir(pods::uid(pod)).join("volume-subpaths");
        let target = dirs.join(volume).join(container).join(index.to_string());
        let (from, sub, at) = (base.path.clone(), sub.to_owned(), target.clone());
        tokio::task::spawn_blocking(move || subpath::bind(&from, &sub, &at))
            .await
            .map_err(io::Error::other)??;
        Ok(target)
    }

    /// Undoes a container's sub-path mounts, before it is started again.
    ///
    /// # Errors
    /// The first that failed.
    pub fn release_sub_paths(&self, uid: &str) -> io::Result<()> {
        let dir = self.pod_dir(uid).join("volume-subpaths");
        if dir.exists() { mount::remove_tree(&dir) } else { Ok(()) }
    }

    /// Takes down everything of a pod, its directory included. Host paths are left as they are.
    ///
    /// # Errors
    /// Where something stays mounted.
    pub async fn teardown(&self, uid: &str) -> Result<(), String> {
        let dir = self.pod_dir(uid);
        blocking(move || if dir.exists() { mount::remove_tree(&dir) } else { Ok(()) }).await?;
        self.written.lock().retain(|(u, _), _| u != uid);
        self.located.lock().retain(|(u, _), _| u != uid);
        Ok(())
    }

    /// UIDs that have a directory here but are not in `active`.
    pub fn orphans(&self, active: &HashSet<String>) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("pods"));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|uid| !active.contains(uid))
            .collect()
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pods::spec(pod).security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}
