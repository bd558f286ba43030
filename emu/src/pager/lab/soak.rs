//! A soak: processes come, run, fork, are killed in the middle of faults, for long; nothing may grow.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::program::Program;
use super::tasks::{Task, Touch};
use super::{Arena, Child, Process, fork, random_pages, write_template};
use crate::pager::client::ClientError;
use crate::pager::source::delayed::mixed;
use crate::pager::source::spec::{OpenSource, SourceSpec};
use crate::pager::stats::Report;
use crate::pager::{Client, Config, Mode, Options, Placement, Prefetch, Server};

/// Pages of each template.
const PAGES: usize = 1024;
/// Processes that live at once.
const ALIVE: usize = 8;

/// What a soak looks at: of the server and of this process, its manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Seconds since the start.
    pub at_s: u64,
    /// Open descriptors of the server.
    pub server_descriptors: usize,
    /// Mappings of the server.
    pub server_mappings: usize,
    /// Resident memory of the server that is its own, KiB: without template files and the cache.
    pub server_memory_kib: u64,
    /// Pages that the server's shared caches hold.
    pub cache_pages: u64,
    /// Pages that the templates have: more than these is a leak.
    pub template_pages: u64,
    /// Open descriptors of the manager.
    pub manager_descriptors: usize,
    /// Mappings of the manager.
    pub manager_mappings: usize,
    /// Resident memory of the manager, KiB.
    pub manager_memory_kib: u64,
}

impl State {
    /// Of the server with this number, and of this process.
    pub(crate) fn of(
        server: i32,
        report: &Report,
        template_pages: u64,
        started: Instant,
    ) -> io::Result<Self> {
        let manager = std::process::id() as i32;
        Ok(Self {
            at_s: started.elapsed().as_secs(),
            server_descriptors: entries(server)?,
            server_mappings: mappings(server)?,
            server_memory_kib: anonymous_kib(server)?,
            cache_pages: report.cache_pages,
            template_pages,
            manager_descriptors: entries(manager)?,
            manager_mappings: mappings(manager)?,
            manager_memory_kib: anonymous_kib(manager)?,
        })
    }

    /// What of it has grown since `before` beyond what allocators keep.
    #[must_use]
    pub fn grown_since(&self, before: &Self) -> Vec<String> {
        let more = |name: &str, before: u64, now: u64, slack: u64| {
            (now > before + slack).then(|| format!("{name}: {before} -> {now}"))
        };
        let memory = |before: u64| 4096 + before / 10;
        [
            more(
                "descriptors of the server",
                before.server_descriptors as u64,
                self.server_descriptors as u64,
                0,
            ),
            more("mappings of the server", before.server_mappings as u64, self.server_mappings as u64, 8),
            more(
                "KiB of the server",
                before.server_memory_kib,
                self.server_memory_kib,
                memory(before.server_memory_kib),
            ),
            // It fills as pages are touched first, until it has all that there are.
            more("pages of the cache", self.template_pages, self.cache_pages, 0),
            more(
                "descriptors of the manager",
                before.manager_descriptors as u64,
                self.manager_descriptors as u64,
                0,
            ),
            more("mappings of the manager", before.manager_mappings as u64, self.manager_mappings as u64, 8),
            more(
                "KiB of the manager",
                before.manager_memory_kib,
                self.manager_memory_kib,
                memory(before.manager_memory_kib),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// How a soak went.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// Processes that were attached.
    pub processes: u64,
    /// Of these, killed in the middle of something.
    pub killed: u64,
    /// Programs that ran to their end, all with the hash that they have without a server.
    pub programs: u64,
    /// States over time, each with nothing attached.
    pub states: Vec<State>,
    /// What the server has counted.
    pub report: Report,
}

/// Soaks for `length`, in a folder for sockets and templates. `told` hears of every state.
///
/// # Errors
/// If something cannot be started, or a process saw a wrong page or ended when it should not have.
pub fn run(
    folder: &Path,
    length: Duration,
    seed: u64,
    mut told: impl FnMut(&State),
) -> Result<Soak, ClientError> {
    let templates = [folder.join("one"), folder.join("two")];
    for (number, template) in templates.iter().enumerate() {
        write_template(template, &random_pages(seed ^ number as u64, PAGES, 5))?;
    }
    let programs: Vec<(usize, Program, u64)> = (0..8)
        .map(|number| {
            let program = Program {
                seed: seed ^ number,
                steps: 300,
                threads: 1 + number as usize % 3,
                maps: true,
                forks: number % 3 == 0,
            };
            let template = number as usize % 2;
            let plain = Process::start(&Arena::Plain(templates[template].clone()), PAGES, 4)?;
            Ok((template, program, plain.run(&Task::Program(program))?.hash))
        })
        .collect::<io::Result<_>>()?;
    let socket = folder.join("socket");
    let mut server = start(&socket)?;
    let client = Client::connect(&socket)?;
    let mut soak =
        Soak { processes: 0, killed: 0, programs: 0, states: Vec::new(), report: Report::default() };
    let (started, mut state) = (Instant::now(), seed);
    let mut draw = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(state) % below
    };
    let step = (length / 20).max(Duration::from_millis(500));
    let mut next = step;
    while started.elapsed() < length {
        round(&client, &templates, &programs, &mut draw, &mut soak)?;
        if started.elapsed() >= next || started.elapsed() >= length {
            next += step;
            settle(&client)?;
            let state = State::of(server.pid(), &client.report()?, 2 * PAGES as u64, started)?;
            told(&state);
            soak.states.push(state);
        }
        if let Some(status) = server.ended() {
            return Err(io::Error::other(format!("the server has ended: {status}")).into());
        }
    }
    soak.report = client.report()?;
    Ok(soak)
}

/// Some processes at once, each with its way of being served and its end.
fn round(
    client: &Client,
    templates: &[std::path::PathBuf; 2],
    programs: &[(usize, Program, u64)],
    draw: &mut impl FnMut(u64) -> u64,
    soak: &mut Soak,
) -> Result<(), ClientError> {
    let mut running = Vec::new();
    for _ in 0..ALIVE {
        let (template, program, hash) = programs[draw(programs.len() as u64) as usize];
        let options = Options {
            batch: 1 << draw(7),
            background: draw(4) == 0,
            prefetch: if draw(6) == 0 { Prefetch::All } else { Prefetch::None },
            record: draw(5) == 0,
            ..Options::new(if draw(2) == 0 { Mode::Private } else { Mode::Shared })
        };
        let (process, attachment) = Process::attached(client, &templates[template], PAGES, 4, options)?;
        soak.processes += 1;
        let dies = draw(3) == 0;
        let touch = Touch { threads: 3, shuffled: true, ..Touch::all(0, PAGES) };
        process.begin(&if dies { Task::Touch(touch) } else { Task::Program(program) })?;
        running.push((process, attachment, hash, dies));
    }
    for (process, _attachment, hash, dies) in running {
        if dies {
            std::thread::sleep(Duration::from_micros(draw(2000)));
            process.child.kill();
            soak.killed += 1;
            continue;
        }
        let done = process.finish(Duration::from_secs(60))?;
        match done {
            Some(done) if done.hash == hash => soak.programs += 1,
            Some(_) => return Err(io::Error::other("a process saw other pages than the template's").into()),
            None => return Err(io::Error::other("a process has ended in the middle of its program").into()),
        }
    }
    Ok(())
}

/// Waits until nothing is attached.
fn settle(client: &Client) -> Result<(), ClientError> {
    let end = Instant::now() + Duration::from_secs(20);
    while client.report()?.attachments > 0 || client.attached() > 0 {
        if Instant::now() > end {
            return Err(io::Error::other("processes that have ended are still attached").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn start(socket: &Path) -> io::Result<Child> {
    let sources = ["dram,latency=30us,spread=50%,iops=200000", "file"];
    let sources = sources
        .map(|source| Arc::new(source.parse::<SourceSpec>().expect("a source")) as Arc<dyn OpenSource>);
    let mut config = Config::new(socket.to_owned(), sources.to_vec());
    config.placement = Placement::Float;
    config.threads = 2;
    let path = socket.to_owned();
    let child = fork(&[], move |_| {
        let _server = Server::start(config).map_err(|error| error.to_string())?;
        loop {
            std::thread::park();
        }
    })?;
    let end = Instant::now() + Duration::from_secs(20);
    while Client::connect(&path).is_err() {
        if Instant::now() > end {
            return Err(io::Error::other("the server did not start"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(child)
}

fn entries(pid: i32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn mappings(pid: i32) -> io::Result<usize> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines().count())
}

fn anonymous_kib(pid: i32) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| io::Error::other("the kernel does not tell the anonymous memory of a process"))
}
