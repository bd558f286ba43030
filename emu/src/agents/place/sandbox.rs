//! Agents in container sandboxes: unprivileged, with namespaces, a cgroup and a filter of their own.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode as FileMode, OFlags, openat};

use super::{Done, Ended, Error, Job, Measured, Place, Seat, Settings, Tail, Told, Use, files};
use crate::agents::ward::{Ward, proportional};
use crate::sandbox::channel::Failure;
use crate::sandbox::{Base, Config, LimitMet, Manager, Mode, Program, Sandbox};

/// Where the agents' programs lie inside.
const INSIDE: &str = "/opt/trenvx/agents";
/// What is shown of what it printed to standard error, bytes.
const LOG: usize = 2000;
/// How long the process of a function whose channel is closed may take to be gone, before it is killed.
const ENDING: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Sandboxes {
    manager: Manager,
    layer: PathBuf,
    python: PathBuf,
    disk_bytes: Option<u64>,
}

impl Sandboxes {
    pub(super) fn start(settings: &Settings, ward: &Arc<Ward>) -> Result<Self, Error> {
        let layer = ward.folder().join("agents");
        for manifest in &settings.agents {
            for (name, file) in files(manifest)? {
                let to = layer.join(&INSIDE[1..]).join(name);
                let folder = to.parent().unwrap_or(&layer);
                fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
                fs::copy(&file, &to).map_err(Error::io("copy", &file))?;
            }
        }
        readable(&layer)?;
        let base = settings.base.clone().map_or(Base::HostPrograms, Base::Image);
        let mut config = Config { base, ..Config::new(Mode::New) };
        if let Some(launcher) = &settings.launcher {
            config.launcher.clone_from(launcher);
        }
        let manager = Manager::start(config)?;
        Ok(Self { manager, layer, python: settings.python.clone(), disk_bytes: settings.disk_bytes })
    }

    fn program(&self, job: &Job<'_>) -> Program {
        let agent = format!("{INSIDE}/{}/agent.py", job.manifest.name);
        let python = self.python.display().to_string();
        let mut program = Program::new([python.as_str(), "-B", agent.as_str()]);
        program.env.extend(job.environment.clone());
        program.env.insert("PYTHONPATH".to_owned(), format!("{INSIDE}/runtime"));
        program.layers.push(self.layer.clone());
        "agent".clone_into(&mut program.hostname);
        if let Some(bytes) = self.disk_bytes {
            program.limits.disk_bytes = bytes;
        }
        program
    }
}

/// Whatever the umask was: another user is to read it.
fn readable(folder: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(Error::io("set the mode of", path))
    };
    set(folder, 0o755)?;
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))?.flatten() {
        let path = entry.path();
        if path.is_dir() { readable(&path)? } else { set(&path, 0o644)? }
    }
    Ok(())
}

/// All processes of a sandbox's cgroup.
struct Members(OwnedFd);

impl Measured for Members {
    fn memory(&self) -> Use {
        let file = openat(&self.0, "cgroup.procs", OFlags::RDONLY | OFlags::CLOEXEC, FileMode::empty());
        let text = file.map(|file| std::io::read_to_string(fs::File::from(file)).unwrap_or_default());
        let pids = text.unwrap_or_default();
        let bytes = pids.lines().filter_map(|pid| proportional(pid.trim().parse().ok()?)).sum();
        Use { bytes, emulation_bytes: 0 }
    }
}

impl Place for Sandboxes {
    fn address(&self) -> Ipv4Addr {
        self.manager.gateway()
    }

    fn prepare(&self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    fn run(&self, job: &Job<'_>, seat: &Seat) -> Result<Done, Error> {
        let begun = Instant::now();
        let mut sandbox = self.manager.create(&self.program(job))?;
        let start_ms = begun.elapsed().as_secs_f64() * 1e3;
        if let Some(cgroup) = sandbox.cgroup() {
            let cgroup = cgroup.try_clone_to_owned().map_err(Error::io("hold the cgroup of", &self.layer))?;
            seat.sit(Arc::new(Members(cgroup)));
        }
        let printed = listen(&mut sandbox, begun + job.deadline);
        let ended = match printed {
            Err(Failure::Late(_)) => Err(Told::deadline(job.deadline)),
            Err(failure) => Err(Told::new("died", failure.to_string())),
            Ok(printed) => ended(&sandbox, &printed.text()),
        };
        let latency_ms = begun.elapsed().as_secs_f64() * 1e3;
        let cpu_ms = sandbox.usage()?.cpu_us as f64 / 1e3;
        // Before it goes: what would be looked at then is somebody else's.
        seat.leave();
        self.manager.destroy_now(sandbox)?;
        Ok(Done { start_ms, latency_ms, cpu_ms, ended })
    }
}

/// What the agent prints, until it closes its end.
fn listen(sandbox: &mut Sandbox, end: Instant) -> Result<Tail, Failure> {
    let function = sandbox.function_mut().expect("its agent was just started");
    let mut printed = Tail::default();
    loop {
        match function.channel.line(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                printed.add(&line);
                printed.add(b"\n");
            }
            Err(Failure::Closed) => return Ok(printed),
            Err(failure) => return Err(failure),
        }
    }
}

fn ended(sandbox: &Sandbox, printed: &str) -> Result<Ended, Told> {
    let function = sandbox.function().expect("its agent was started");
    let until = Instant::now() + ENDING;
    while !function.has_ended() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    let log = function.log.tail(LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let ended = Ended::read(printed, "it ended", &log);
    let met = sandbox.limits_met().unwrap_or_default();
    ended.map_err(|told| match met.iter().find(|met| !matches!(met, LimitMet::Log { .. })) {
        Some(met @ LimitMet::Disk { .. }) => Told::new("disk-full", format!("{met}; {}", told.message)),
        Some(met @ LimitMet::Memory { .. }) => Told::new("memory-limit", format!("{met}; {}", told.message)),
        Some(met) => Told::new("died", format!("{met}; {}", told.message)),
        None => told,
    })
}
