//! Runs agents at once, and records what they cost.
//!
//! Each agent is a process in a cgroup of its own, with a folder of its own, that knows the addresses of the model, the
//! site and the broker. Agents are taken in turn from the given ones, and their recordings in turn from the run's
//! seed on. An agent that does not end in time is killed; what goes wrong with one is its own outcome, and the others
//! go on.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::browser::{Broker, Limits};
use super::llm::Llm;
use super::pace::Rates;
use super::recording::Recording;
use super::report::{Report, Row, Sample, Spent};
use super::site::Site;
use super::ward::{Cell, Ward};
use super::{Error, Manifest, browser};

/// How often a process is asked whether it has ended.
const STEP: Duration = Duration::from_millis(5);
/// How much of what an agent printed is shown when it ends without a word.
const SHOWN: usize = 600;

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
    /// The interpreter.
    pub python: PathBuf,
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

/// What an agent prints.
#[derive(Deserialize)]
struct Ended {
    answer: Option<Value>,
    error: Option<Told>,
    #[serde(default)]
    spent: Spent,
}

#[derive(Deserialize)]
struct Told {
    name: String,
    message: String,
}

/// What is watched while agents run.
struct Watched {
    cells: Vec<Mutex<Option<Arc<Cell>>>>,
    peaks: Vec<AtomicU64>,
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
        let plans = plans(&settings, recording)?;
        let llm = if recording {
            Llm::record(&settings.agents, settings.rates)?
        } else {
            Llm::start(&settings.agents, settings.rates, 0)?
        };
        let site = Site::start(0)?;
        let ward = Ward::new()?;
        let browsing = plans.iter().filter(|plan| plan.place.is_some()).count();
        let broker = match (browsing, browser::program()) {
            (0, _) => None,
            (_, Some(program)) => {
                Some(Broker::start(&ward, &program, browsing, settings.per_browser, settings.limits)?)
            }
            (_, None) => {
                let reason = "it is not installed: apt-get install chromium".to_owned();
                return Err(Error::Browser { program: "chromium".to_owned(), reason });
            }
        };
        Ok(Self { settings, plans, recording, llm: Mutex::new(llm), site, broker, ward })
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
        *llm = Llm::start(&self.settings.agents, self.settings.rates, llm.address().port())?;
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
        let begun = Instant::now();
        let watched = Watched {
            cells: self.plans.iter().map(|_| Mutex::default()).collect(),
            peaks: self.plans.iter().map(|_| AtomicU64::new(0)).collect(),
        };
        let ended = AtomicBool::new(false);
        let (agents, memory) = std::thread::scope(|scope| {
            let sampler = scope.spawn(|| self.sample(&watched, begun, &ended));
            let agents: Vec<_> = (0..self.plans.len())
                .map(|number| {
                    let watched = &watched;
                    scope.spawn(move || self.agent(number, watched))
                })
                .collect();
            let rows: Vec<Row> = agents
                .into_iter()
                .map(|thread| thread.join().expect("an agent's thread does not panic"))
                .collect();
            ended.store(true, Ordering::Release);
            (rows, sampler.join().expect("the sampler does not panic"))
        });
        let browsers = self.broker.as_ref().map_or_else(Vec::new, |broker| {
            broker.browsers().iter().map(|browser| browser.usage()).collect()
        });
        Ok(Report {
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
    fn agent(&self, number: usize, watched: &Watched) -> Row {
        let plan = &self.plans[number];
        let mut row = Row {
            number,
            agent: plan.manifest.name.clone(),
            seed: plan.seed,
            outcome: String::new(),
            message: String::new(),
            answer: Value::Null,
            latency_ms: 0.0,
            cpu_ms: 0.0,
            peak_bytes: 0,
            spent: Spent::default(),
            browser: plan.place.map(|place| place / self.settings.per_browser),
            tally: None,
        };
        let begun = Instant::now();
        match self.process(number, watched) {
            Ok((cell, ended)) => {
                row.latency_ms = begun.elapsed().as_secs_f64() * 1e3;
                row.cpu_ms = cell.processor_time().as_secs_f64() * 1e3;
                // Processes of tools that it left behind end here.
                cell.kill();
                judge(&mut row, plan, ended);
            }
            Err(error) => {
                row.outcome = "not-started".to_owned();
                row.message = error.to_string();
            }
        }
        *lock(&watched.cells[number]) = None;
        row.peak_bytes = watched.peaks[number].load(Ordering::Relaxed);
        row.tally = plan.place.and_then(|place| self.broker.as_ref()?.tallies().remove(&place));
        row
    }

    /// Its process; what it printed, or how it ended instead.
    fn process(&self, number: usize, watched: &Watched) -> Result<(Arc<Cell>, Result<Ended, Told>), Error> {
        let plan = &self.plans[number];
        let name = format!("agent{number}");
        let cell = Arc::new(self.ward.cell(&name)?);
        let folder = self.ward.folder().join(&name);
        std::fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let log = folder.join("printed");
        let stderr = File::create(&log).map_err(Error::io("make", &log))?;
        let mut command = Command::new(&self.settings.python);
        command.arg("-B").arg(plan.manifest.folder.join("agent.py")).current_dir(&folder);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &folder).env("LANG", "C.UTF-8");
        if let Some(all) = plan.manifest.folder.parent() {
            command.env("PYTHONPATH", all.join("runtime"));
        }
        command.env("TRENVX_AGENT", &plan.manifest.name).env("TRENVX_SEED", plan.seed.to_string());
        command.env("TRENVX_NUMBER", number.to_string());
        command.env("TRENVX_LLM", self.llm().address().to_string());
        command.env("TRENVX_SITE", self.site.address().to_string());
        if let (Some(place), Some(broker)) = (plan.place, &self.broker) {
            command.env("TRENVX_BROWSER", broker.path()).env("TRENVX_PLACE", place.to_string());
        }
        if self.recording {
            command.env("TRENVX_RECORD", "1");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        cell.begin(&mut command)?;
        let mut child = command.spawn().map_err(Error::io("execute", &self.settings.python))?;
        *lock(&watched.cells[number]) = Some(Arc::clone(&cell));
        let reader = child.stdout.take().map(|mut stdout| {
            std::thread::spawn(move || {
                let mut text = String::new();
                // What is no text is no answer.
                let _ = stdout.read_to_string(&mut text);
                text
            })
        });
        let status = wait(&mut child, self.settings.deadline);
        // With its tools, which may hold the other end of its output.
        cell.kill();
        let _ = child.wait();
        let printed = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        let Some(status) = status else {
            let message = format!("it did not end within {:?}, and was killed", self.settings.deadline);
            return Ok((cell, Err(Told { name: "deadline".to_owned(), message })));
        };
        let ended = printed.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let ended = ended.ok_or_else(|| {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let from = text.char_indices().rev().nth(SHOWN).map_or(0, |(at, _)| at);
            let message = format!("{status} without an answer; it printed: {}", text[from..].trim());
            Told { name: "died".to_owned(), message }
        });
        let _ = std::fs::remove_dir_all(&folder);
        Ok((cell, ended))
    }

    /// Looks at memory until everything has ended.
    fn sample(&self, watched: &Watched, begun: Instant, ended: &AtomicBool) -> Vec<Sample> {
        let mut samples = Vec::new();
        while !ended.load(Ordering::Acquire) {
            let at = begun.elapsed();
            let mut agents_bytes = 0;
            for (cell, peak) in watched.cells.iter().zip(&watched.peaks) {
                let cell = lock(cell).clone();
                let bytes = cell.map_or(0, |cell| cell.memory());
                peak.fetch_max(bytes, Ordering::Relaxed);
                agents_bytes += bytes;
            }
            let browsers = self.broker.as_ref().map_or(&[][..], |broker| broker.browsers());
            let browsers_bytes = browsers.iter().map(|browser| browser.memory()).sum();
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            samples.push(Sample { at_ms, agents_bytes, browsers_bytes });
            // In small steps, so that the end is not waited for.
            let next = begun + at + self.settings.sample;
            while Instant::now() < next && !ended.load(Ordering::Acquire) {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
