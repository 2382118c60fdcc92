//! The process's own resources: the runtime it starts and the allocator's habits.

/// Builds the multi-thread runtime with `workers` threads (0: two, enough for every daemon's idle and most
/// of their load) and calms the allocator: few arenas, free memory handed back early.
///
/// # Errors
/// Where the threads cannot be started.
pub fn runtime(workers: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tune_allocator();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(if workers == 0 { 2 } else { workers })
        .max_blocking_threads(16)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()
}

/// Limits glibc's malloc to two arenas, trims above 128 KiB and maps large blocks apart, so that a burst's
/// memory goes back to the system. Does nothing on other libcs.
pub fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: mallopt only sets integers inside the allocator and is documented as callable at any time;
        // it runs before the runtime's threads start.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 2);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
            libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        }
    }
}
