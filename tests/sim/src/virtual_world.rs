//! Chance and time as the whole process under test sees them, decided by a seed.
//!
//! The controllers, the scheduler, the registry and what they are built on ask the operating system for three
//! things that differ from run to run: random bytes (hash tables, names, uids, jitter), the time, and to be
//! woken later. This module defines those C functions for the program it is linked into. On a thread that
//! simulates they answer from the seed and from a clock that only moves when everybody waits: the runtime's
//! wish to sleep is granted at once, by moving the clock. On any other thread they are the system's own.
//!
//! So code under test needs no seam for time or chance, and one seed is one run.

use libc::{c_int, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static CHANCE: Cell<u64> = const { Cell::new(0) };
    static NANOS: Cell<u64> = const { Cell::new(0) };
    static STUCK: Cell<bool> = const { Cell::new(false) };
}

/// When every simulation begins: a second of 2026.
const EPOCH: u64 = 1_767_225_600;
/// What a monotonic clock shows then.
const UPTIME: u64 = 1_000_000;

/// One step of splitmix64.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Runs `work` on a thread of its own whose chance comes from `seed` and whose clock begins anew.
///
/// # Panics
/// Where `work` does, and where the functions of this module are not the ones the program calls.
pub fn run<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(format!("seed-{seed}")).stack_size(8 << 20);
        let inside = move || {
            enter(seed);
            let outcome = work();
            ON.set(false);
            outcome
        };
        let spawned = thread.spawn_scoped(scope, inside);
        let joined = spawned.expect("a thread can be started").join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn enter(seed: u64) {
    CHANCE.set(seed ^ 0x5eed_5eed_5eed_5eed);
    NANOS.set(0);
    STUCK.set(false);
    ON.set(true);
    let shown = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    assert_eq!(shown, EPOCH, "the clock is not ours");
    // The address keeps all three in the program.
    let ours: [*const (); 3] = [getrandom as *const (), clock_gettime as *const (), epoll_wait as *const ()];
    std::hint::black_box(ours);
}

/// Since the simulation began.
pub fn elapsed() -> Duration {
    Duration::from_nanos(NANOS.get())
}

/// Whether everybody waited with nothing to wait for.
pub fn stuck() -> bool {
    STUCK.get()
}

/// A moment of the real world, for measuring simulations from outside; on a simulating thread the virtual one.
pub fn stopwatch() -> Instant {
    Instant::now()
}

fn moment(base: u64) -> timespec {
    let nanos = NANOS.get();
    let seconds = base + nanos / 1_000_000_000;
    timespec {
        tv_sec: libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX),
        // Below a second's nanoseconds: fits.
        tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
    }
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    if !ON.get() {
        // SAFETY: the caller's promises are passed on.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as ssize_t;
    }
    let mut state = CHANCE.get();
    let mut filled = 0;
    while filled < length {
        let bytes = next(&mut state).to_ne_bytes();
        let count = bytes.len().min(length - filled);
        // SAFETY: the caller promises `length` writable bytes; `filled + count` stays within.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>().add(filled), count) };
        filled += count;
    }
    CHANCE.set(state);
    ssize_t::try_from(length).unwrap_or(ssize_t::MAX)
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, into: *mut timespec) -> c_int {
    let base = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE if ON.get() => EPOCH,
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME if ON.get() => UPTIME,
        // SAFETY: the caller's promises are passed on.
        _ => return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, into) } as c_int,
    };
    // SAFETY: the caller promises a writable timespec.
    unsafe { into.write(moment(base)) };
    0
}

/// # Safety
/// As the C function.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(poll: c_int, events: *mut c_void, most: c_int, timeout: c_int) -> c_int {
    let none = std::ptr::null::<c_void>();
    let wait = if ON.get() { 0 } else { timeout };
    // SAFETY: the caller's promises are passed on; no signal mask is given.
    let found =
        unsafe { libc::syscall(libc::SYS_epoll_pwait, poll, events, most, wait, none, 0_usize) } as c_int;
    if ON.get() && found == 0 {
        match u64::try_from(timeout) {
            Ok(millis) => NANOS.set(NANOS.get() + millis * 1_000_000),
            // For ever: nobody will come. The runner's own timer keeps this from happening.
            Err(_) => STUCK.set(true),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn sample(seed: u64) -> (Vec<u32>, u64, u64, Duration) {
        run(seed, || {
            let map: HashMap<u32, ()> = (0..20).map(|i| (i, ())).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await });
            let jitter = names(&mut rand_like());
            (map.into_keys().collect(), jitter, next(&mut 7), elapsed())
        })
    }

    fn rand_like() -> [u8; 8] {
        let mut bytes = [0; 8];
        // SAFETY: eight writable bytes.
        unsafe { getrandom(bytes.as_mut_ptr().cast(), 8, 0) };
        bytes
    }

    fn names(bytes: &mut [u8; 8]) -> u64 {
        u64::from_ne_bytes(*bytes)
    }

    #[test]
    fn a_seed_decides_hash_tables_and_time_passes_at_once() {
        let real = Instant::now();
        assert_eq!(sample(1), sample(1));
        assert_ne!(sample(1).0, sample(2).0);
        assert!(sample(3).3 >= Duration::from_secs(3600));
        assert!(real.elapsed() < Duration::from_secs(60));
    }
}
