//! Named health checks and upstream's text form of their results.

use parking_lot::RwLock;
use std::sync::Arc;

type CheckFn = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks behind one path (`/healthz`, `/livez` or `/readyz`). Cloning shares the list.
///
/// A check looks at state that is already in memory; it must not block.
#[derive(Clone, Default)]
pub struct Checks(Arc<RwLock<Vec<(String, CheckFn)>>>);

/// What to answer: the status code and the body, text.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub code: u16,
    pub body: String,
}

impl Checks {
    /// A list that begins with the `ping` check, which always passes.
    pub fn with_ping() -> Self {
        let checks = Self::default();
        checks.add("ping", || Ok(()));
        checks
    }

    pub fn add(
        &self,
        name: impl Into<String>,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.0.write().push((name.into(), Arc::new(check)));
    }

    /// Runs every check. `path` is `healthz`, `livez` or `readyz`; `query` is the request's raw query
    /// (`verbose`, `exclude=name`, repeated).
    pub fn answer(&self, path: &str, query: &str) -> Answer {
        let pairs =
            || query.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")));
        let verbose = pairs().any(|(k, _)| k == "verbose");
        let excluded: Vec<&str> = pairs().filter(|(k, _)| *k == "exclude").map(|(_, v)| v).collect();
        let checks = self.0.read().clone();
        let mut lines = String::new();
        let mut failed = false;
        for (name, check) in &checks {
            if excluded.contains(&name.as_str()) {
                lines.push_str(&format!("[+]{name} excluded: ok\n"));
            } else if let Err(reason) = check() {
                tracing::debug!(check = name, reason, "health check failed");
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed = true;
            } else {
                lines.push_str(&format!("[+]{name} ok\n"));
            }
        }
        let unknown: Vec<String> = excluded
            .iter()
            .filter(|e| !checks.iter().any(|(n, _)| n == *e))
            .map(|e| format!("\"{e}\""))
            .collect();
        if !unknown.is_empty() {
            lines.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {}\n",
                unknown.join(", ")
            ));
        }
        if failed {
            return Answer { code: 500, body: format!("{lines}{path} check failed\n") };
        }
        if verbose {
            return Answer { code: 200, body: format!("{lines}{path} check passed\n") };
        }
        Answer { code: 200, body: "ok".into() }
    }

    /// One check by name, as `/healthz/<name>`; `None` where there is no such check.
    pub fn answer_one(&self, name: &str) -> Option<Answer> {
        let check = self.0.read().iter().find(|(n, _)| n == name).map(|(_, c)| c.clone())?;
        Some(match check() {
            Ok(()) => Answer { code: 200, body: "ok".into() },
            Err(reason) => Answer { code: 500, body: format!("internal server error: {reason}\n") },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, code: u16, body: &str) {
        let checks = Checks::with_ping();
        checks.add("leaderElection", || Err("lost".into()));
        assert_eq!(checks.answer("healthz", query), Answer { code, body: body.into() });
    }

    #[test]
    fn the_text_is_upstreams() {
        check("", 500, "[+]ping ok\n[-]leaderElection failed: reason withheld\nhealthz check failed\n");
        check("exclude=leaderElection", 200, "ok");
        check(
            "verbose&exclude=leaderElection",
            200,
            "[+]ping ok\n[+]leaderElection excluded: ok\nhealthz check passed\n",
        );
        check(
            "verbose&exclude=leaderElection&exclude=x",
            200,
            "[+]ping ok\n[+]leaderElection excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nhealthz check passed\n",
        );
    }
}
