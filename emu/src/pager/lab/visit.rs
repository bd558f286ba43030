//! Processes whose memory is a template: each reads and writes it, and everything that it saw is compared with what a
//! process sees that has the template's pages copied in.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::program::Program;
use super::tasks::Task;
use super::{Arena, Process};
use crate::guest::node::{EMULATED, EMULATED_BY};
use crate::pager::client::ClientError;
use crate::pager::source::spec::{OpenSource, SourceSpec};
use crate::pager::{Client, Config, Fate, Options, Placement, Server};
use crate::template::pages::{PageTable, TABLE, TableError};

/// How long a process may take. Every wait of the server ends long before.
const WITHIN: Duration = Duration::from_secs(120);

/// What processes are served with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the template.
    pub template: PathBuf,
    /// Where its pages come from, in the order in which they are tried.
    pub sources: Vec<SourceSpec>,
    /// How they are served.
    pub options: Options,
    /// How long a source may take to answer before the next is asked.
    pub patience: Duration,
    /// How long the last one may take before a process is ended.
    pub alone: Duration,
    /// Random reads and writes before everything is read. Three of ten write.
    pub steps: usize,
}

/// A process that has seen what it had to see.
#[derive(Clone, Debug, Serialize)]
pub struct Visit {
    /// Its number, from 1.
    pub process: u32,
    /// Pages of the template, with gaps; it has seen all.
    pub pages: u64,
    /// How long it ran, ms.
    pub wall_ms: f64,
    /// What each source did for it.
    pub sources: Vec<Share>,
    /// In a guest of the lab: what runs it. Times are then those of an emulation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emulated_by: Option<String>,
    /// What has to be read with the times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'static str>,
}

/// What a source did for a process.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Its name.
    pub source: String,
    /// Pages that came from it.
    pub pages: u64,
    /// Reads that failed.
    pub failures: u64,
    /// Reads that were not answered in time.
    pub late: u64,
    /// Pages that were not what the table says; none of them was used.
    pub wrong_pages: u64,
}

/// Why a visit is no visit.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// The template's table cannot be used.
    #[error("{0}: {1}")]
    Table(PathBuf, TableError),
    /// It could not be begun.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be begun.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It saw something else.
    #[error("process {0} saw other pages than the template's")]
    Wrong(u32),
    /// The server ended it.
    #[error("process {process} was ended: {reason}")]
    Ended {
        /// Which.
        process: u32,
        /// Why.
        reason: String,
    },
    /// It hangs.
    #[error("process {0} has not ended within {WITHIN:?}: it was killed")]
    Hangs(u32),
}

/// Runs so many processes, one after another; `told` hears of each that has seen what it had to see.
///
/// # Errors
/// With the first that has not.
pub fn run(settings: &Settings, times: u32, mut told: impl FnMut(&Visit)) -> Result<(), VisitError> {
    let path = settings.template.join(TABLE);
    let table = PageTable::read(&path).map_err(|error| VisitError::Table(path, error))?;
    let pages = table.hashes().len();
    let task =
        |seed| Task::Program(Program { seed, steps: settings.steps, threads: 1, maps: false, forks: false });
    let socket = std::env::temp_dir().join(format!("trenvx-visit-{}", std::process::id()));
    let sources = settings.sources.iter().map(|source| Arc::new(source.clone()) as Arc<dyn OpenSource>);
    let mut config = Config::new(socket.clone(), sources.collect());
    config.placement = Placement::Float;
    (config.patience, config.alone) = (settings.patience, settings.alone);
    let server = Server::start(config)?;
    let client = Client::connect(&socket)?;
    for number in 1..=times {
        let task = task(u64::from(number));
        let before = server.report().sources;
        // The first counts too: its sources are opened by the attach.
        let counts = |name: &str| {
            let found = before.iter().find(|source| source.source == name);
            found.map(|source| source.counts.clone()).unwrap_or_default()
        };
        let (process, attachment) =
            Process::attached(&client, &settings.template, pages, 1, settings.options)?;
        process.begin(&task)?;
        let done = process.finish(WITHIN).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => VisitError::Hangs(number),
            _ => error.into(),
        })?;
        let Some(done) = done else {
            let reason = match attachment.fate(Duration::from_secs(5)) {
                Some(Fate::Ended(reason)) => reason,
                other => format!("it has ended without a word from the server ({other:?})"),
            };
            return Err(VisitError::Ended { process: number, reason });
        };
        let plain = Process::start(&Arena::Plain(settings.template.clone()), pages, 1)?;
        let expected = plain.run(&task)?.hash;
        if done.hash != expected {
            return Err(VisitError::Wrong(number));
        }
        let share = |source: crate::pager::stats::SourceReport| {
            let (now, then) = (&source.counts, counts(&source.source));
            Share {
                pages: now.pages - then.pages,
                failures: now.failures - then.failures,
                late: now.late - then.late,
                wrong_pages: now.wrong_pages - then.wrong_pages,
                source: source.source,
            }
        };
        told(&Visit {
            process: number,
            pages: pages as u64,
            wall_ms: done.wall_ns as f64 / 1e6,
            sources: server.report().sources.into_iter().map(share).collect(),
            emulated_by: std::env::var(EMULATED_BY).ok(),
            label: std::env::var_os(EMULATED_BY).map(|_| EMULATED),
        });
    }
    Ok(())
}
