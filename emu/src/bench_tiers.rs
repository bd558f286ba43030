//! Attach and first reply of one function's template from each tier that this machine has, beside CRIU.
//!
//! Every start makes a new sandbox. When it has answered, rightly, the pages that it has touched are counted: for tiers
//! that are mapped from the process's page tables, for those that are served from the page server's counts. When a
//! tier is done, every page that it holds is compared with the template's table: what functions wrote has not
//! reached it.

use std::cell::Cell;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::criu::{Criu, Dump, Way};
use crate::functions::{self, Places};
use crate::guest::node::EMULATED_BY;
use crate::pager::source::spec::{OpenSource, SourceSpec};
use crate::pager::{self, Client, Mode, Options, Server};
use crate::pool::device::Device;
use crate::pool::folder::{self, Folder};
use crate::pool::node;
use crate::pool::rdma::{self, Key, Remote};
use crate::pool::survey::survey;
use crate::sandbox::{Base, Config, Manager, Mode as Isolation, Sandbox};
use crate::template::pages::{PageTable, TABLE};
use crate::template::{Backing, Prepared, Scratch, Served, Store, Subject, Template, usage};

const PAGE: u64 = 4096;
/// Calls before a function is captured or dumped.
const WARM_UPS: u32 = 3;

/// Where pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Local memory, mapped.
    Dram,
    /// Files on a CXL device, mapped without a page cache.
    CxlFsdax,
    /// Files on a node of CXL memory that the kernel has made system memory, mapped.
    CxlNode,
    /// A CXL device as a whole, by a page server: copies.
    CxlDevdax,
    /// A pool on another host by RDMA, by a page server: a page at each fault, into a cache that all processes share.
    RdmaLazy,
    /// The same, sixteen pages at a fault.
    RdmaBatch,
    /// The same sixteen, copied into each process, as published.
    RdmaPrivate,
    /// CRIU's images, read at the restore.
    Criu,
    /// CRIU's images, read when pages are touched.
    CriuLazy,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Dram,
        Self::CxlFsdax,
        Self::CxlNode,
        Self::CxlDevdax,
        Self::RdmaLazy,
        Self::RdmaBatch,
        Self::RdmaPrivate,
        Self::Criu,
        Self::CriuLazy,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dram => "dram",
            Self::CxlFsdax => "cxl-fsdax",
            Self::CxlNode => "cxl-node",
            Self::CxlDevdax => "cxl-devdax",
            Self::RdmaLazy => "rdma-lazy",
            Self::RdmaBatch => "rdma-batch",
            Self::RdmaPrivate => "rdma-private",
            Self::Criu => "criu",
            Self::CriuLazy => "criu-lazy",
        }
    }
}

/// What to measure, and where the tiers are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Functions and images.
    pub places: Places,
    /// The function.
    pub function: String,
    /// Tiers.
    pub tiers: Vec<Tier>,
    /// Starts from each.
    pub starts: u32,
    /// A file system on a CXL device, mounted with `dax=always`.
    pub fsdax: Option<PathBuf>,
    /// A tmpfs that is bound to a node of CXL memory.
    pub node: Option<PathBuf>,
    /// A CXL device as a whole, formatted.
    pub devdax: Option<PathBuf>,
    /// A pool that serves the templates on that device by RDMA, and the file with its key.
    pub rdma: Option<(SocketAddr, PathBuf)>,
}

/// What one tier gave: medians over its starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Name of the tier.
    pub tier: String,
    /// Why there are no figures.
    pub not_run: Option<String>,
    /// Starts; each answered rightly.
    pub starts: u32,
    /// From the call until the function can go on, ms.
    pub attach_ms: f64,
    /// The first request, to its reply, ms.
    pub reply_ms: f64,
    /// Pages that came from the tier until then.
    pub pages: u64,
    /// The same of the first start, which finds no page that an earlier one has fetched.
    pub first_pages: u64,
    /// After the reply: memory of its own, bytes.
    pub private_bytes: u64,
    /// After the reply: its share of all memory, bytes.
    pub proportional_bytes: u64,
    /// Pages of the tier that were compared with what they have to be, after all starts.
    pub verified: u64,
    /// In a guest of the lab: what runs it. Times are then those of an emulation.
    pub emulated_by: Option<String>,
}

/// What one start gave.
struct Sample {
    attach: Duration,
    reply: Duration,
    pages: u64,
    memory: usage::MemoryUse,
}

type Failure = Box<dyn std::error::Error>;

/// Measures each tier; what one lacks is noted in its row.
///
/// # Errors
/// If the function is not set up, or cannot be captured.
pub fn run(settings: &Settings) -> Result<Vec<Row>, Failure> {
    let spec = functions::find(&settings.places, &settings.function)?.locate(&settings.places)?;
    let subject = Subject::from(spec);
    let mut config = Config::new(Isolation::New);
    config.base = Base::Image(settings.places.image());
    let manager = Manager::start(config)?;
    let scratch = Scratch::new()?;
    let (sandbox, template) = subject.capture(&manager, scratch.store(), WARM_UPS)?;
    manager.destroy(sandbox);
    let bench = Bench { settings, subject, manager, template, filled: Cell::new(false) };
    Ok(settings
        .tiers
        .iter()
        .map(|tier| {
            eprintln!("{}", tier.name());
            let (not_run, samples, verified) = match bench.measure(*tier) {
                Ok((samples, verified)) => (None, samples, verified),
                Err(error) => (Some(error.to_string()), Vec::new(), 0),
            };
            row(*tier, not_run, &samples, verified)
        })
        .collect())
}

struct Bench<'a> {
    settings: &'a Settings,
    subject: Subject,
    manager: Manager,
    template: Template,
    /// The template is on the device.
    filled: Cell<bool>,
}

impl Bench<'_> {
    fn measure(&self, tier: Tier) -> Result<(Vec<Sample>, u64), Failure> {
        match tier {
            Tier::Dram => self.mapped(&self.template, None),
            Tier::CxlFsdax => {
                let mount = self.settings.fsdax.as_ref().ok_or("no file system on a CXL device was named")?;
                self.mapped(&self.put(mount)?, None)
            }
            Tier::CxlNode => {
                let mount =
                    self.settings.node.as_ref().ok_or("no tmpfs of a node of CXL memory was named")?;
                let nodes =
                    node::bound_nodes(mount)?.ok_or("the tmpfs is not bound to a node of CXL memory")?;
                self.mapped(&self.put(mount)?, Some(&nodes))
            }
            Tier::CxlDevdax => self.devdax(),
            Tier::RdmaLazy => self.rdma(Mode::Shared, 1),
            Tier::RdmaBatch => self.rdma(Mode::Shared, 16),
            Tier::RdmaPrivate => self.rdma(Mode::Private, 16),
            Tier::Criu => self.criu(Way::Plain),
            Tier::CriuLazy => self.criu(Way::Lazy),
        }
    }

    /// The template, in CXL memory.
    fn put(&self, mount: &Path) -> Result<Template, Failure> {
        folder::fill(mount, self.template.id(), self.template.folder())?;
        let template = Store::open(mount)?.find(self.template.id())?;
        // Refuses one that has a page cache in between.
        drop(Folder::open(template.folder())?);
        Ok(template)
    }

    /// Starts from a template that is mapped, whose pages have to lie on one of these nodes if some are given.
    fn mapped(&self, template: &Template, nodes: Option<&[u32]>) -> Result<(Vec<Sample>, u64), Failure> {
        let prepared = Prepared::new(template, Backing::Map)?;
        let path = template.folder().join(crate::template::pages::PAGES);
        let file = fs::metadata(&path)?;
        // What processes read of the gaps comes from their own node.
        let gaps = file.len() / PAGE - template.manifest().pages.present;
        let mut samples = Vec::new();
        for _ in 0..self.settings.starts {
            let began = Instant::now();
            let attached = prepared.start(&self.manager, None, &self.subject.program, None)?;
            let attach = began.elapsed();
            let count = |pid| {
                nodes.map_or(Ok(()), |nodes| check_nodes(pid, file.ino(), nodes, gaps))?;
                touched(pid, file.ino())
            };
            samples.push(self.first_reply(attached.sandbox, attach, count)?);
        }
        template.verify()?;
        Ok((samples, template.manifest().pages.present))
    }

    /// The device, with the template on it.
    fn device(&self) -> Result<&Path, Failure> {
        let device = self.settings.devdax.as_ref().ok_or("no CXL device was named")?;
        if !self.filled.replace(true) {
            Device::open_mut(device)?.fill(self.template.id(), self.template.folder())?;
        }
        Ok(device)
    }

    fn devdax(&self) -> Result<(Vec<Sample>, u64), Failure> {
        let device = self.device()?;
        let samples = self.served(&format!("devdax:{}", device.display()), Options::new(Mode::Private))?;
        let survey = survey(&mut Device::open(device)?.template(self.template.id())?, 64)?;
        Ok((samples, survey.pages))
    }

    fn rdma(&self, mode: Mode, batch: usize) -> Result<(Vec<Sample>, u64), Failure> {
        let (address, key) = self.settings.rdma.as_ref().ok_or("no pool was named")?;
        self.device()?;
        let source = format!("rdma:{address},key={}", key.display());
        let samples = self.served(&source, Options { batch, ..Options::new(mode) })?;
        let table = PageTable::read(&self.template.folder().join(TABLE))?;
        let (key, root) = (Key::read(key)?, *table.root().as_bytes());
        let remote = Remote { address: *address, key, root, patience: Duration::from_secs(20) };
        let survey = survey(&mut rdma::Client::connect(remote)?, 16)?;
        Ok((samples, survey.pages))
    }

    /// Starts that a page server serves from this source.
    fn served(&self, source: &str, options: Options) -> Result<Vec<Sample>, Failure> {
        let source: SourceSpec = source.parse()?;
        let socket = std::env::temp_dir().join(format!("trenvx-tiers-{}", std::process::id()));
        let sources = vec![Arc::new(source) as Arc<dyn OpenSource>];
        let server = Server::start(pager::Config::new(socket.clone(), sources))?;
        let client = Client::connect(&socket)?;
        let faults = File::options().read(true).write(true).open("/dev/userfaultfd")?;
        let served =
            Served { client: &client, folder: self.template.folder(), options, device: faults.as_fd() };
        let backing = if options.mode == Mode::Shared { Backing::FaultShared } else { Backing::Fault };
        let prepared = Prepared::new(&self.template, backing)?;
        let fetched = || server.report().sources.iter().map(|source| source.counts.pages).sum::<u64>();
        let mut samples = Vec::new();
        for _ in 0..self.settings.starts {
            let (before, began) = (fetched(), Instant::now());
            let program = &self.subject.program;
            let (attached, _attachment) = prepared.start_served(&self.manager, None, program, &served)?;
            let attach = began.elapsed();
            samples.push(self.first_reply(attached.sandbox, attach, |_| Ok(fetched() - before))?);
        }
        Ok(samples)
    }

    fn criu(&self, way: Way) -> Result<(Vec<Sample>, u64), Failure> {
        let criu = Criu::find(&self.settings.places.out);
        if let Some(why) = criu.lacking() {
            return Err(why.into());
        }
        let dump = Dump::new(&criu, &self.subject, &self.settings.places.image(), WARM_UPS, true)?;
        let compared = dump.compare(dump.restore(way)?.pid())?;
        let mut samples = Vec::new();
        for _ in 0..self.settings.starts {
            let mut restored = dump.restore(way)?;
            let called = Instant::now();
            restored.call(&self.subject.inputs.base)?;
            let reply = called.elapsed();
            samples.push(Sample {
                attach: restored.sandbox + restored.engine,
                reply,
                pages: restored.handed_over()?.unwrap_or(dump.image_pages),
                memory: restored.memory()?,
            });
        }
        Ok((samples, compared))
    }

    fn first_reply(
        &self,
        mut sandbox: Sandbox,
        attach: Duration,
        pages: impl Fn(i32) -> std::io::Result<u64>,
    ) -> Result<Sample, Failure> {
        let called = Instant::now();
        self.subject.call(&mut sandbox, &self.subject.inputs.base)?;
        let reply = called.elapsed();
        let pid =
            sandbox.function().and_then(crate::sandbox::Function::pid).ok_or("the function has ended")?;
        let sample = Sample { attach, reply, pages: pages(pid)?, memory: usage::of(pid)? };
        self.manager.destroy_now(sandbox)?;
        Ok(sample)
    }
}

/// The addresses of a process's mappings of a file, as text.
fn mappings(pid: i32, inode: u64) -> std::io::Result<Vec<(String, String)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let of_file = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        (words.nth(3)?.parse() == Ok(inode)).then(|| (from.to_owned(), to.to_owned()))
    };
    Ok(maps.lines().filter_map(of_file).collect())
}

/// Pages that a process has in its mappings of a file, its own copies of them included: each was read from there.
fn touched(pid: i32, inode: u64) -> std::io::Result<u64> {
    let table = File::open(format!("/proc/{pid}/pagemap"))?;
    let mut count = 0;
    for (from, to) in mappings(pid, inode)? {
        let number = |text: &str| u64::from_str_radix(text, 16).map_err(std::io::Error::other);
        let (first, last) = (number(&from)? / PAGE, number(&to)? / PAGE);
        let mut entries = vec![0; ((last - first) * 8) as usize];
        table.read_exact_at(&mut entries, first * 8)?;
        // The highest bit of an entry: the page is there.
        count += entries.as_chunks::<8>().0.iter().filter(|entry| entry[7] & 0x80 != 0).count() as u64;
    }
    Ok(count)
}

/// That the pages of a file that a process has mapped lie on one of these nodes, but for gaps, and its own copies elsewhere.
fn check_nodes(pid: i32, inode: u64, nodes: &[u32], gaps: u64) -> std::io::Result<()> {
    let starts = mappings(pid, inode)?.into_iter().map(|(from, _)| from).collect();
    let maps = fs::read_to_string(format!("/proc/{pid}/numa_maps"))?;
    let (by_node, own) = node::pages_by_node(&maps, &starts);
    let all: u64 = by_node.values().sum();
    let there: u64 = nodes.iter().filter_map(|node| by_node.get(node)).sum();
    if there == 0 || there + own > all || there + own + gaps < all {
        let what = format!(
            "pages of the template should be on nodes {nodes:?}, and {own} copies elsewhere, and it is {by_node:?}"
        );
        return Err(std::io::Error::other(what));
    }
    Ok(())
}

fn row(tier: Tier, not_run: Option<String>, samples: &[Sample], verified: u64) -> Row {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let of = |part: fn(&Sample) -> f64| median(samples.iter().map(part).collect());
    Row {
        tier: tier.name().to_owned(),
        not_run,
        starts: samples.len() as u32,
        attach_ms: of(|sample| sample.attach.as_secs_f64() * 1e3),
        reply_ms: of(|sample| sample.reply.as_secs_f64() * 1e3),
        pages: of(|sample| sample.pages as f64) as u64,
        first_pages: samples.first().map_or(0, |sample| sample.pages),
        private_bytes: of(|sample| sample.memory.private_bytes as f64) as u64,
        proportional_bytes: of(|sample| sample.memory.proportional_bytes as f64) as u64,
        verified,
        emulated_by: std::env::var(EMULATED_BY).ok(),
    }
}
