//! The process that holds a pod's namespaces open: reaps orphans when it is process 1, ends on a signal.

fn main() {
    // SAFETY: plain libc calls on this single-threaded process; the handler only calls `_exit`.
    unsafe {
        libc::signal(libc::SIGINT, stop as *const () as libc::sighandler_t);
        libc::signal(libc::SIGTERM, stop as *const () as libc::sighandler_t);
        libc::signal(libc::SIGCHLD, wake as *const () as libc::sighandler_t);
        loop {
            while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
            libc::pause();
        }
    }
}

extern "C" fn stop(_: libc::c_int) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { libc::_exit(0) }
}

extern "C" fn wake(_: libc::c_int) {}
