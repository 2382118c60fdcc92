//! Cluster addresses and node ports of services.
//!
//! Owns: which addresses and ports are taken. An address is taken by its `IPAddress` object; what is in memory
//! ([`Allocators::seen`], [`Allocators::gone`], and what writes in flight hold) only spares the store
//! attempts that would fail. Node ports are known from the services themselves, at start
//! ([`Allocators::rebuild`]). A write takes what it needs under one lock and holds it in a [`Reservation`]:
//! dropped, everything taken is given back; committed, everything the old object no longer needs is given
//! back. The ranges are those of the ServiceCIDRs ([`Allocators::set_ranges`]), the families the cluster's.
//!
//! Refuses: IO and waiting; the pipeline makes and removes the `IPAddress` objects.

mod families;
mod ip_range;
mod port_range;

pub use ip_range::{IpRange, IpRangeError};
pub use port_range::{PortRange, PortRangeError};

use crate::kinds::prelude::{Error, Path, flag, list, text};
use crate::kinds::validate::ip::parse_sloppy;
use crate::kinds::validate::service::{needs_health_check, spec_of};
use gantry_types::k8s_openapi::api::core::v1::{Service, ServiceSpec};
use gantry_types::reader::ObjectReader;
use gantry_types::{GroupKind, GroupResource, Status, StatusResult};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// What is taken. One lock: allocation is a few lookups in sets.
struct State {
    /// The cluster's families, the primary first.
    families: Vec<&'static str>,
    ranges: Vec<IpRange>,
    /// Addresses that have an object.
    objects: BTreeSet<IpAddr>,
    /// Addresses taken here whose objects have not been seen yet.
    held: BTreeSet<IpAddr>,
    ports: PortRange,
}

/// An address a write has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub ip: IpAddr,
    /// Chosen here, so that another would do as well.
    pub chosen: bool,
}

/// The allocators of one apiserver. Cheap to clone.
#[derive(Clone)]
pub struct Allocators {
    state: Arc<Mutex<State>>,
}

/// What a write has taken, and what its success will free.
#[must_use = "dropping a reservation gives back what it took"]
pub struct Reservation {
    state: Arc<Mutex<State>>,
    taken_ips: Vec<Taken>,
    taken_ports: Vec<u16>,
    release_ips: Vec<IpAddr>,
    release_ports: Vec<u16>,
    dry_run: bool,
}

impl Reservation {
    fn new(state: &Arc<Mutex<State>>, dry_run: bool) -> Self {
        let state = state.clone();
        let (taken_ips, taken_ports) = (Vec::new(), Vec::new());
        Self { state, taken_ips, taken_ports, release_ips: Vec::new(), release_ports: Vec::new(), dry_run }
    }

    /// The addresses taken, for which objects are to be made. None of a dry run.
    pub fn taken(&self) -> &[Taken] {
        &self.taken_ips
    }

    /// The addresses that success frees. None of a dry run.
    pub fn released(&self) -> &[IpAddr] {
        if self.dry_run { &[] } else { &self.release_ips }
    }

    /// The object was written.
    pub fn commit(mut self) {
        if !self.dry_run {
            let mut state = self.state.lock();
            state.release(&self.release_ips, &self.release_ports);
        }
        self.taken_ips.clear();
        self.taken_ports.clear();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !(self.dry_run || self.taken_ips.is_empty() && self.taken_ports.is_empty()) {
            let ips: Vec<IpAddr> = self.taken_ips.iter().map(|t| t.ip).collect();
            let mut state = self.state.lock();
            ips.iter().for_each(|ip| _ = state.held.remove(ip));
            state.release(&[], &self.taken_ports);
        }
    }
}

impl State {
    fn release(&mut self, ips: &[IpAddr], ports: &[u16]) {
        for ip in ips {
            self.held.remove(ip);
            self.objects.remove(ip);
        }
        for port in ports {
            self.ports.release(*port);
        }
    }

    fn is_taken(&self, ip: IpAddr) -> bool {
        self.objects.contains(&ip) || self.held.contains(&ip)
    }

    fn check(&self, ip: IpAddr) -> Result<(), IpRangeError> {
        if !self.ranges.iter().any(|r| r.contains(ip)) {
            return Err(IpRangeError::OutOfRange);
        }
        if self.is_taken(ip) { Err(IpRangeError::Allocated) } else { Ok(()) }
    }

    fn choose(&self, family: &str) -> Option<IpAddr> {
        let taken = |ip| self.is_taken(ip);
        let mut fitting = self.ranges.iter().filter(|r| r.family() == family);
        fitting.find_map(|range| range.free(&taken, &mut rand::rng()))
    }
}

fn invalid(service: &Service, errors: Vec<Error>) -> Status {
    let kind = GroupKind { group: "".into(), kind: "Service".into() };
    Status::invalid(&kind, text(&service.metadata.name), errors)
}

/// The cluster addresses of a service.
pub fn addresses_of(service: &Service) -> Vec<IpAddr> {
    own_ips(&spec_of(service))
}

fn own_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    list(&spec.cluster_ips).iter().filter_map(|ip| parse_sloppy(ip)).collect()
}

fn node_ports(spec: &ServiceSpec) -> Vec<u16> {
    let ports = list(&spec.ports).iter().filter_map(|p| p.node_port).filter(|n| *n != 0);
    ports.filter_map(|n| u16::try_from(n).ok()).collect()
}

fn health_port(spec: &ServiceSpec) -> Option<u16> {
    let port = spec.health_check_node_port.filter(|n| *n > 0 && needs_health_check(spec))?;
    u16::try_from(port).ok()
}

fn ported(spec: &ServiceSpec) -> bool {
    matches!(text(&spec.type_), "NodePort" | "LoadBalancer")
}

fn allocates_ports(spec: &ServiceSpec) -> bool {
    match text(&spec.type_) {
        "NodePort" => true,
        "LoadBalancer" => flag(spec.allocate_load_balancer_node_ports),
        _ => false,
    }
}

impl Allocators {
    /// `ranges` are the cluster's own service CIDRs, the primary family first; `ports` the node port range.
    pub fn new(ranges: Vec<IpRange>, ports: PortRange) -> Self {
        let families = ranges.iter().map(IpRange::family).collect();
        let (objects, held) = (BTreeSet::new(), BTreeSet::new());
        Self { state: Arc::new(Mutex::new(State { families, ranges, objects, held, ports })) }
    }

    /// The ranges addresses are taken from now on.
    pub fn set_ranges(&self, ranges: Vec<IpRange>) {
        self.state.lock().ranges = ranges;
    }

    /// An address has an object.
    pub fn seen(&self, ip: IpAddr) {
        let mut state = self.state.lock();
        state.objects.insert(ip);
        state.held.remove(&ip);
    }

    /// An address has its object no more.
    pub fn gone(&self, ip: IpAddr) {
        self.state.lock().objects.remove(&ip);
    }

    /// No address has an object; those that have one follow.
    pub fn reset(&self) {
        self.state.lock().objects.clear();
    }

    /// Takes what the services that exist hold.
    pub fn rebuild(&self, reader: &dyn ObjectReader) {
        for object in reader.list(&GroupResource::new("", "services"), None) {
            if let Ok(service) = object.typed::<Service>() {
                self.observe(&service);
            }
        }
    }

    /// Takes what a service holds that this process did not allocate for.
    pub fn observe(&self, service: &Service) {
        let spec = spec_of(service);
        let mut state = self.state.lock();
        for ip in own_ips(&spec) {
            if !state.objects.contains(&ip) {
                state.held.insert(ip);
            }
        }
        for port in node_ports(&spec).into_iter().chain(health_port(&spec)) {
            state.ports.mark(port);
        }
    }

    /// Gives back what a deleted service held. The pipeline calls it once the deletion is stored.
    pub fn on_delete(&self, service: &Service) {
        let spec = spec_of(service);
        let ports: Vec<u16> = node_ports(&spec).into_iter().chain(health_port(&spec)).collect();
        self.state.lock().release(&own_ips(&spec), &ports);
    }

    /// Fills in families, addresses and ports of a new service: after mutating admission, before validation.
    ///
    /// # Errors
    /// `Invalid` where a wanted address or port is taken or out of range, an internal error where a range
    /// is full.
    pub fn on_create(&self, service: &mut Service, dry_run: bool) -> StatusResult<Reservation> {
        families::normalize(service, None);
        let mut reservation = Reservation::new(&self.state, dry_run);
        let mut state = self.state.lock();
        families::init(service, None, &state.families)?;
        let allocated = (|| {
            allocate_all(&mut state, &mut reservation, service)?;
            if ported(&spec_of(service)) {
                new_ports(&mut state, &mut reservation, service)?;
            }
            health_check(&mut state, &mut reservation, service)
        })();
        drop(state);
        allocated.map(|()| reservation)
    }

    /// Carries over what the new object left out, takes what it adds, and will free what it drops.
    ///
    /// # Errors
    /// As [`Allocators::on_create`].
    pub fn on_update(
        &self,
        service: &mut Service,
        old: &Service,
        dry_run: bool,
    ) -> StatusResult<Reservation> {
        families::carry_over(service, old);
        families::normalize(service, Some(old));
        let mut reservation = Reservation::new(&self.state, dry_run);
        let mut state = self.state.lock();
        let settled = families::settled(service, old);
        if !settled {
            families::init(service, Some(old), &state.families)?;
        }
        let allocated = (|| {
            if !settled {
                update_ips(&mut state, &mut reservation, service, old)?;
            }
            update_ports(&mut state, &mut reservation, service, old)
        })();
        drop(state);
        allocated.map(|()| reservation)
    }
}

/// Takes an address of a family, the wanted one where there is one.
fn take_ip(
    state: &mut State,
    reservation: &mut Reservation,
    service: &Service,
    family: &str,
    wanted: &str,
) -> StatusResult<String> {
    let dry_run = reservation.dry_run;
    let at = Path::new("spec").child("clusterIPs");
    let ips = spec_of(service).cluster_ips.unwrap_or_default();
    if !state.families.contains(&family) {
        return Err(Status::internal(format!("no service range of family {family}")));
    }
    if wanted.is_empty() {
        if dry_run {
            let first = state.ranges.iter().find(|r| r.family() == family);
            return Ok(first.map(|r| r.network().to_string()).unwrap_or_default());
        }
        let Some(ip) = state.choose(family) else {
            let name = text(&service.metadata.name);
            let why = format!("failed to allocate a serviceIP for Service \"{name}\": range is full");
            return Err(Status::internal(why));
        };
        state.held.insert(ip);
        reservation.taken_ips.push(Taken { ip, chosen: true });
        return Ok(ip.to_string());
    }
    let Some(ip) = parse_sloppy(wanted) else {
        return Err(Status::internal(format!("failed to parse service IP \"{wanted}\"")));
    };
    state.check(ip).map_err(|e| {
        let why = format!("failed to allocate IP {wanted}: {e}");
        invalid(service, vec![Error::invalid(&at, &ips, why)])
    })?;
    if !dry_run {
        state.held.insert(ip);
        reservation.taken_ips.push(Taken { ip, chosen: false });
    }
    Ok(wanted.to_owned())
}

/// An address for each family of the service.
fn allocate_all(state: &mut State, reservation: &mut Reservation, service: &mut Service) -> StatusResult<()> {
    let spec = spec_of(service);
    let none = list(&spec.cluster_ips).first().is_some_and(|ip| ip == "None");
    if text(&spec.type_) == "ExternalName" || none {
        return Ok(());
    }
    let mut ips = list(&spec.cluster_ips).to_vec();
    let families = list(&spec.ip_families).to_vec();
    ips.resize(ips.len().max(families.len()), String::new());
    // The complaint about one address shows the list with the places still to be filled.
    service.spec.get_or_insert_default().cluster_ips = Some(ips.clone());
    for (i, family) in families.iter().enumerate() {
        ips[i] = take_ip(state, reservation, service, family, &ips[i])?;
    }
    let spec = service.spec.get_or_insert_default();
    spec.cluster_ip = ips.first().cloned();
    spec.cluster_ips = Some(ips);
    Ok(())
}

fn update_ips(
    state: &mut State,
    reservation: &mut Reservation,
    service: &mut Service,
    old: &Service,
) -> StatusResult<()> {
    let (spec, had) = (spec_of(service), spec_of(old));
    let external = |s: &ServiceSpec| text(&s.type_) == "ExternalName";
    if external(&had) && !external(&spec) {
        return allocate_all(state, reservation, service);
    }
    if list(&had.cluster_ips).first().is_some_and(|ip| ip == "None") {
        return Ok(());
    }
    let old_ips = own_ips(&had);
    if !external(&had) && external(&spec) {
        reservation.release_ips = old_ips;
        return Ok(());
    }
    match (list(&had.ip_families).len(), list(&spec.ip_families).len()) {
        (1, 2) => {
            let family = list(&spec.ip_families)[1].clone();
            let mut ips = list(&spec.cluster_ips).to_vec();
            ips.resize(ips.len().max(2), String::new());
            service.spec.get_or_insert_default().cluster_ips = Some(ips.clone());
            ips[1] = take_ip(state, reservation, service, &family, &ips[1])?;
            service.spec.get_or_insert_default().cluster_ips = Some(ips);
        }
        (2, 1) => reservation.release_ips = old_ips.into_iter().skip(1).collect(),
        _ => {}
    }
    Ok(())
}

fn take_port(state: &mut State, reservation: &mut Reservation, port: u16) -> Result<(), PortRangeError> {
    if reservation.dry_run {
        // Upstream's dry runs look for doubles only, within the object and without.
        if reservation.taken_ports.contains(&port) || state.ports.is_taken(port) {
            return Err(PortRangeError::Allocated);
        }
    } else {
        state.ports.take(port)?;
    }
    reservation.taken_ports.push(port);
    Ok(())
}

fn next_port(state: &mut State, reservation: &mut Reservation) -> Option<u16> {
    let port = state.ports.take_next(&mut rand::rng())?;
    if reservation.dry_run {
        state.ports.release(port);
    }
    reservation.taken_ports.push(port);
    Some(port)
}

fn port_error(service: &Service, index: usize, port: i32, why: PortRangeError) -> Status {
    let at = Path::new("spec").child("ports").index(index).child("nodePort");
    invalid(service, vec![Error::invalid(&at, &port, why.to_string())])
}

fn full() -> Status {
    Status::internal("failed to allocate a nodePort: range is full")
}

/// Node ports of a new service. Entries with one port number and two protocols share a node port.
fn new_ports(state: &mut State, reservation: &mut Reservation, service: &mut Service) -> StatusResult<()> {
    let allocates = allocates_ports(&spec_of(service));
    let mut ports = spec_of(service).ports.unwrap_or_default();
    let mut given: Vec<(i32, i32)> = Vec::new();
    for i in 0..ports.len() {
        let (port, own) = (ports[i].port, ports[i].node_port.unwrap_or(0));
        if own == 0 && !allocates {
            continue;
        }
        let shared = given.iter().find(|(p, _)| *p == port).map(|(_, n)| *n);
        match shared {
            None => {
                let mut requested = ports.iter().filter(|p| p.port == port).filter_map(|p| p.node_port);
                let number = match requested.find(|n| *n != 0) {
                    Some(n) => {
                        let taken = u16::try_from(n).map_err(|_| state.ports.out_of_range());
                        taken
                            .and_then(|n| take_port(state, reservation, n))
                            .map_err(|e| port_error(service, i, n, e))?;
                        n
                    }
                    None => i32::from(next_port(state, reservation).ok_or_else(full)?),
                };
                ports[i].node_port = Some(number);
                given.push((port, number));
            }
            Some(number) if own == 0 => ports[i].node_port = Some(number),
            Some(number) if own != number => {
                let taken = u16::try_from(own).map_err(|_| state.ports.out_of_range());
                taken
                    .and_then(|n| take_port(state, reservation, n))
                    .map_err(|e| port_error(service, i, own, e))?;
            }
            Some(_) => {}
        }
    }
    service.spec.get_or_insert_default().ports = Some(ports);
    Ok(())
}

fn health_check(state: &mut State, reservation: &mut Reservation, service: &mut Service) -> StatusResult<()> {
    let spec = spec_of(service);
    if !needs_health_check(&spec) {
        return Ok(());
    }
    match spec.health_check_node_port.filter(|n| *n != 0) {
        Some(n) => {
            let taken = u16::try_from(n).map_err(|_| state.ports.out_of_range());
            taken.and_then(|n| take_port(state, reservation, n)).map_err(|e| {
                Status::internal(format!("failed to allocate requested HealthCheck NodePort {n}: {e}"))
            })
        }
        None => {
            let port = next_port(state, reservation).ok_or_else(|| {
                Status::internal("failed to allocate a HealthCheck NodePort 0: range is full")
            })?;
            service.spec.get_or_insert_default().health_check_node_port = Some(i32::from(port));
            Ok(())
        }
    }
}

fn update_ports(
    state: &mut State,
    reservation: &mut Reservation,
    service: &mut Service,
    old: &Service,
) -> StatusResult<()> {
    let (spec, had) = (spec_of(service), spec_of(old));
    let old_ports = node_ports(&had);
    if ported(&had) && !ported(&spec) {
        reservation.release_ports.extend(&old_ports);
    }
    if ported(&spec) {
        let allocates = allocates_ports(&spec);
        let mut ports = spec.ports.clone().unwrap_or_default();
        let mut fresh: BTreeSet<u16> = BTreeSet::new();
        for (i, entry) in ports.iter_mut().enumerate() {
            let own = entry.node_port.unwrap_or(0);
            if own == 0 {
                if allocates {
                    let port = next_port(state, reservation).ok_or_else(full)?;
                    fresh.insert(port);
                    entry.node_port = Some(i32::from(port));
                }
                continue;
            }
            let number = u16::try_from(own).map_err(|_| state.ports.out_of_range());
            let number = number.map_err(|e| port_error(service, i, own, e))?;
            if !old_ports.contains(&number) && fresh.insert(number) {
                take_port(state, reservation, number).map_err(|e| port_error(service, i, own, e))?;
            }
        }
        service.spec.get_or_insert_default().ports = Some(ports);
        let kept = node_ports(&spec_of(service));
        reservation.release_ports.extend(old_ports.iter().filter(|p| !kept.contains(p)));
    }
    match (needs_health_check(&had), needs_health_check(&spec)) {
        (false, true) => health_check(state, reservation, service)?,
        (true, false) => reservation.release_ports.extend(health_port(&had)),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
