//! What a start from a template costs, beside the ways that it competes with, in the same run.
//!
//! Every start is timed from the manager's call, and happens in a used sandbox, which is repurposed for it, but for two:
//! a cold start has to have a sandbox made, and CRIU's happen in new namespaces with a root of their own, without
//! network, limits or filters (what they have less is in their favour). Engines take turns, so that a disturbance of
//! the machine meets all of them. *Ready* is when the function waits for a request, with everything imported and
//! initialised; *first reply* includes the first request, with its checked answer. What the function itself takes for
//! a request is the same by every engine: the *warm* call is a second one, and *overhead* is the time to the first
//! reply without it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bench_sandbox::Quantiles;
use crate::criu::{self, Criu, Dump};
use crate::pager::Fate;
use crate::sandbox::steps::now;
use crate::sandbox::{Base, Config, Limits, Manager, Program, Sandbox};
use crate::template::{Backing, Error, Prepared, Store, Subject, Template, inspect, usage};

mod goals;
mod many;
pub(crate) mod served;
mod synthetic;
mod text;

pub use goals::goals;
pub use many::{Many, many};
pub use synthetic::{synthetic, synthetic_named, synthetic_node};
pub use text::{csv, table};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(120);

/// How a function comes to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// A template by private mappings.
    Attach,
    /// A template, copied.
    AttachCopy,
    /// A template whose pages a page server copies when they are touched, from this machine's memory.
    Fault,
    /// The same, from a cache that all processes of the template share.
    FaultShared,
    /// The same as `Fault`, with pages that come over TCP (of the loopback interface).
    FaultTcp,
    /// The same as `Fault`, with the pages that a process touched before installed at once, as REAP does.
    FaultReplay,
    /// Executed and initialised in a new sandbox.
    Cold,
    /// The same in a used sandbox.
    Boot,
    /// Forked from a process of the same function that waits in the sandbox: CPython with one thread only.
    Zygote,
    /// Restored by CRIU from its own images.
    Criu,
    /// The same, with pages on demand.
    CriuLazy,
    /// Restored by CRIU from images whose memory is mapped from a template.
    CriuAttach,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Attach,
        Self::AttachCopy,
        Self::Fault,
        Self::FaultShared,
        Self::FaultTcp,
        Self::FaultReplay,
        Self::Cold,
        Self::Boot,
        Self::Zygote,
        Self::Criu,
        Self::CriuLazy,
        Self::CriuAttach,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::AttachCopy => "attach-copy",
            Self::Fault => "fault",
            Self::FaultShared => "fault-shared",
            Self::FaultTcp => "fault-tcp",
            Self::FaultReplay => "fault-replay",
            Self::Cold => "cold",
            Self::Boot => "boot",
            Self::Zygote => "zygote",
            Self::Criu => "criu",
            Self::CriuLazy => "criu-lazy",
            Self::CriuAttach => "criu-attach",
        }
    }

    /// How CRIU restores, if it does.
    fn criu(self) -> Option<criu::Way> {
        match self {
            Self::Criu => Some(criu::Way::Plain),
            Self::CriuLazy => Some(criu::Way::Lazy),
            Self::CriuAttach => Some(criu::Way::Attach),
            _ => None,
        }
    }

    /// Whether a page server brings its pages.
    fn is_served(self) -> bool {
        matches!(self, Self::Fault | Self::FaultShared | Self::FaultTcp | Self::FaultReplay)
    }
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Launcher and base image.
    pub config: Config,
    /// Where templates are put.
    pub store: Store,
    /// Functions.
    pub subjects: Vec<Subject>,
    /// Engines to compare.
    pub engines: Vec<Engine>,
    /// Starts of each function by each engine; a tenth of it, at least 3, by those that take long.
    pub starts: usize,
    /// Calls before a function is captured.
    pub warm_ups: u32,
    /// Pages that a page server installs for one fault.
    pub batch: usize,
    /// Which CRIU.
    pub criu: Criu,
}

/// One function by one engine.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Function.
    pub function: String,
    /// Engine.
    pub engine: Engine,
    /// Why there are no figures.
    pub not_run: Option<String>,
    /// Starts that were timed; each answered rightly.
    pub starts: usize,
    /// Pages of the template, bytes.
    pub footprint_bytes: u64,
    /// Threads of the template.
    pub threads: usize,
    /// The sandbox: from the call until the new process is the engine's.
    pub sandbox: Quantiles,
    /// The engine: from there until the function can go on.
    pub engine_time: Quantiles,
    /// From the call until the function waits for a request.
    pub ready: Quantiles,
    /// From the request to its reply.
    pub reply: Quantiles,
    /// The same of a second request.
    pub warm_reply: Quantiles,
    /// From the call to the first reply.
    pub first_reply: Quantiles,
    /// The same without what the second request took; nothing where there was none.
    pub overhead: Quantiles,
    /// Steps of an attach: medians, microseconds.
    pub steps: BTreeMap<&'static str, f64>,
    /// After the first reply: memory of its own, median, bytes.
    pub private_bytes: u64,
    /// After the first reply: its share of all memory, median, bytes.
    pub proportional_bytes: u64,
}

/// What one start gave.
#[derive(Clone, Debug, Default)]
struct Sample {
    sandbox: u64,
    engine: u64,
    ready: u64,
    reply: u64,
    warm: u64,
    steps: Vec<(&'static str, Duration)>,
    private: u64,
    proportional: u64,
}

/// Measures everything.
///
/// # Errors
/// If a function cannot be started, captured or attached, or answers wrongly.
pub fn run(settings: &Settings) -> Result<Vec<Row>, Error> {
    let manager = Manager::start(settings.config.clone())?;
    let mut rows = Vec::new();
    for subject in &settings.subjects {
        let mut bench = Bench::new(&manager, settings, subject)?;
        let mut samples: Vec<Vec<Sample>> = settings.engines.iter().map(|_| Vec::new()).collect();
        let reasons: Vec<_> = settings
            .engines
            .iter()
            .map(|engine| {
                let refused = bench.refuses(*engine).or_else(|| bench.lacks_dump(*engine, settings));
                refused.or_else(|| bench.lacks_server(*engine, settings.batch))
            })
            .collect();
        // Each engine's first start is not counted: it makes the sandbox that the next ones use.
        for (engine, reason) in settings.engines.iter().zip(&reasons) {
            if reason.is_none() {
                bench.start(*engine)?;
            }
        }
        // Fewer than six have no interval of their median.
        let few = (settings.starts / 10).max(6);
        for nth in 0..settings.starts {
            for ((engine, samples), reason) in settings.engines.iter().zip(&mut samples).zip(&reasons) {
                // Copies of a large template take long; so do processes that start from nothing.
                let long = [Engine::Cold, Engine::Boot, Engine::AttachCopy, Engine::Criu, Engine::CriuLazy];
                let seldom = long.contains(engine) && nth >= few;
                if reason.is_none() && !seldom {
                    samples.push(bench.start(*engine)?);
                }
            }
        }
        let (held, threads) = {
            let manifest = bench.template.manifest();
            (inspect::sizes(manifest).held, manifest.threads.len())
        };
        for ((engine, samples), reason) in settings.engines.iter().zip(samples).zip(reasons) {
            rows.push(row(&subject.name, *engine, reason, &samples, held, threads));
        }
        bench.end();
    }
    Ok(rows)
}

/// One function.
struct Bench<'a> {
    manager: &'a Manager,
    subject: &'a Subject,
    template: Template,
    map: Prepared,
    copy: Prepared,
    served: BTreeMap<Engine, served::Way>,
    zygote: Option<Sandbox>,
    /// Images for CRIU, or why there are none.
    dump: Option<Result<Dump, String>>,
    /// The used sandbox of each engine, in which its last function still is: what one start leaves to the next is
    /// its own, such as memory that has to be given back first.
    used: BTreeMap<Engine, Sandbox>,
}

impl<'a> Bench<'a> {
    fn new(manager: &'a Manager, settings: &Settings, subject: &'a Subject) -> Result<Self, Error> {
        let (captured, template) = subject.capture(manager, &settings.store, settings.warm_ups)?;
        manager.destroy(captured);
        let map = Prepared::new(&template, Backing::Map)?;
        let copy = Prepared::new(&template, Backing::Copy)?;
        manager.prepare(&subject.program);
        manager.settle();
        Ok(Self {
            manager,
            subject,
            template,
            map,
            copy,
            served: BTreeMap::new(),
            zygote: None,
            dump: None,
            used: BTreeMap::new(),
        })
    }

    fn end(self) {
        drop((self.zygote, self.used));
        self.manager.settle();
    }

    /// Why an engine cannot run this function here.
    fn refuses(&mut self, engine: Engine) -> Option<String> {
        match engine {
            Engine::Attach | Engine::AttachCopy | Engine::Cold | Engine::Boot => None,
            Engine::Fault | Engine::FaultShared | Engine::FaultTcp | Engine::FaultReplay => {
                crate::doctor::lacking(served::NEEDS)
            }
            Engine::Zygote => match synthetic::zygote(self.subject) {
                Some(program) if self.template.manifest().threads.len() == 1 => {
                    match self.start_zygote(&program) {
                        Ok(()) => None,
                        Err(error) => Some(error.to_string()),
                    }
                }
                _ => Some("only CPython with one thread can be forked".into()),
            },
            Engine::Criu | Engine::CriuLazy | Engine::CriuAttach => None,
        }
    }

    /// Has the function dumped for an engine that is CRIU, and restores a first one; why it cannot be used.
    fn lacks_dump(&mut self, engine: Engine, settings: &Settings) -> Option<String> {
        let way = engine.criu()?;
        let dump = self.dump.get_or_insert_with(|| {
            let Base::Image(image) = &settings.config.base else {
                return Err("it restores functions of the base image only: scripts/setup --functions".into());
            };
            if let Some(why) = settings.criu.lacking() {
                return Err(why);
            }
            let dump = Dump::new(&settings.criu, self.subject, image, settings.warm_ups, false);
            dump.map_err(|error| error.to_string())
        });
        match dump {
            Err(why) => Some(why.clone()),
            // The first restore rewrites images, or has CRIU find out about the kernel.
            Ok(dump) => {
                let first = dump.restore(way).and_then(|mut one| one.call(&self.subject.inputs.base));
                first.err().map(|error| error.to_string())
            }
        }
    }

    fn start_zygote(&mut self, program: &Program) -> Result<(), Error> {
        let mut sandbox = self.manager.create(program)?;
        self.subject.ready(&mut sandbox)?;
        self.zygote = Some(sandbox);
        Ok(())
    }

    /// Starts the page server of an engine that has one, and serves a first process; why it cannot be used.
    fn lacks_server(&mut self, engine: Engine, batch: usize) -> Option<String> {
        if !engine.is_served() {
            return None;
        }
        let mut ready = || -> Result<served::Way, Error> {
            let mut way = served::Way::new(&self.template, engine, batch)?;
            let replays = engine == Engine::FaultReplay;
            if replays {
                way.record();
            }
            // The first process has the server load the template, which is no part of a start.
            let (mut attached, _) = way.start(self.manager, None, &self.subject.program)?;
            self.subject.call(&mut attached.sandbox, &self.subject.inputs.base)?;
            if replays {
                // The record is written when the process ends.
                self.manager.destroy(attached.sandbox);
                self.manager.settle();
                way.replay(batch)?;
            } else {
                self.used.insert(engine, attached.sandbox);
            }
            Ok(way)
        };
        match ready() {
            Ok(way) => {
                self.served.insert(engine, way);
                None
            }
            Err(error) => Some(error.to_string()),
        }
    }

    fn start(&mut self, engine: Engine) -> Result<Sample, Error> {
        match engine {
            Engine::Attach
            | Engine::AttachCopy
            | Engine::Fault
            | Engine::FaultShared
            | Engine::FaultTcp
            | Engine::FaultReplay => self.attach(engine),
            Engine::Cold => self.cold(),
            Engine::Boot => self.boot(),
            Engine::Zygote => self.fork(),
            Engine::Criu | Engine::CriuLazy | Engine::CriuAttach => self.restore(engine),
        }
    }

    /// By CRIU: namespaces and a root of its own, and no used sandbox.
    fn restore(&mut self, engine: Engine) -> Result<Sample, Error> {
        let (Some(way), Some(Ok(dump))) = (engine.criu(), &self.dump) else {
            unreachable!("an engine without images was refused before")
        };
        let base = &self.subject.inputs.base;
        let restored = || -> Result<Sample, criu::Error> {
            let mut restored = dump.restore(way)?;
            let time = |since| now() - since;
            let called = now();
            restored.call(base)?;
            let reply = time(called);
            let memory = restored.memory()?;
            let called = now();
            restored.call(base)?;
            let [sandbox, engine] =
                [restored.sandbox, restored.engine].map(|part| u64::try_from(part.as_nanos()).unwrap_or(0));
            Ok(Sample {
                sandbox,
                engine,
                ready: sandbox + engine,
                reply,
                warm: time(called),
                private: memory.private_bytes,
                proportional: memory.proportional_bytes,
                ..Sample::default()
            })
        };
        let function = || self.subject.name.clone();
        restored().map_err(|error| Error::Wrong { function: function(), what: error.to_string() })
    }

    fn attach(&mut self, engine: Engine) -> Result<Sample, Error> {
        let used = self.used.remove(&engine);
        let program = &self.subject.program;
        let began = now();
        let (attached, attachment) = match (self.served.get(&engine), engine) {
            (Some(way), _) => {
                let (attached, attachment) = way.start(self.manager, used, program)?;
                (attached, Some(attachment))
            }
            (None, Engine::AttachCopy) => (self.copy.start(self.manager, used, program, None)?, None),
            (None, _) => (self.map.start(self.manager, used, program, None)?, None),
        };
        let ready = now();
        let (first, last) = attached.moments;
        let steps = attached.steps;
        let mut sample = Sample {
            sandbox: first.saturating_sub(began),
            engine: last.saturating_sub(first),
            ready: ready - began,
            steps: vec![
                ("files", steps.files),
                ("program", steps.program),
                ("unmap", steps.unmap),
                ("map", steps.map),
                ("threads", steps.threads),
                ("seal", steps.seal),
            ],
            ..Sample::default()
        };
        let mut sandbox = attached.sandbox;
        let called = self.first_call(&mut sandbox, &mut sample);
        if called.is_ok() {
            self.used.insert(engine, sandbox);
        }
        // A process without its pages has ended; its server knows why.
        let fate =
            attachment.filter(|_| called.is_err()).and_then(|served| served.fate(Duration::from_secs(1)));
        match (called, fate) {
            (Err(error), Some(Fate::Ended(why))) => {
                let function = self.subject.name.clone();
                Err(Error::Wrong { function, what: format!("{error}; the page server ended it: {why}") })
            }
            (called, _) => called.map(|()| sample),
        }
    }

    fn cold(&mut self) -> Result<Sample, Error> {
        let began = now();
        let sandbox = self.manager.create(&self.subject.program)?;
        let (sample, made) = self.initialise(began, sandbox)?;
        self.manager.destroy_now(made)?;
        self.manager.settle();
        Ok(sample)
    }

    fn boot(&mut self) -> Result<Sample, Error> {
        let used = self.used.remove(&Engine::Boot);
        let began = now();
        let sandbox = match used {
            Some(used) => self.manager.repurpose(used, &self.subject.program)?,
            None => self.manager.create(&self.subject.program)?,
        };
        let (sample, sandbox) = self.initialise(began, sandbox)?;
        self.used.insert(Engine::Boot, sandbox);
        Ok(sample)
    }

    /// A process that was just executed becomes ready and answers.
    fn initialise(&self, began: u64, mut sandbox: Sandbox) -> Result<(Sample, Sandbox), Error> {
        let made = now();
        self.subject.ready(&mut sandbox)?;
        let ready = now();
        let mut sample =
            Sample { sandbox: made - began, engine: ready - made, ready: ready - began, ..Sample::default() };
        self.first_call(&mut sandbox, &mut sample)?;
        Ok((sample, sandbox))
    }

    /// The first call, and what the process holds after it.
    fn first_call(&self, sandbox: &mut Sandbox, sample: &mut Sample) -> Result<(), Error> {
        let called = now();
        self.subject.call(sandbox, &self.subject.inputs.base)?;
        sample.reply = now() - called;
        let pid = sandbox.function().and_then(crate::sandbox::Function::pid);
        if let Some(memory) = pid.and_then(|pid| usage::of(pid).ok()) {
            (sample.private, sample.proportional) = (memory.private_bytes, memory.proportional_bytes);
        }
        let called = now();
        self.subject.call(sandbox, &self.subject.inputs.base)?;
        sample.warm = now() - called;
        // The next start finds a root, as it would on a platform that is not starting all the time.
        self.manager.settle();
        Ok(())
    }

    /// A fork answers the request itself: there is no moment at which it waits.
    fn fork(&mut self) -> Result<Sample, Error> {
        let subject = self.subject;
        let zygote = self.zygote.as_mut().expect("a zygote that was started");
        let began = now();
        subject.call(zygote, &subject.inputs.base)?;
        let ended = now();
        let channel = &mut zygote.function_mut().expect("a zygote that has just answered").channel;
        let failed = |what: String| Error::Wrong { function: subject.name.clone(), what };
        let line = channel.line(WITHIN).map_err(|failure| failed(failure.to_string()))?;
        let memory: Value = serde_json::from_slice(&line).map_err(|error| failed(error.to_string()))?;
        let kib = |name: &str| memory[name].as_u64().unwrap_or(0) << 10;
        Ok(Sample {
            reply: ended - began,
            private: kib("private_kib"),
            proportional: kib("proportional_kib"),
            ..Sample::default()
        })
    }
}

fn row(
    function: &str,
    engine: Engine,
    not_run: Option<String>,
    samples: &[Sample],
    footprint_bytes: u64,
    threads: usize,
) -> Row {
    let of = |part: fn(&Sample) -> u64| {
        crate::bench_sandbox::quantiles(
            samples.iter().map(|sample| Duration::from_nanos(part(sample))).collect(),
        )
    };
    let median = |part: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = samples.iter().map(part).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0)
    };
    let mut steps: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for (name, time) in samples.iter().flat_map(|sample| &sample.steps) {
        steps.entry(name).or_default().push(*time);
    }
    Row {
        function: function.to_owned(),
        engine,
        not_run,
        starts: samples.len(),
        footprint_bytes,
        threads,
        sandbox: of(|sample| sample.sandbox),
        engine_time: of(|sample| sample.engine),
        ready: of(|sample| sample.ready),
        reply: of(|sample| sample.reply),
        warm_reply: of(|sample| sample.warm),
        first_reply: of(|sample| sample.ready + sample.reply),
        overhead: of(|sample| match sample.warm {
            0 => 0,
            warm => (sample.ready + sample.reply).saturating_sub(warm),
        }),
        steps: steps
            .into_iter()
            .map(|(name, times)| (name, crate::bench_sandbox::quantiles(times).median_us))
            .collect(),
        private_bytes: median(|sample| sample.private),
        proportional_bytes: median(|sample| sample.proportional),
    }
}

/// Loose limits for functions whose memory is the point.
fn roomy(program: Program) -> Program {
    Program { limits: Limits { memory_bytes: Some(8 << 30), ..program.limits }, ..program }
}

/// An input whose answer must hold `value` at `/n`.
fn input(value: u64) -> Value {
    json!({ "input": {}, "expect": [{ "at": "/n", "equal": value }] })
}
