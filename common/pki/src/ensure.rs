//! Keeps a directory of credentials whole: makes what is missing, renews what runs out or no longer fits.

use crate::kubeconfig::{self, Kubeconfig};
use crate::layout::{CA, ETCD_CA, FRONT_PROXY_CA, Layout};
use crate::verify::{self, Facts};
use crate::{Ca, Error, Issued, Profile, Usage, files, keys};
use jiff::Timestamp;
use std::path::Path;

/// What the credentials are for.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `kubernetes`, mostly: the cluster's name in kubeconfigs.
    pub name: String,
    /// Where clients reach the apiserver: `https://host:port`.
    pub server: String,
    /// Names and addresses of the apiserver beyond the in-cluster ones: host names, the advertised address,
    /// the first address of the service range.
    pub apiserver_names: Vec<String>,
    /// `cluster.local`, mostly.
    pub dns_domain: String,
    /// Nodes that get a kubelet kubeconfig and a kubelet serving certificate here.
    pub nodes: Vec<Node>,
    /// Whether to make etcd's authority and certificates too.
    pub etcd: Option<Vec<String>>,
}

/// A node with a kubelet on this machine.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    /// What the kubelet's serving certificate names: host name and addresses.
    pub addresses: Vec<String>,
}

/// What [`ensure`] did, as file names below the root, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub created: Vec<String>,
    pub renewed: Vec<String>,
    pub kept: usize,
    /// When [`ensure`] has something to renew next.
    pub next: Option<Timestamp>,
}

/// When a certificate is due: at two thirds of its life.
pub fn renewal(facts: &Facts) -> Timestamp {
    let (from, to) = (facts.not_before.as_second(), facts.not_after.as_second());
    Timestamp::from_second(from + (to - from) / 3 * 2).unwrap_or(facts.not_after)
}

/// Whether an existing certificate serves `profile` until it is due.
fn fits(facts: &Facts, profile: &Profile, now: Timestamp) -> bool {
    let mut names = profile.names.clone();
    names.sort();
    names.dedup();
    let usage = match profile.usage {
        Usage::Client => facts.client,
        Usage::Server => facts.server,
        Usage::Both => facts.client && facts.server,
    };
    facts.common_name == profile.common_name
        && facts.organizations.iter().map(String::as_str).eq(profile.organization.as_deref())
        && names.iter().all(|n| facts.names.contains(n))
        && usage
        && now < renewal(facts)
}

struct Run<'a> {
    layout: &'a Layout,
    now: Timestamp,
    report: Report,
}

impl Run<'_> {
    fn note(&mut self, path: &Path, existed: bool) {
        let name = path.strip_prefix(self.layout.root()).unwrap_or(path).display().to_string();
        tracing::info!(file = name, renewed = existed, "wrote credentials");
        if existed { self.report.renewed.push(name) } else { self.report.created.push(name) }
    }

    fn due(&mut self, cert: &str) {
        if let Ok(facts) = verify::facts(cert) {
            let at = renewal(&facts);
            self.report.next = Some(self.report.next.map_or(at, |n| n.min(at)));
        }
    }

    /// Loads or makes an authority. A certificate without its key is an authority kept elsewhere, and an
    /// authority is never replaced: that would cut off every client.
    fn ca(&mut self, (stem, name): (&str, &str)) -> Result<Option<Ca>, Error> {
        let (cert, key) = (self.layout.cert(stem), self.layout.key(stem));
        match (cert.exists(), key.exists()) {
            (true, true) => {
                let ca = Ca::load(&files::read(&cert)?, &files::read(&key)?)?;
                if verify::facts(ca.cert())?.not_after <= self.now {
                    return Err(Error::Refused(format!("{}: the authority has expired", cert.display())));
                }
                self.report.kept += 1;
                Ok(Some(ca))
            }
            (true, false) => Ok(None),
            (false, true) => Err(Error::Refused(format!("{}: key without its certificate", key.display()))),
            (false, false) => {
                let ca = Ca::create(name, self.now, crate::CA_LIFETIME)?;
                files::write_private(&key, &ca.key())?;
                files::write_public(&cert, ca.cert())?;
                self.note(&cert, false);
                Ok(Some(ca))
            }
        }
    }

    /// Whether `issued` is sound, serves the profile and comes from this authority.
    fn good(&self, ca: &Ca, issued: &Issued, profile: &Profile) -> bool {
        let Ok(facts) = verify::facts(&issued.cert) else { return false };
        let own = keys::PrivateKey::from_pem(&issued.key).and_then(|k| k.public());
        let trusted = match (profile.usage, profile.names.first()) {
            (Usage::Client, _) => verify::client(&issued.cert, ca.cert(), self.now),
            (_, Some(name)) => verify::server(&issued.cert, ca.cert(), name, self.now),
            (_, None) => Ok(()),
        };
        fits(&facts, profile, self.now) && trusted.is_ok() && own.is_ok_and(|k| k.spki() == facts.spki)
    }

    fn leaf(&mut self, ca: Option<&Ca>, stem: &str, profile: &Profile) -> Result<(), Error> {
        let (cert, key) = (self.layout.cert(stem), self.layout.key(stem));
        let existed = cert.exists();
        let old = match (files::read(&cert), files::read(&key)) {
            (Ok(cert), Ok(key)) => Some(Issued { cert, key }),
            _ => None,
        };
        let Some(ca) = ca else {
            return match old {
                Some(_) => Ok(()),
                None => {
                    Err(Error::Refused(format!("{}: missing, and no authority to sign it", cert.display())))
                }
            };
        };
        let issued = match old.filter(|old| self.good(ca, old, profile)) {
            Some(kept) => {
                self.report.kept += 1;
                kept
            }
            None => {
                let issued = ca.issue(profile, self.now)?;
                files::write_private(&key, &issued.key)?;
                files::write_public(&cert, &issued.cert)?;
                self.note(&cert, existed);
                issued
            }
        };
        self.due(&issued.cert);
        Ok(())
    }

    fn kubeconfig(
        &mut self,
        ca: Option<&Ca>,
        cluster: &Cluster,
        stem: &str,
        profile: &Profile,
    ) -> Result<(), Error> {
        let path = self.layout.kubeconfig(stem);
        let existed = path.exists();
        let old = files::read(&path).ok().and_then(|text| kubeconfig::parse(&text).ok());
        let Some(ca) = ca else {
            return match old {
                Some(_) => Ok(()),
                None => {
                    Err(Error::Refused(format!("{}: missing, and no authority to sign it", path.display())))
                }
            };
        };
        if let Some(old) = old {
            let issued = Issued { cert: old.cert, key: old.key };
            if old.server == cluster.server && old.ca == ca.cert() && self.good(ca, &issued, profile) {
                self.report.kept += 1;
                self.due(&issued.cert);
                return Ok(());
            }
        }
        let credentials = ca.issue(profile, self.now)?;
        let text = Kubeconfig {
            cluster: &cluster.name,
            server: &cluster.server,
            ca: ca.cert(),
            user: &profile.common_name,
            credentials: &credentials,
        }
        .to_yaml();
        files::write_private(&path, &text)?;
        self.note(&path, existed);
        self.due(&credentials.cert);
        Ok(())
    }

    fn service_account_keys(&mut self) -> Result<(), Error> {
        let (key, public) = (self.layout.sa_key(), self.layout.sa_pub());
        if !key.exists() {
            if public.exists() {
                // Verification keys only: tokens are signed elsewhere.
                return Ok(());
            }
            files::write_private(&key, &keys::PrivateKey::generate()?.to_pem())?;
            self.note(&key, false);
        }
        let half = keys::PrivateKey::from_pem(&files::read(&key)?)?.public()?;
        let known = files::read(&public).ok().and_then(|t| keys::PublicKey::all_from_pem(&t).ok());
        if known.is_some_and(|known| known.contains(&half)) {
            self.report.kept += 1;
            return Ok(());
        }
        let existed = public.exists();
        files::write_public(&public, &half.to_pem())?;
        self.note(&public, existed);
        Ok(())
    }
}

/// Makes what is missing below `layout` and renews what is due; everything else is left as it is, so that
/// calling it again does nothing. Daemons with embedded credentials must be told of `renewed`.
///
/// # Errors
/// Where a file cannot be read or written, an authority has expired, or is missing its key while a leaf
/// needs one.
pub fn ensure(layout: &Layout, cluster: &Cluster, now: Timestamp) -> Result<Report, Error> {
    let mut run = Run { layout, now, report: Report::default() };
    let ca = run.ca(CA)?;
    let mut names: Vec<String> = vec![
        "kubernetes".into(),
        "kubernetes.default".into(),
        "kubernetes.default.svc".into(),
        format!("kubernetes.default.svc.{}", cluster.dns_domain),
    ];
    names.extend(cluster.apiserver_names.iter().cloned());
    run.leaf(ca.as_ref(), "apiserver", &Profile::server("kube-apiserver", names))?;
    let kubelet_client = Profile::client("kube-apiserver-kubelet-client", Some("kubeadm:cluster-admins"));
    run.leaf(ca.as_ref(), "apiserver-kubelet-client", &kubelet_client)?;

    let proxy_ca = run.ca(FRONT_PROXY_CA)?;
    run.leaf(proxy_ca.as_ref(), "front-proxy-client", &Profile::client("front-proxy-client", None))?;
    run.service_account_keys()?;

    if let Some(hosts) = &cluster.etcd {
        let etcd_ca = run.ca(ETCD_CA)?;
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        names.extend(hosts.iter().cloned());
        let member = Profile { usage: Usage::Both, ..Profile::server("etcd", names) };
        run.leaf(etcd_ca.as_ref(), "etcd/server", &member)?;
        run.leaf(etcd_ca.as_ref(), "etcd/peer", &member)?;
        let health = Profile::client("kube-etcd-healthcheck-client", None);
        run.leaf(etcd_ca.as_ref(), "etcd/healthcheck-client", &health)?;
        run.leaf(
            etcd_ca.as_ref(),
            "apiserver-etcd-client",
            &Profile::client("kube-apiserver-etcd-client", None),
        )?;
    }

    let clients = [
        ("admin", "kubernetes-admin", Some("kubeadm:cluster-admins")),
        ("super-admin", "kubernetes-super-admin", Some("system:masters")),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
    ];
    for (stem, user, group) in clients {
        run.kubeconfig(ca.as_ref(), cluster, stem, &Profile::client(user, group))?;
    }
    for (i, node) in cluster.nodes.iter().enumerate() {
        // One node to a machine is the rule and keeps kubeadm's name; further ones carry theirs.
        let stem = if i == 0 { "kubelet".to_owned() } else { format!("kubelet-{}", node.name) };
        let user = format!("system:node:{}", node.name);
        run.kubeconfig(ca.as_ref(), cluster, &stem, &Profile::client(&user, Some("system:nodes")))?;
        let mut names = vec![node.name.clone()];
        names.extend(node.addresses.iter().cloned());
        let serving = Profile { organization: Some("system:nodes".into()), ..Profile::server(user, names) };
        run.leaf(ca.as_ref(), &stem, &serving)?;
    }
    Ok(run.report)
}
