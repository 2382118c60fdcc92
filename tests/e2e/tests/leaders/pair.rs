//! Two daemons of a kind, of which one leads; and killing the one that does.

use crate::{LEASE, RENEW, RETRY};
use gantry_e2e::control_plane::{ControlPlane, Daemon};
use std::time::{Duration, Instant};

/// How long anything a pair does may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many new doings show that work is under way.
const DOINGS: usize = 3;

pub struct Pair<'a> {
    plane: &'a ControlPlane,
    name: &'static str,
    daemons: [Daemon; 2],
    /// Leaders that gave up by themselves: the machine was too slow for their leases.
    pub lost: usize,
}

fn start(plane: &ControlPlane, name: &str) -> Daemon {
    let times = [("lease-duration", LEASE), ("renew-deadline", RENEW), ("retry-period", RETRY)];
    let times = times.map(|(flag, time)| format!("--leader-elect-{flag}={}ms", time.as_millis()));
    plane.daemon(name, &times)
}

impl<'a> Pair<'a> {
    pub fn start(plane: &'a ControlPlane, name: &'static str) -> Self {
        Self { plane, name, daemons: [start(plane, name), start(plane, name)], lost: 0 }
    }

    /// Starts those again that ended by themselves.
    fn mend(&mut self) {
        for daemon in &mut self.daemons {
            if daemon.ended() {
                assert!(
                    daemon.said("leader lease") || daemon.said("leaderelection lost"),
                    "{}",
                    daemon.log()
                );
                self.lost += 1;
                *daemon = start(self.plane, self.name);
            }
        }
    }

    /// Which one leads, once one does and the other stands by.
    async fn leader(&mut self) -> usize {
        let begin = Instant::now();
        loop {
            self.mend();
            let leads = |d: &Daemon| d.said("successfully acquired lease");
            let stands_by = |d: &Daemon| !leads(d) && d.said("attempting to acquire leader lease");
            match &self.daemons {
                [a, b] if leads(a) && stands_by(b) => return 0,
                [a, b] if leads(b) && stands_by(a) => return 1,
                _ => {}
            }
            assert!(begin.elapsed() < PATIENCE, "no {} leads", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the leader in mid-work again and again; each comes back to stand by. `done` counts what they do.
    pub async fn kill_leaders(&mut self, times: usize, done: impl Fn() -> usize) {
        for _ in 0..times {
            self.leader().await;
            let (before, begin) = (done(), Instant::now());
            while done() < before + DOINGS {
                assert!(begin.elapsed() < PATIENCE, "the {} that leads does nothing", self.name);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let leader = self.leader().await;
            self.daemons[leader].kill();
            self.daemons[leader] = start(self.plane, self.name);
        }
        self.leader().await;
    }
}
