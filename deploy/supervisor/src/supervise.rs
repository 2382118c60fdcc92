//! The supervisor: starts each unit, restarts it when it ends, adopts it when it already runs.
//!
//! One task a unit, and one look a minute at the logs. A unit's process leads its own group, so that stopping one never touches another, and
//! does not die with the supervisor.

use crate::logs;
use crate::units::Unit;
use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// A unit that ran this long starts again without the delays it had earned.
const SETTLED: Duration = Duration::from_secs(10);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs until told to stop, then stops the units in reverse order.
pub async fn run(dir: &Path) -> anyhow::Result<()> {
    let units: Vec<Unit> = serde_json::from_slice(
        &fs::read(dir.join("units.json")).context("no units.json: run deploy/up first")?,
    )?;
    let pids = dir.join("pids");
    fs::create_dir_all(&pids)?;
    fs::write(pids.join("supervisor.pid"), std::process::id().to_string())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut running = Vec::new();
    for unit in units {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(keep(unit, dir.to_path_buf(), stopped));
        running.push((stop, task));
    }
    let logs = dir.join("logs");
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = logs::watch(&logs) => {}
    }
    while let Some((stop, task)) = running.pop() {
        // The receiver lives as long as the task; when it is gone the unit has stopped already.
        let _ = stop.send(true);
        let _ = task.await;
    }
    let _ = fs::remove_file(pids.join("supervisor.pid"));
    Ok(())
}

/// Keeps one unit running until `stopped`.
async fn keep(unit: Unit, dir: PathBuf, mut stopped: watch::Receiver<bool>) {
    let pid_file = dir.join("pids").join(format!("{}.pid", unit.name));
    let mut delay = FIRST_DELAY;
    if let Some(pid) = read_live(&pid_file, &unit) {
        eprintln!("{}: adopted process {pid}", unit.name);
        tokio::select! {
            () = gone(pid) => {}
            _ = stopped.changed() => return stop_adopted(pid, &pid_file).await,
        }
    }
    while !*stopped.borrow() {
        let begin = Instant::now();
        match spawn(&unit, &dir) {
            Ok(mut child) => {
                let pid = child.id().unwrap_or_default();
                if let Err(e) = fs::write(&pid_file, pid.to_string()) {
                    eprintln!("{}: cannot write {}: {e}", unit.name, pid_file.display());
                }
                tokio::select! {
                    status = child.wait() => {
                        let what = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                        eprintln!("{}: process {pid} ended: {what}", unit.name);
                    }
                    _ = stopped.changed() => {
                        signal_group(pid, Signal::SIGTERM);
                        if tokio::time::timeout(STOP_GRACE, child.wait()).await.is_err() {
                            signal_group(pid, Signal::SIGKILL);
                            let _ = child.wait().await;
                        }
                        let _ = fs::remove_file(&pid_file);
                        return;
                    }
                }
            }
            Err(e) => eprintln!("{}: {e:#}", unit.name),
        }
        delay = if begin.elapsed() > SETTLED { FIRST_DELAY } else { (delay * 2).min(LONGEST_DELAY) };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = stopped.changed() => {}
        }
    }
    let _ = fs::remove_file(&pid_file);
}

fn spawn(unit: &Unit, dir: &Path) -> anyhow::Result<tokio::process::Child> {
    let log = dir.join("logs").join(format!("{}.log", unit.name));
    let out =
        OpenOptions::new().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
    let mut command = match &unit.namespace {
        Some(ns) => {
            let mut c = Command::new("nsenter");
            c.arg(format!("--net=/run/netns/{ns}")).arg("--").arg(&unit.program);
            c
        }
        None => Command::new(&unit.program),
    };
    command
        .args(&unit.args)
        .envs(unit.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", unit.program))
}

fn signal_group(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        // The group is gone when every process in it has ended.
        let _ = kill(Pid::from_raw(-pid), signal);
    }
}

/// The process a pid file names, when it still runs this very program.
pub fn read_live(file: &Path, unit: &Unit) -> Option<u32> {
    let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let program = command.split(|b| *b == 0).next()?;
    (program == unit.program.as_bytes()).then_some(pid)
}

/// Waits for a process that is not our child; the kernel tells only children, so this looks twice a second.
async fn gone(pid: u32) {
    while Path::new(&format!("/proc/{pid}")).exists() {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn stop_adopted(pid: u32, pid_file: &Path) {
    signal_group(pid, Signal::SIGTERM);
    if tokio::time::timeout(STOP_GRACE, gone(pid)).await.is_err() {
        signal_group(pid, Signal::SIGKILL);
        gone(pid).await;
    }
    let _ = fs::remove_file(pid_file);
}
