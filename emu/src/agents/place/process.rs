//! Agents as processes of this machine.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Done, Ended, Error, Job, Measured, Place, Seat, Tail, Told, Use};
use crate::agents::ward::{Cell, Ward};

/// How often a process is asked whether it has ended.
const STEP: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(super) struct Processes {
    ward: Arc<Ward>,
    python: PathBuf,
}

impl Processes {
    pub(super) fn new(ward: &Arc<Ward>, python: PathBuf) -> Self {
        Self { ward: Arc::clone(ward), python }
    }
}

impl Measured for Cell {
    fn memory(&self) -> Use {
        Use { bytes: self.memory(), emulation_bytes: 0 }
    }
}

impl Place for Processes {
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::LOCALHOST
    }

    fn prepare(&self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, job: &Job<'_>, seat: &Seat) -> Result<Done, Error> {
        let begun = Instant::now();
        let name = format!("agent{}", job.number);
        let cell = Arc::new(self.ward.cell(&name)?);
        let folder = self.ward.folder().join(&name);
        std::fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let mut command = Command::new(&self.python);
        command.arg("-B").arg(job.manifest.folder.join("agent.py")).current_dir(&folder);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &folder).env("LANG", "C.UTF-8");
        if let Some(all) = job.manifest.folder.parent() {
            command.env("PYTHONPATH", all.join("runtime"));
        }
        command.envs(&job.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        cell.begin(&mut command)?;
        let mut child = command.spawn().map_err(Error::io("execute", &self.python))?;
        let measured: Arc<Cell> = Arc::clone(&cell);
        seat.sit(measured);
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
        let stdout = child.stdout.take().map(|stdout| std::thread::spawn(|| Tail::of(stdout)));
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(|| Tail::of(stderr)));
        let status = wait(&mut child, job.deadline);
        // With its tools, which may hold the other end of its output.
        cell.kill();
        let _ = child.wait();
        let [printed, log] =
            [stdout, stderr].map(|tail| tail.and_then(|thread| thread.join().ok()).unwrap_or_default());
        let latency_ms = begun.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = cell.processor_time().as_secs_f64() * 1e3;
        let ended = match status {
            None => Err(Told::deadline(job.deadline)),
            Some(status) => Ended::read(&printed.text(), &status.to_string(), &log.text()),
        };
        let _ = std::fs::remove_dir_all(&folder);
        Ok(Done { start_ms, latency_ms, cpu_ms, ended })
    }
}

/// Waits for the end of a process; `None` at the deadline.
fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(STEP);
    }
    None
}
