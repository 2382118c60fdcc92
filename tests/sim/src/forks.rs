//! A process for every seed, each begun from the same state of one parent.
//!
//! What a process has done before shows in the next run: tables made once, metrics known already, and with them
//! the order of hash tables. So the parent runs one seed to have everything made, and every seed is then run by
//! a child that inherits exactly that.

use crate::mutations::Mutation;
use crate::simulation::simulate;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::panic::AssertUnwindSafe;
use std::process::Command;
use std::time::Duration;

/// What a child tells of its run.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub seed: u64,
    pub writes: usize,
    /// Virtual time.
    pub took: Duration,
    pub fingerprint: u64,
    /// The invariant that was violated; empty where none was.
    pub invariant: String,
    /// The outcome in words, with what came before a violation.
    pub text: String,
}

impl Told {
    pub fn sound(&self) -> bool {
        self.invariant.is_empty()
    }

    fn parse(seed: u64, told: &str) -> Self {
        let (head, text) = told.split_once('\n').unwrap_or_default();
        let parts: Vec<&str> = head.split('\t').collect();
        match parts[..] {
            [writes, millis, fingerprint, invariant] => Self {
                seed,
                writes: writes.parse().unwrap_or(0),
                took: Duration::from_millis(millis.parse().unwrap_or(0)),
                fingerprint: fingerprint.parse().unwrap_or(0),
                invariant: invariant.to_owned(),
                text: text.to_owned(),
            },
            _ => Self { seed, invariant: "does_not_crash".into(), text: told.to_owned(), ..Self::default() },
        }
    }
}

struct Child {
    seed: u64,
    pid: libc::pid_t,
    told: File,
}

/// Begins this program anew where the system has put it at chosen-at-random addresses: some hash tables take
/// their order from those. Where that is not allowed, one seed may be several runs.
///
/// # Errors
/// Where the program cannot be begun anew.
pub fn at_fixed_addresses() -> std::io::Result<()> {
    // SAFETY: asks for a property of this process.
    let now = unsafe { libc::personality(0xffff_ffff) };
    let Ok(wanted) = libc::c_ulong::try_from(now | libc::ADDR_NO_RANDOMIZE) else { return Ok(()) };
    // SAFETY: sets a property of this process that counts for programs begun from now on.
    if now & libc::ADDR_NO_RANDOMIZE != 0 || unsafe { libc::personality(wanted) } == -1 {
        return Ok(());
    }
    Err(Command::new(std::env::current_exe()?).args(std::env::args_os().skip(1)).exec())
}

/// Makes everything that is made once.
pub fn warm_up() {
    simulate(0, None);
}

/// Begins a run in a process of its own. Only for a process of one thread.
fn begin(seed: u64, mutation: Option<Mutation>) -> std::io::Result<Child> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written to an array of two.
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptors are new and owned by nobody else.
    let (told, mut telling) = unsafe { (File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])) };
    // SAFETY: no other thread runs in this process, so that the child finds no lock held.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let run = std::panic::catch_unwind(AssertUnwindSafe(|| simulate(seed, mutation)));
            let text = match run {
                Ok(o) => {
                    let invariant = o.violation.as_ref().map_or("", |v| v.invariant);
                    let (writes, millis, print) = (o.writes, o.took.as_millis(), o.fingerprint);
                    format!("{writes}\t{millis}\t{print}\t{invariant}\n{o}")
                }
                Err(_) => format!("seed {seed} panicked"),
            };
            // A parent that has gone asks for nothing.
            let _ = telling.write_all(text.as_bytes());
            // SAFETY: ends this process at once, as is right after a fork.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Child { seed, pid, told }),
    }
}

fn finish(mut child: Child) -> Told {
    let mut told = String::new();
    // What cannot be read was not told.
    let _ = child.told.read_to_string(&mut told);
    // SAFETY: waits for a child of ours; its status is not asked for.
    unsafe { libc::waitpid(child.pid, std::ptr::null_mut(), 0) };
    Told::parse(child.seed, &told)
}

/// Runs seeds, `jobs` at a time, and hands their outcomes to `take` in order, until that says false.
///
/// # Errors
/// Where no process can be made.
pub fn each(
    seeds: impl IntoIterator<Item = u64>,
    jobs: usize,
    mutation: Option<Mutation>,
    mut take: impl FnMut(Told) -> bool,
) -> std::io::Result<()> {
    let (mut running, mut seeds, mut on) = (VecDeque::new(), seeds.into_iter(), true);
    loop {
        while on && running.len() < jobs.max(1) {
            let Some(seed) = seeds.next() else { break };
            running.push_back(begin(seed, mutation)?);
        }
        let Some(child) = running.pop_front() else { return Ok(()) };
        let told = finish(child);
        on = on && take(told);
    }
}

/// The first of these seeds in which a planted bug breaks the invariant that is to notice it.
///
/// # Errors
/// As [`each`].
pub fn first_finding(
    mutation: Mutation,
    seeds: impl IntoIterator<Item = u64>,
    jobs: usize,
) -> std::io::Result<Option<Told>> {
    let mut found = None;
    each(seeds, jobs, Some(mutation), |told| {
        let noticed = told.invariant == mutation.broken();
        if noticed {
            found.get_or_insert(told);
        }
        !noticed
    })?;
    Ok(found)
}
