//! What a process has used, from `/proc`.

use anyhow::Context;
use std::path::Path;

/// Linux tells times in hundredths of a second, whatever its own tick is.
const TICKS: f64 = 100.0;

/// A process's use of the machine so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Seconds of a core, user and system, since the process began.
    pub cpu: f64,
    /// Resident now, MiB.
    pub resident: f64,
    /// Resident at most, MiB.
    pub peak: f64,
}

impl Usage {
    /// # Errors
    /// Where there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let directory = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name)).with_context(|| format!("process {pid}"))
        };
        Self::parse(&read("stat")?, &read("status")?).with_context(|| format!("process {pid}"))
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let kib = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Self {
            cpu: (ticks(11)? + ticks(12)?) / TICKS,
            resident: kib("VmRSS:")? / 1024.0,
            peak: kib("VmHWM:")? / 1024.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_are_passed_over() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 9 0 0";
        let status = "Name:\ta\nVmHWM:\t  4096 kB\nVmRSS:\t   2048 kB\n";
        let expected = Usage { cpu: 3.0, resident: 2.0, peak: 4.0 };
        assert_eq!(Usage::parse(stat, status), Some(expected));
        assert_eq!(Usage::parse("7 (a) S", status), None);
    }
}
