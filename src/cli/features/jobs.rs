//! `features --jobs N`: the partitions of a bank, each in a process of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::screen::Screen;
use crate::features::FeaturesError;
use crate::progress::{Interrupt, Progress};

/// What starts the processes, and follows them.
pub(super) struct Jobs<'a> {
    pub(super) screen: &'a Screen,
    pub(super) interrupt: &'a Interrupt,
    /// CPU threads of all together; `None`: all there are.
    pub(super) threads: Option<usize>,
    /// As the user gave it.
    pub(super) device: &'a str,
    /// How many processes.
    pub(super) number: usize,
}

/// Runs this command line in several processes, a partition each; `rows` are still to be made.
pub(super) fn run(jobs: &Jobs, rows: u64) -> Result<(), FeaturesError> {
    let Jobs { screen, interrupt, threads, device, number: jobs } = *jobs;
    let failed = |message: String| FeaturesError::Jobs { message };
    let gpus = gpus();
    let threads = threads.unwrap_or_else(rayon::current_num_threads) / jobs;
    let start = |job: usize| {
        let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
        let mut command = Command::new(program);
        command.args(without_jobs(std::env::args_os().skip(1)));
        command.args(["--worker", "--partition", &format!("{}/{jobs}", job + 1)]);
        command.args(["--threads", &threads.max(1).to_string()]);
        if device == "auto" && gpus > 0 {
            command.args(["--device", &format!("cuda:{}", job % gpus)]);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        child.map_err(|e| failed(format!("{}: {e}", command.get_program().display())))
    };
    screen.line(&format!(
        "{jobs} processes{}, {} each",
        if gpus > 0 { format!(" on {} GPUs", gpus.min(jobs)) } else { String::new() },
        if threads > 1 { format!("{threads} threads") } else { "1 thread".into() },
    ));
    screen.start("feature maps", rows, "row");
    let mut children: Vec<Result<Child, FeaturesError>> = (0..jobs).map(start).collect();
    // Each process ends its shard in hand and stops when this end of its standard input is closed.
    let mut lifelines: Vec<ChildStdin> =
        children.iter_mut().flatten().filter_map(|child| child.stdin.take()).collect();
    let ended = AtomicBool::new(false);
    let faults: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                if interrupt.requested() {
                    lifelines.clear();
                }
            }
        });
        let follow = |child| scope.spawn(move || follow(screen, child));
        let threads: Vec<_> = children.into_iter().map(follow).collect();
        let ends = threads.into_iter().map(|t| t.join().expect("following does not panic"));
        let failed = ends.enumerate().filter_map(|(job, end)| Some((job, end.err()?)));
        let faults = failed.map(fault_text).collect();
        ended.store(true, Ordering::Relaxed);
        faults
    });
    screen.finish();
    match faults.as_slice() {
        [] => Ok(()),
        // Each has ended its shard in hand.
        _ if interrupt.requested() => Ok(()),
        faults => Err(failed(faults.join("; "))),
    }
}

/// In one of the processes: asks to stop once the one that has started it stops, or has ended.
pub(super) fn stop_with_parent(interrupt: &Interrupt) {
    // A thread may begin to wait only when all the work is done.
    if parent_is_gone() {
        interrupt.request();
    }
    let interrupt = interrupt.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        interrupt.request();
    });
}

/// Whether the other end of standard input is closed: nothing is ever written there.
fn parent_is_gone() -> bool {
    let stdin = std::io::stdin();
    let mut ends = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn fault_text((job, fault): (usize, String)) -> String {
    format!("process {} {fault}", job + 1)
}

/// Counts the rows of a process until it ends.
fn follow(screen: &dyn Progress, child: Result<Child, FeaturesError>) -> Result<(), String> {
    let mut child = child.map_err(|e| e.to_string())?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            line.parse().into_iter().for_each(|rows| screen.advance(rows));
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ended with {status}")),
        Err(e) => Err(e.to_string()),
    }
}

/// The arguments but for `--jobs`.
fn without_jobs(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut value_follows) = (vec![], false);
    for arg in args {
        if std::mem::take(&mut value_follows) {
            continue;
        }
        match arg.to_string_lossy().as_ref() {
            "--jobs" => value_follows = true,
            text if text.starts_with("--jobs=") => {}
            _ => kept.push(arg),
        }
    }
    kept
}

/// NVIDIA GPUs that this process may use.
fn gpus() -> usize {
    let drivers = Path::new("/proc/driver/nvidia/gpus");
    let there = std::fs::read_dir(drivers).map_or(0, |entries| entries.count());
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => visible.split(',').filter(|id| !id.trim().is_empty()).count().min(there),
        Err(_) => there,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_gets_the_same_arguments_but_for_the_jobs() {
        let given = ["features", "a.toml", "--jobs", "4", "--set", "seed=1", "--jobs=2", "-q"];
        let kept = without_jobs(given.iter().map(OsString::from));
        assert_eq!(kept, ["features", "a.toml", "--set", "seed=1", "-q"]);
    }
}
