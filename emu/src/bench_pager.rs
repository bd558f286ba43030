//! What page faults cost: the page server beside the bare kernel, in the same run.
//!
//! The *floor* is a loop that reads a fault and copies a page, with nothing around it, where the server's thread
//! would be. Every row comes from processes of its own, whose arena is touched once from end to end. The rows of a
//! round follow each other, and rounds repeat, so that a disturbance of the machine meets all of them; a row is the
//! median of its rounds.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::goal::Goal;
use crate::pager::lab::tasks::touch_hash;
use crate::pager::lab::tasks::{Done, Task, Touch};
use crate::pager::lab::{Arena, Process, fork, random_pages, template_page, write_template};
use crate::pager::memory::{Mapping, Page};
use crate::pager::source::spec::{OpenSource, SourceSpec};
use crate::pager::uffd::{Events, Uffd};
use crate::pager::{Client, ClientError, Config, Mode, Options, Placement, Prefetch, Server};
use crate::template::pages::PAGES;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Pages of the arena.
    pub pages: usize,
    /// Rounds.
    pub rounds: usize,
    /// Where the server's threads run.
    pub placements: Vec<Placement>,
    /// Pages at a fault.
    pub batches: Vec<usize>,
    /// Sources, as they are typed.
    pub sources: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pages: 8192,
            rounds: 7,
            placements: vec![Placement::Same, Placement::Other, Placement::Spin],
            batches: vec![1, 16, 64],
            sources: vec!["dram".into(), "file".into(), "dram,latency=6us".into()],
        }
    }
}

/// What serves the faults of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A loop around `read` and COPY.
    Floor,
    /// The server, copies.
    Private,
    /// The server, pages fetched into the shared cache and mapped.
    SharedFirst,
    /// The server, pages that the shared cache has.
    SharedCached,
}

impl Way {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Private => "private",
            Self::SharedFirst => "shared, first",
            Self::SharedCached => "shared, cached",
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Where the serving thread runs.
    pub placement: Placement,
    /// What serves.
    pub way: Way,
    /// Pages at a fault.
    pub batch: usize,
    /// Threads that fault at once.
    pub threads: usize,
    /// Where the pages come from.
    pub source: String,
    /// Median over rounds of the median touch that faults, microseconds; only for single pages, where every touch
    /// faults.
    pub fault_us: Option<f64>,
    /// Median over rounds of the 99th percentile of touches, microseconds.
    pub p99_us: f64,
    /// Median over rounds, pages per second of all threads.
    pub pages_per_s: f64,
    /// The fault's median over that of the floor with the same placement and threads.
    pub over_floor: Option<f64>,
}

/// Measures everything.
///
/// # Errors
/// If a server or process cannot be started.
pub fn run(settings: &Settings) -> Result<Vec<Row>, ClientError> {
    let folder = TemporaryFolder::new()?;
    let template = folder.0.join("template");
    let pages = random_pages(1, settings.pages, 0);
    write_template(&template, &pages)?;
    let word = |page: usize| {
        let shown = pages[template_page(page, settings.pages, 1)];
        (page, u64::from_le_bytes(shown[..8].try_into().expect("eight bytes")))
    };
    let expected = touch_hash((0..settings.pages).map(word));
    let mut cells: Vec<Cell> = Vec::new();
    for placement in &settings.placements {
        for threads in [1, 4] {
            cells.push(Cell::new(*placement, Way::Floor, 1, threads, "dram"));
            cells.push(Cell::new(*placement, Way::Private, 1, threads, "dram"));
        }
        // What the goals are about, whatever else is asked for.
        for way in [Way::Private, Way::SharedCached] {
            cells.push(Cell::new(*placement, way, GOAL_BATCH, 1, "dram"));
        }
        for source in &settings.sources {
            for batch in &settings.batches {
                for way in [Way::Private, Way::SharedFirst, Way::SharedCached] {
                    // Where they come from does not matter for pages that are there.
                    let same = way == Way::SharedCached && source != &settings.sources[0];
                    let known = cells.iter().any(|cell| cell.is(*placement, way, *batch, 1, source));
                    if !same && !known {
                        cells.push(Cell::new(*placement, way, *batch, 1, source));
                    }
                }
            }
        }
    }
    for round in 0..settings.rounds {
        for cell in &mut cells {
            let socket = folder.0.join(format!("socket-{round}"));
            let done = cell.measure(settings, &template, &socket)?;
            if done.hash != expected {
                return Err(io::Error::other("the process saw other pages than the template's").into());
            }
            cell.rounds.push(done);
        }
    }
    let rows: Vec<Row> = cells.iter().map(|cell| cell.row(&cells)).collect();
    Ok(rows)
}

struct Cell {
    placement: Placement,
    way: Way,
    batch: usize,
    threads: usize,
    source: String,
    rounds: Vec<Done>,
}

impl Cell {
    fn new(placement: Placement, way: Way, batch: usize, threads: usize, source: &str) -> Self {
        Self { placement, way, batch, threads, source: source.to_owned(), rounds: Vec::new() }
    }

    fn is(&self, placement: Placement, way: Way, batch: usize, threads: usize, source: &str) -> bool {
        self.placement == placement
            && self.way == way
            && self.batch == batch
            && self.threads == threads
            && self.source == source
    }

    fn touch(&self, pages: usize) -> Task {
        let core = self.cores().0;
        Task::Touch(Touch { threads: self.threads, core, ..Touch::all(0, pages) })
    }

    /// Cores of the process and of who serves it.
    fn cores(&self) -> (Option<usize>, Option<usize>) {
        let cores = crate::pager::server::usable_cores().unwrap_or_default();
        let own = cores.first().copied();
        match self.placement {
            Placement::Same => (own, own),
            Placement::Other | Placement::Spin => (own, cores.get(1).copied().or(own)),
            Placement::Float => (None, None),
        }
    }

    fn measure(&self, settings: &Settings, template: &Path, socket: &Path) -> Result<Done, ClientError> {
        if self.way == Way::Floor {
            return Ok(self.floor(settings.pages, template)?);
        }
        let server = serve(self.placement, &self.source, socket, None)?;
        let client = Client::connect(socket)?;
        let mode = if self.way == Way::Private { Mode::Private } else { Mode::Shared };
        let options = Options { batch: self.batch, core: self.cores().0, ..Options::new(mode) };
        if self.way == Way::SharedCached {
            let all = Options { prefetch: Prefetch::All, ..options };
            let _filled = Process::attached(&client, template, settings.pages, 1, all)?;
        }
        let (process, _) = Process::attached(&client, template, settings.pages, 1, options)?;
        let done = process.run(&self.touch(settings.pages))?;
        drop((process, client, server));
        Ok(done)
    }

    /// Nothing but reading faults and copying pages, in a process of its own as the server is.
    fn floor(&self, pages: usize, template: &Path) -> io::Result<Done> {
        let mut process = Process::start(&Arena::Private, pages, 1)?;
        let uffd = process.take_uffd();
        let start = process.regions()[0].address;
        let file = std::fs::File::open(template.join(PAGES))?;
        let (core, spins) = (self.cores().1, self.placement == Placement::Spin);
        let _server = fork(&[uffd.as_fd(), file.as_fd()], move |mut fds| {
            let file = fds.pop().ok_or("no file")?;
            let uffd = Uffd::from_fd(fds.pop().ok_or("no descriptor")?);
            let mapped = Mapping::file(file, pages * size_of::<Page>()).map_err(|error| error.to_string())?;
            pin(core);
            bare_loop(&uffd, start, mapped.pages(), spins).map(drop).map_err(|error| error.to_string())
        })?;
        let done = process.run(&self.touch(pages))?;
        Ok(done)
    }

    fn row(&self, cells: &[Self]) -> Row {
        let floor = cells.iter().find(|cell| cell.is(self.placement, Way::Floor, 1, self.threads, "dram"));
        let fault = |cell: &Self| median(cell.rounds.iter().map(|done| done.median_ns as f64 / 1e3));
        let single = self.batch == 1;
        let ratio =
            floor.filter(|_| single && self.way != Way::Floor).map(|floor| fault(self) / fault(floor));
        Row {
            placement: self.placement,
            way: self.way,
            batch: self.batch,
            threads: self.threads,
            source: self.source.clone(),
            fault_us: single.then(|| fault(self)),
            p99_us: median(self.rounds.iter().map(|done| done.p99_ns as f64 / 1e3)),
            pages_per_s: median(
                self.rounds.iter().map(|done| done.touched as f64 / (done.wall_ns as f64 / 1e9)),
            ),
            over_floor: ratio,
        }
    }
}

/// A server in a process of its own, which keeps working sets in the folder `records`.
pub(crate) fn serve(
    placement: Placement,
    source: &str,
    socket: &Path,
    records: Option<PathBuf>,
) -> io::Result<crate::pager::lab::Child> {
    let source: SourceSpec = source.parse().map_err(io::Error::other)?;
    let mut config = Config::new(socket.to_owned(), vec![Arc::new(source) as Arc<dyn OpenSource>]);
    config.placement = placement;
    config.records = records;
    let (ready, told) = io::pipe()?;
    let child = fork(&[told.as_fd()], move |fds| {
        let server = Server::start(config).map_err(|error| error.to_string())?;
        rustix::io::write(&fds[0], b"x").map_err(|errno| errno.to_string())?;
        drop(fds);
        let _server = server;
        loop {
            std::thread::park();
        }
    })?;
    drop(told);
    let mut byte = [0];
    if rustix::io::read(&ready, &mut byte)? == 0 {
        return Err(io::Error::other("the server did not start"));
    }
    Ok(child)
}

fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut only = CpuSet::new();
        only.set(core);
        let _ = rustix::thread::sched_setaffinity(None, &only);
    }
}

/// The floor. Ends with its process, which is killed.
fn bare_loop(uffd: &Uffd, start: u64, pages: &[Page], spins: bool) -> io::Result<std::convert::Infallible> {
    let mut events = Events::new();
    loop {
        if !spins {
            poll(&mut [PollFd::new(uffd, PollFlags::IN)], None)?;
        }
        uffd.read(&mut events)?;
        for at in 0..events.len() {
            if let Some((address, _, _)) = events.fault(at) {
                let page = ((address - start) / size_of::<Page>() as u64) as usize;
                let _ = uffd.copy(address, &pages[page..=page], 0);
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A new folder in memory where there is one, removed at the end.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> io::Result<Self> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("trenvx-bench-pager-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Pages at a fault of the goals for many pages.
const GOAL_BATCH: usize = 64;

/// What the rows are held against; each goal by the placement that does best.
#[must_use]
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let of = |way: Way, batch: usize, threads: usize| {
        rows.iter().filter(move |row| {
            row.way == way && row.batch == batch && row.threads == threads && row.source == "dram"
        })
    };
    let mut goals = Vec::new();
    for row in of(Way::Private, 1, 1) {
        if let Some(ratio) = row.over_floor {
            let place = row.placement.name();
            goals.push(Goal::at_most("single fault beside the bare kernel, median", place, ratio, 1.3, "x"));
        }
    }
    let speeds = [
        ("single pages by COPY, four faulting threads", Way::Private, 1, 4, 200e3),
        ("pages by COPY, k = 64", Way::Private, GOAL_BATCH, 1, 600e3),
        ("pages by CONTINUE, k = 64", Way::SharedCached, GOAL_BATCH, 1, 1e6),
    ];
    for (what, way, batch, threads, limit) in speeds {
        let best = of(way, batch, threads).max_by(|a, b| a.pages_per_s.total_cmp(&b.pages_per_s));
        if let Some(best) = best {
            goals.push(Goal::at_least(what, best.placement.name(), best.pages_per_s, limit, "pages/s"));
        }
    }
    goals
}

/// The rows as text.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<9} {:<15} {:>4} {:>7}  {:<18} {:>9} {:>9} {:>10} {:>7}\n",
        "placement", "mode", "k", "threads", "source", "fault us", "P99 us", "pages/s", "/floor"
    );
    for row in rows {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2}"));
        text.push_str(&format!(
            "{:<9} {:<15} {:>4} {:>7}  {:<18} {:>9} {:>9.2} {:>10.0} {:>7}\n",
            row.placement.name(),
            row.way.name(),
            row.batch,
            row.threads,
            row.source,
            number(row.fault_us),
            row.p99_us,
            row.pages_per_s,
            number(row.over_floor),
        ));
    }
    text
}
