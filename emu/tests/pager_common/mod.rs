//! What tests of the page server share.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use emu::pager::export::{Export, Exported};
use emu::pager::lab::tasks::{Task, Touch, touch_hash};
use emu::pager::lab::{Child, fork, random_pages, template_page, write_template};
use emu::pager::memory::Page;
use emu::pager::source::dram::Dram;
use emu::pager::source::spec::{OpenSource, SourceSpec};
use emu::pager::{Client, Config, Mode, Options, Placement, Server};
use emu::template::pages::{PAGES as PAGES_FILE, PageTable, TABLE};
use tempfile::TempDir;

/// What the page server needs of a machine.
pub const NEEDS: &[&str] = &["root", "userfaultfd", "userfaultfd-minor", "pidfd"];
pub const MODES: [Mode; 2] = [Mode::Private, Mode::Shared];
pub const SOON: Duration = Duration::from_secs(10);
/// Pages of the usual template; every seventh is zeros.
pub const PAGES: usize = 256;

/// A folder with a template, and room for a socket.
pub struct Place {
    pub folder: TempDir,
    pub template: PathBuf,
    pub pages: Vec<Page>,
}

impl Place {
    pub fn new() -> Self {
        Self::of(random_pages(7, PAGES, 7))
    }

    pub fn of(pages: Vec<Page>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("template");
        write_template(&template, &pages).unwrap();
        Self { folder, template, pages }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn config(&self, sources: &[&str]) -> Config {
        let opened = sources
            .iter()
            .map(|source| Arc::new(source.parse::<SourceSpec>().unwrap()) as Arc<dyn OpenSource>);
        let mut config = Config::new(self.socket(), opened.collect());
        config.placement = Placement::Float;
        config
    }

    pub fn serve(&self, sources: &[&str]) -> (Server, Client) {
        self.serve_with(self.config(sources))
    }

    pub fn serve_with(&self, config: Config) -> (Server, Client) {
        let server = Server::start(config).unwrap();
        let client = Client::connect(&self.socket()).unwrap();
        (server, client)
    }

    /// What [`touch`] is to add up to in an arena that shows all pages in so many parts.
    pub fn expected(&self, touched: impl IntoIterator<Item = usize>, parts: usize) -> u64 {
        expected(&self.pages, touched, parts)
    }
}

pub fn expected(pages: &[Page], touched: impl IntoIterator<Item = usize>, parts: usize) -> u64 {
    let word = |page: usize| {
        let shown = pages[template_page(page, pages.len(), parts)];
        (page, u64::from_le_bytes(shown[..8].try_into().unwrap()))
    };
    touch_hash(touched.into_iter().map(word))
}

/// Touches a range in a shuffled order.
pub fn touch(first: usize, count: usize) -> Task {
    Task::Touch(Touch { shuffled: true, ..Touch::all(first, count) })
}

pub fn batch(mode: Mode, batch: usize) -> Options {
    Options { batch, ..Options::new(mode) }
}

pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + SOON;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until a count is what is expected: a thread is woken by its page a moment before that is counted.
#[track_caller]
pub fn reaches<T: PartialEq + std::fmt::Debug>(expected: &T, mut count: impl FnMut() -> T) {
    let end = std::time::Instant::now() + SOON;
    loop {
        let found = count();
        if found == *expected {
            return;
        }
        assert!(std::time::Instant::now() < end, "expected {expected:?}, and it stays {found:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Gives the template away at a port of the loopback interface.
pub fn export(place: &Place) -> Export {
    let table = PageTable::read(&place.template.join(TABLE)).unwrap();
    let file = File::open(place.template.join(PAGES_FILE)).unwrap();
    let source = Arc::new(Dram::open(&file, &table).unwrap());
    Export::start("127.0.0.1:0", vec![Exported { root: table.root(), source }]).unwrap()
}

/// A server in a process of its own, which can be killed.
pub fn server_process(config: Config) -> Child {
    let path = config.socket.clone();
    let child = fork(&[], move |_| {
        let _server = Server::start(config).map_err(|error| error.to_string())?;
        loop {
            std::thread::park();
        }
    })
    .unwrap();
    eventually("the server listens", || Client::connect(&path).is_ok());
    child
}
