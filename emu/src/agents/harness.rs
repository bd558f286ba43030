//! Runs agents at once, and records what they cost.
//!
//! Each agent runs in a place of its own ([`System`]), and knows the addresses of the model, the site and the broker.
//! Agents are taken in turn from the given ones, and their recordings in turn from the run's seed on. An agent that
//! does not end in time is killed; what goes wrong with one is its own outcome, and the others go on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::browser::{Broker, Limits};
use super::llm::Llm;
use super::pace::Rates;
use super::place::{self, Done, Ended, Guests, Job, Place, Seat, System, Told};
use super::recording::Recording;
use super::report::{Report, Row, Sample, Spent};
use super::site::Site;
use super::ward::Ward;
use super::{Error, Manifest, browser};

/// In what steps the end is looked for between two looks at memory.
const STEP: Duration = Duration::from_millis(5);

/// The longest deadline: one more, and there is no such moment.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How much longer browsers may take in guests of software emulation.
const EMULATED: u32 = 20;

/// A run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The agents, taken in turn.
    pub agents: Vec<Manifest>,
    /// How many run at once.
    pub count: usize,
    /// How many of those with a browser share one.
    pub per_browser: usize,
    /// Rates of the model.
    pub rates: Rates,
    /// With which recording the first agents begin.
    pub seed: u64,
    /// How long one agent may take.
    pub deadline: Duration,
    /// How often memory is looked at.
    pub sample: Duration,
    /// What each agent may do in its browser.
    pub limits: Limits,
    /// The interpreter of processes and sandboxes.
    pub python: PathBuf,
    /// Where agents run.
    pub system: System,
    /// What those in microVMs are started from.
    pub guests: Option<Arc<Guests>>,
    /// The root image of sandboxes; the machine's programs if none.
    pub base: Option<PathBuf>,
    /// Program that becomes the launcher of sandboxes; this very program if none.
    pub launcher: Option<PathBuf>,
    /// Room that an agent in a sandbox or VM has for files, bytes; the usual if none.
    pub disk_bytes: Option<u64>,
}

impl Settings {
    /// One of each of these agents, with a browser each.
    #[must_use]
    pub fn new(agents: Vec<Manifest>) -> Self {
        Self {
            count: agents.len(),
            agents,
            per_browser: 1,
            rates: Rates::default(),
            seed: 0,
            deadline: Duration::from_secs(600),
            sample: Duration::from_millis(250),
            limits: Limits::default(),
            python: PathBuf::from("/usr/bin/python3"),
            system: System::Process,
            guests: None,
            base: None,
            launcher: None,
            disk_bytes: None,
        }
    }
}

/// Everything that agents need, running. Dropped, it ends.
#[derive(Debug)]
pub struct Lab {
    settings: Settings,
    plans: Vec<Plan>,
    recording: bool,
    llm: Mutex<Llm>,
    site: Site,
    broker: Option<Broker>,
    place: Box<dyn Place>,
    ward: Arc<Ward>,
}

/// One agent before it runs.
#[derive(Clone, Debug)]
struct Plan {
    manifest: Manifest,
    seed: u64,
    /// What it must answer; none when that is being recorded.
    expected: Option<Value>,
    /// Its number among those with a browser.
    place: Option<usize>,
}

impl Lab {
    /// Starts model, site and, where an agent needs it, the broker.
    ///
    /// # Errors
    /// If one of them does not start, or no browser is installed where one is needed.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        Self::begin(settings, false)
    }

    fn begin(settings: Settings, recording: bool) -> Result<Self, Error> {
        if settings.agents.is_empty() || settings.count == 0 {
            let found = format!("{} of {} kinds", settings.count, settings.agents.len());
            return Err(Error::Setting { what: "agents", found, expected: "at least one" });
        }
        if settings.deadline.is_zero() || settings.deadline > LONGEST {
            let found = format!("{:?}", settings.deadline);
            return Err(Error::Setting {
                what: "deadline",
                found,
                expected: "more than nothing, at most a year",
            });
        }
        if settings.per_browser == 0 {
            return Err(Error::no_sharing());
        }
        room(&settings)?;
        let plans = plans(&settings, recording)?;
        let ward = Ward::new()?;
        let place = place::start(&settings, &ward)?;
        let at = (place.address(), 0);
        let llm = if recording {
            Llm::record(&settings.agents, settings.rates, at)?
        } else {
            Llm::start(&settings.agents, settings.rates, at)?
        };
        let site = Site::start(at)?;
        let browsing = plans.iter().filter(|plan| plan.place.is_some()).count();
        let broker = if browsing == 0 { None } else { Some(broker(&settings, &ward, &*place, browsing)?) };
        Ok(Self { settings, plans, recording, llm: Mutex::new(llm), site, broker, place, ward })
    }

    /// The model, to be stopped by tests.
    pub fn llm(&self) -> MutexGuard<'_, Llm> {
        self.llm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the model again where it was. What it has logged is lost.
    ///
    /// # Errors
    /// If its port was taken meanwhile.
    pub fn restart_llm(&self) -> Result<(), Error> {
        let mut llm = self.llm();
        llm.stop();
        let at = (self.place.address(), llm.address().port());
        *llm = Llm::start(&self.settings.agents, self.settings.rates, at)?;
        Ok(())
    }

    /// The broker, if an agent needs one.
    #[must_use]
    pub fn broker(&self) -> Option<&Broker> {
        self.broker.as_ref()
    }

    /// Where everything runs.
    #[must_use]
    pub fn ward(&self) -> &Ward {
        &self.ward
    }

    /// Runs all agents at once, to the last one's end.
    ///
    /// # Errors
    /// Only what concerns all of them; what happens to one is in its row.
    pub fn run(&self) -> Result<Report, Error> {
        self.place.prepare(self.plans.len())?;
        let begun = Instant::now();
        let seats: Vec<Seat> = self.plans.iter().map(|_| Seat::default()).collect();
        let ended = AtomicBool::new(false);
        let (agents, memory) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| self.sample(&seats, begun, &ended));
            let at_end = AtEnd(&ended);
            let agents: Vec<_> = seats
                .iter()
                .zip(0..)
                .map(|(seat, number)| scope.spawn(move || self.agent(number, seat)))
                .collect();
            let rows: Vec<Row> = agents
                .into_iter()
                .map(|thread| thread.join().expect("an agent's thread does not panic"))
                .collect();
            drop(at_end);
            (rows, sampler.join().expect("the sampler does not panic"))
        });
        let browsers = self.broker.as_ref().map_or_else(Vec::new, |broker| {
            broker.browsers().iter().map(|browser| browser.usage()).collect()
        });
        Ok(Report {
            system: self.settings.system.name().to_owned(),
            stand_in: self.settings.guests.as_ref().and_then(|guests| guests.accelerator().stand_in()),
            per_browser: self.settings.per_browser,
            rates: self.settings.rates,
            seed: self.settings.seed,
            elapsed_ms: begun.elapsed().as_secs_f64() * 1e3,
            agents,
            browsers,
            memory,
            requests: self.llm().log(),
        })
    }

    /// One agent, from its start to its end.
    fn agent(&self, number: usize, seat: &Seat) -> Row {
        let plan = &self.plans[number];
        let mut row = Row {
            number,
            agent: plan.manifest.name.clone(),
            seed: plan.seed,
            outcome: String::new(),
            message: String::new(),
            answer: Value::Null,
            start_ms: 0.0,
            latency_ms: 0.0,
            cpu_ms: 0.0,
            peak_bytes: 0,
            spent: Spent::default(),
            browser: plan.place.map(|place| place / self.settings.per_browser),
            tally: None,
        };
        let job = Job {
            number,
            manifest: &plan.manifest,
            place: plan.place,
            environment: self.environment(number),
            deadline: self.settings.deadline,
        };
        let begun = Instant::now();
        match self.place.run(&job, seat) {
            Ok(Done { start_ms, latency_ms, cpu_ms, ended }) => {
                (row.start_ms, row.latency_ms, row.cpu_ms) = (start_ms, latency_ms, cpu_ms);
                judge(&mut row, plan, ended);
            }
            Err(error) => {
                row.latency_ms = begun.elapsed().as_secs_f64() * 1e3;
                row.outcome = "not-started".to_owned();
                row.message = error.to_string();
            }
        }
        seat.leave();
        row.peak_bytes = seat.peak();
        row.tally = plan.place.and_then(|place| self.broker.as_ref()?.tallies().remove(&place));
        row
    }

    /// What an agent is told; see `emu/agents/runtime`.
    fn environment(&self, number: usize) -> BTreeMap<String, String> {
        let plan = &self.plans[number];
        let mut told = vec![
            ("AGENT", plan.manifest.name.clone()),
            ("SEED", plan.seed.to_string()),
            ("NUMBER", number.to_string()),
            ("LLM", self.llm().address().to_string()),
            ("SITE", self.site.address().to_string()),
        ];
        if let (Some(place), Some(broker)) = (plan.place, &self.broker) {
            told.push(("BROWSER", broker.address().to_string()));
            told.push(("PLACE", place.to_string()));
            told.push(("KEY", broker.key(place).unwrap_or_default().to_owned()));
        }
        if self.recording {
            told.push(("RECORD", "1".to_owned()));
        }
        told.into_iter().map(|(key, value)| (format!("TRENVX_{key}"), value)).collect()
    }

    /// Looks at memory until everything has ended.
    fn sample(&self, seats: &[Seat], begun: Instant, ended: &AtomicBool) -> Vec<Sample> {
        let mut samples = Vec::new();
        while !ended.load(Ordering::Acquire) {
            let at = begun.elapsed();
            let (mut agents_bytes, mut emulation_bytes) = (0, 0);
            for seat in seats {
                let found = seat.look();
                agents_bytes += found.bytes;
                emulation_bytes += found.emulation_bytes;
            }
            let cache_bytes = self.place.shared_bytes();
            let browsers = self.broker.as_ref().map_or(&[][..], |broker| broker.browsers());
            let mut browsers_bytes = 0;
            for browser in browsers {
                let found = browser.memory();
                browsers_bytes += found.bytes;
                emulation_bytes += found.emulation_bytes;
            }
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            samples.push(Sample { at_ms, agents_bytes, cache_bytes, browsers_bytes, emulation_bytes });
            // In small steps, so that the end is not waited for.
            let next = at + self.settings.sample;
            while begun.elapsed() < next && !ended.load(Ordering::Acquire) {
                std::thread::sleep(STEP.min(self.settings.sample));
            }
        }
        samples
    }
}

/// Takes a recording of one agent and seed, and writes it beside the agent.
///
/// # Errors
/// If the agent does not come to an answer.
pub fn record(manifest: &Manifest, seed: u64) -> Result<Recording, Error> {
    let mut settings = Settings::new(vec![manifest.clone()]);
    settings.seed = seed;
    // Nobody needs the waits.
    settings.rates.speed = 1e6;
    let lab = Lab::begin(settings, true)?;
    let report = lab.run()?;
    let row = &report.agents[0];
    if row.outcome != "recorded" {
        let message = format!("{}: {}", row.outcome, row.message);
        return Err(Error::file(&Recording::path(&manifest.folder, seed), message));
    }
    let recording = Recording { turns: lab.llm().taken(&manifest.name, seed), answer: row.answer.clone() };
    recording.write(&manifest.folder, seed)?;
    Ok(recording)
}

/// What a browser takes at least, beside others on one machine, MiB.
pub(super) const BROWSER_MIB: u64 = 80;

/// Whether this machine has room for so many agents. What each takes at least was measured: a Python process 13 MiB, a
/// browser 80, a VMM with what its guest writes 25 (`figures/reference/epyc-2-cores`). So only what is out of the question is
/// refused here; the rest shows itself.
fn room(settings: &Settings) -> Result<(), Error> {
    let agent_mib = match settings.system {
        System::Process | System::Sandbox => 13,
        System::Vm(_) => 25,
    };
    let (count, kinds) = (settings.count, settings.agents.len());
    let of_kind = |kind: usize| count / kinds + usize::from(kind < count % kinds);
    let browsing = settings.agents.iter().enumerate().filter(|(_, agent)| agent.browser);
    let browsing: usize = browsing.map(|(kind, _)| of_kind(kind)).sum();
    let browsers = browsing.div_ceil(settings.per_browser) as u64;
    let needs = (count as u64).saturating_mul(agent_mib).saturating_add(browsers.saturating_mul(BROWSER_MIB));
    Ok(crate::vm::room::need(needs, &format!("{count} agents and {browsers} browsers"))?)
}

/// Says so when the last agent has ended, however this ends.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The broker of so many agents, with browsers from where their place has them.
fn broker(settings: &Settings, ward: &Arc<Ward>, place: &dyn Place, agents: usize) -> Result<Broker, Error> {
    let Settings { per_browser, mut limits, .. } = *settings;
    let at = place.address();
    if place.launcher(0).is_some() {
        if settings.guests.as_ref().is_some_and(|guests| guests.accelerator().is_emulated()) {
            limits = limits.times(EMULATED);
        }
        let launcher = |number| place.launcher(number).expect("a place that has one browser has all");
        return Broker::with(agents, per_browser, limits, at, launcher);
    }
    Broker::start(ward, &browser::installed()?, agents, per_browser, limits, at)
}

fn plans(settings: &Settings, recording: bool) -> Result<Vec<Plan>, Error> {
    let recordings: Vec<Vec<Recording>> = if recording {
        settings.agents.iter().map(|_| Vec::new()).collect()
    } else {
        settings.agents.iter().map(Manifest::recordings).collect::<Result<_, _>>()?
    };
    let mut places = 0..;
    let kinds = settings.agents.len();
    Ok((0..settings.count)
        .map(|number| {
            let manifest = settings.agents[number % kinds].clone();
            let known = &recordings[number % kinds];
            let turn = settings.seed.wrapping_add((number / kinds) as u64);
            let seed = if recording { turn } else { turn % known.len() as u64 };
            let expected = known.get(seed as usize).map(|one| one.answer.clone());
            let place = if manifest.browser { places.next() } else { None };
            Plan { manifest, seed, expected, place }
        })
        .collect())
}

fn judge(row: &mut Row, plan: &Plan, ended: Result<Ended, Told>) {
    let told = match ended {
        Ok(Ended { answer: Some(answer), error: None, spent }) => {
            row.spent = spent;
            row.outcome = match &plan.expected {
                None => "recorded".to_owned(),
                Some(expected) if *expected == answer => "right".to_owned(),
                Some(expected) => {
                    row.message = format!("expected {expected}, found {answer}");
                    "wrong".to_owned()
                }
            };
            row.answer = answer;
            return;
        }
        Ok(Ended { error: Some(told), spent, .. }) => {
            row.spent = spent;
            told
        }
        Ok(_) => Told { name: "died".to_owned(), message: "it said neither answer nor error".to_owned() },
        Err(told) => told,
    };
    row.outcome = told.name;
    row.message = told.message;
}
