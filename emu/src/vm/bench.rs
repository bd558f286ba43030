//! What microVMs cost: starts by each method, and page caches by each root device.
//!
//! One VM is started at a time, methods in turn, so that a disturbance of the machine meets all of them. A *start* is
//! timed from the call to the first reply of the guest's agent.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use runs::MeasuredRow;
use serde_json::json;

use super::account;
use super::{Accelerator, Error, Host, Image, Machine, Method, RootDevice, Started, Template, room};
use crate::goal::Goal;

/// How long a guest may take to read the data file.
const READING: Duration = Duration::from_secs(120);
/// What templates are warmed up with: the runtime is warm by itself, and this has worked a little.
const WARM: &str = "import json; STATE_SEEN = json.loads(json.dumps({'warm': True})); result = STATE_SEEN";
/// The row of guests that boot.
const BOOT: &str = "boot";
/// What a template of a guest that was just booted holds at most, MiB, far more than measured.
const TEMPLATE_MIB: u64 = 256;
/// What VMMs and this program need beside, MiB: code that was translated, page tables, room to breathe.
const VMM_MIB: u64 = 768;
/// How many times sooner than a boot a clone is to answer.
const SOONER: f64 = 30.0;
/// The most of a booted guest's memory that a clone may have of its own, %.
const OWN: f64 = 20.0;
/// The most that the largest guest's start may take of the smallest's: half more, as medians of few starts vary on a
/// shared machine, while a copy would take the ratio of their sizes.
const OF_SMALLEST: f64 = 1.5;
/// The most of one copy of a file that all page caches together may hold, in copies.
const COPIES: f64 = 1.1;
/// The rows of the root devices.
const DEVICES: [(Method, &str); 2] =
    [(Method::TrenvxVmGuestCache, "virtio-blk"), (Method::TrenvxVm, "virtio-pmem, DAX")];

/// What is measured on.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What guests boot.
    pub image: Image,
    /// What runs them.
    pub accelerator: Accelerator,
    /// Program that becomes the launcher of sandboxes; this very program if none.
    pub launcher: Option<PathBuf>,
}

impl Setting {
    fn host(&self, method: Method) -> Result<Host, Error> {
        Host::start(method, &self.image, self.accelerator.clone(), self.launcher.clone())
    }

    /// Boots a guest of this kind and keeps it as a template.
    fn template(&self, machine: &Machine) -> Result<super::template::Made, Error> {
        let method = match machine.root {
            RootDevice::Pmem => Method::TrenvxVm,
            RootDevice::Blk => Method::E2b,
        };
        eprintln!("booting a guest of {} MiB, root on {}", machine.memory_mib, machine.root.name());
        let name = format!("measured-{}-{}", machine.memory_mib, machine.root.name());
        let host = self.host(method)?;
        Template::make(&host, &name, machine, WARM)
    }
}

/// Values of one subject, by metric and part.
#[derive(Debug, Default)]
struct Seen(BTreeMap<(&'static str, &'static str), Vec<f64>>);

impl Seen {
    fn push(&mut self, metric: &'static str, part: &'static str, value: f64) {
        self.0.entry((metric, part)).or_default().push(value);
    }

    fn start(&mut self, started: &Started) -> Result<(), Error> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        self.push("start", "", ms(started.steps.whole));
        for (step, time) in &started.steps.done {
            self.push("step", step, ms(*time));
        }
        let memory = started.vm.memory()?;
        self.push("memory", "guest, its own", mib(memory.guest_own_bytes()));
        self.push("memory", "guest, of the template", mib(memory.guest_shared_bytes()));
        self.push("memory", "VMM", mib(memory.own_bytes() - memory.guest_own_bytes()));
        Ok(())
    }

    fn rows(self, panel: &str, subject: &str, order: &[(&str, &str)]) -> Vec<MeasuredRow> {
        let place = |key: &(&str, &str)| order.iter().position(|known| known == key).unwrap_or(usize::MAX);
        let mut seen: Vec<_> = self.0.into_iter().collect();
        seen.sort_by_key(|(key, _)| place(key));
        seen.into_iter()
            .map(|((metric, part), mut values)| {
                let (median, p99) = crate::measure::quantiles(&mut values);
                MeasuredRow {
                    panel: panel.to_owned(),
                    subject: subject.to_owned(),
                    metric: metric.to_owned(),
                    part: part.to_owned(),
                    unit: if metric == "memory" { "MiB" } else { "ms" }.to_owned(),
                    n: values.len() as u64,
                    median,
                    interval: runs::median_interval(&values),
                    p99,
                    published: published(metric, subject).to_owned(),
                    reported: (metric == "start" && subject == "trenvx-vm").then_some(PUBLISHED_START_MS),
                    ..MeasuredRow::default()
                }
            })
            .collect()
    }
}

/// A start of `trenvx-vm`, at most (TrEnv-X README), ms.
const PUBLISHED_START_MS: f64 = 40.0;

/// What was published about a start, on other machines and under KVM.
fn published(metric: &str, subject: &str) -> &'static str {
    match (metric, subject) {
        ("start", "trenvx-vm") => "< 40 ms claimed (TrEnv-X README)",
        ("start", "vanilla-ch") => "160+ ms for 512 MB (cloud-hypervisor PR 5390)",
        ("start", "reap+") => "VMM loaded in 50 ms (REAP, ASPLOS'21, helloworld)",
        _ => "",
    }
}

/// Order of the parts.
const ORDER: &[(&str, &str)] = &[
    ("start", ""),
    ("step", "copy memory"),
    ("step", "sandbox"),
    ("step", "VMM"),
    ("step", "advice"),
    ("step", "page server"),
    ("step", "load devices"),
    ("step", "first reply"),
    ("step of a boot", "sandbox"),
    ("step of a boot", "VMM"),
    ("step of a boot", "boot"),
    ("step of a boot", "first reply"),
    ("memory", "guest, its own"),
    ("memory", "guest, of the template"),
    ("memory", "VMM"),
];

/// Starts by each method, for guests of each size: start, steps, and memory after the first reply, beside the boots
/// that templates come from (and those of methods that need one).
///
/// What only one method or size lacks is noted in its row.
///
/// # Errors
/// If nothing at all could be started.
pub fn starts(
    setting: &Setting,
    methods: &[Method],
    memory_mib: &[u32],
    starts: u32,
) -> Result<Vec<MeasuredRow>, Error> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for &mib in memory_mib {
        // The largest at a time: a full copy beside both templates.
        match room_for(u64::from(mib) + 2 * TEMPLATE_MIB, &format!("a guest of {mib} MiB")) {
            Ok(()) => rows.extend(starts_of_size(setting, methods, mib, starts, &mut failures)),
            Err(error) => {
                let panel = format!("{mib} MiB");
                let why = error.to_string();
                rows.extend(methods.iter().map(|method| not_run(&panel, method.name(), "start", &why)));
                failures.push(error);
            }
        }
    }
    some_of(rows, failures)
}

/// Whether this machine has so much memory for what comes, and what VMMs and this program need beside.
fn room_for(mib: u64, what: &str) -> Result<(), Error> {
    room::need(mib + VMM_MIB, what)
}

/// The rows, unless none has a value: then why.
fn some_of(rows: Vec<MeasuredRow>, failures: Vec<Error>) -> Result<Vec<MeasuredRow>, Error> {
    match failures.into_iter().next() {
        Some(error) if rows.iter().all(|row| row.median.is_none()) => Err(error),
        _ => Ok(rows),
    }
}

/// One method at work.
struct Starting {
    method: Method,
    /// None after a failure.
    host: Option<Host>,
    seen: Seen,
    /// What ended it.
    failed: Option<String>,
}

impl Starting {
    fn new(method: Method, host: Option<Host>, failed: Option<String>) -> Self {
        Self { method, host, seen: Seen::default(), failed }
    }

    fn start(host: &Host, template: &Template, seen: &mut Seen) -> Result<(), Error> {
        host.prepare(&template.manifest().machine)?;
        let started = host.clone(template)?;
        seen.start(&started)?;
        host.end(started.vm)
    }

    fn rows(self, panel: &str) -> Vec<MeasuredRow> {
        let mut rows = self.seen.rows(panel, self.method.name(), ORDER);
        let Some(why) = self.failed else { return rows };
        if rows.is_empty() {
            return vec![not_run(panel, self.method.name(), "start", &why)];
        }
        rows.iter_mut().for_each(|row| row.note = format!("ended early: {why}"));
        rows
    }
}

fn not_run(panel: &str, subject: &str, metric: &str, why: &str) -> MeasuredRow {
    MeasuredRow {
        panel: panel.to_owned(),
        subject: subject.to_owned(),
        metric: metric.to_owned(),
        note: format!("NOT-RUN: {why}"),
        ..MeasuredRow::default()
    }
}

fn starts_of_size(
    setting: &Setting,
    methods: &[Method],
    memory_mib: u32,
    starts: u32,
    failures: &mut Vec<Error>,
) -> Vec<MeasuredRow> {
    let panel = format!("{memory_mib} MiB");
    let mut boots = Seen::default();
    let mut templates: BTreeMap<RootDevice, Result<Template, String>> = BTreeMap::new();
    let mut ways = Vec::new();
    for &method in methods {
        let machine = Machine::new(memory_mib, method.root());
        let template = templates.entry(machine.root).or_insert_with(|| match setting.template(&machine) {
            Ok(made) => {
                boots.push("start", "", made.boot.whole.as_secs_f64() * 1e3);
                for (step, time) in &made.boot.done {
                    // Apart from the steps of clones: in one picture nobody would see those.
                    boots.push("step of a boot", step, time.as_secs_f64() * 1e3);
                }
                boots.push("memory", "guest, its own", mib(made.template.manifest().booted_bytes));
                Ok(made.template)
            }
            Err(error) => {
                let why = format!("its template: {error}");
                failures.push(error);
                Err(why)
            }
        });
        ways.push(match template {
            Err(why) => Starting::new(method, None, Some(why.clone())),
            Ok(_) => match setting.host(method) {
                Ok(host) => Starting::new(method, Some(host), None),
                Err(error) => {
                    let way = Starting::new(method, None, Some(error.to_string()));
                    failures.push(error);
                    way
                }
            },
        });
    }
    eprintln!("starting guests of {memory_mib} MiB, {starts} by each of {} methods", methods.len());
    for _ in 0..starts {
        for way in &mut ways {
            let (Some(host), Some(Ok(template))) = (&way.host, templates.get(&way.method.root())) else {
                continue;
            };
            if let Err(error) = Starting::start(host, template, &mut way.seen) {
                // With its VMs; the other methods go on.
                way.host = None;
                way.failed = Some(error.to_string());
                failures.push(error);
            }
        }
    }
    let mut rows = boots.rows(&panel, BOOT, ORDER);
    rows.extend(ways.into_iter().flat_map(|way| way.rows(&panel)));
    rows
}

/// What starts are held against, with what was measured.
#[must_use]
pub fn goals_of_starts(rows: &[MeasuredRow]) -> Vec<Goal> {
    let value = |panel: &str, subject: &str, metric: &str, part: &str| {
        let same = |row: &&MeasuredRow| {
            (row.panel.as_str(), row.subject.as_str(), row.metric.as_str(), row.part.as_str())
                == (panel, subject, metric, part)
        };
        rows.iter().find(same).and_then(|row| row.median)
    };
    let mut panels: Vec<&str> = rows.iter().map(|row| row.panel.as_str()).collect();
    panels.dedup();
    let mut goals = Vec::new();
    let methods = [Method::E2b, Method::TrenvxVm].map(Method::name);
    for method in methods.into_iter().filter(|method| rows.iter().any(|row| row.subject == *method)) {
        for panel in &panels {
            let of = format!("{method}, {panel}");
            let ratio = |metric, part, over: bool| {
                let (boot, clone) = (value(panel, BOOT, metric, part)?, value(panel, method, metric, part)?);
                Some(if over { boot / clone } else { 100.0 * clone / boot })
            };
            let sooner = ratio("start", "", true);
            let goal =
                Goal::at_least("clone sooner than boot", &of, sooner.unwrap_or(f64::NAN), SOONER, "times");
            goals.push(if sooner.is_some() { goal } else { goal.not_run("no such start") });
            let own = ratio("memory", "guest, its own", false);
            let goal =
                Goal::at_most("own memory of a booted guest's", &of, own.unwrap_or(f64::NAN), OWN, "%");
            goals.push(if own.is_some() { goal } else { goal.not_run("no such start") });
        }
        let starts: Vec<f64> = panels.iter().filter_map(|panel| value(panel, method, "start", "")).collect();
        if let ([smallest, .., largest], [first, .., last]) = (starts.as_slice(), panels.as_slice()) {
            let of = format!("{method}, {last} of {first}");
            let ratio = largest / smallest;
            goals.push(Goal::at_most("start, largest guest of smallest", &of, ratio, OF_SMALLEST, "times"));
        }
    }
    goals
}

/// What page caches are held against, with what was measured.
#[must_use]
pub fn goals_of_page_cache(rows: &[MeasuredRow]) -> Vec<Goal> {
    let (_, bypass) = DEVICES[1];
    let mut sums: Vec<(&str, f64)> = Vec::new();
    for row in rows.iter().filter(|row| row.subject == bypass && row.metric == "page cache") {
        let Some(mib) = row.median else { continue };
        match sums.last_mut() {
            Some((panel, sum)) if *panel == row.panel => *sum += mib,
            _ => sums.push((&row.panel, mib)),
        }
    }
    let copies = |(panel, sum): (&str, f64)| {
        let size: Option<f64> =
            panel.rsplit(", ").next().and_then(|size| size.strip_suffix(" MiB")?.parse().ok());
        size.map(|size| Goal::at_most("copies of the file, all caches", panel, sum / size, COPIES, "copies"))
    };
    sums.into_iter().filter_map(copies).collect()
}

/// What reading the same file costs when 1, 2, 4 … to `vms` guests do it, by each root device, for files of these sizes:
/// page caches in the guests and on the host, and all memory that came with it.
///
/// What only one root device lacks is noted in its rows.
///
/// # Errors
/// If guests of neither root device can be measured.
pub fn page_cache(
    setting: &Setting,
    memory_mib: u32,
    vms: u32,
    files_mib: &[u32],
) -> Result<Vec<MeasuredRow>, Error> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    let panel = |nth: usize, file: u32| {
        let plural = if nth == 0 { "" } else { "s" };
        format!("{} VM{plural}, {file} MiB", nth + 1)
    };
    // Powers of two, and the most.
    let told = |nth: usize| (nth + 1).is_power_of_two() || nth + 1 == vms as usize;
    for (method, subject) in DEVICES {
        let caches = match Caches::measure(setting, method, memory_mib, vms, files_mib) {
            Ok(caches) => caches,
            Err(error) => {
                let why = error.to_string();
                for (file, metric) in
                    files_mib.iter().flat_map(|file| [(*file, "page cache"), (*file, "memory")])
                {
                    let panels = (0..vms as usize).filter(|nth| told(*nth)).map(|nth| panel(nth, file));
                    rows.extend(panels.map(|panel| not_run(&panel, subject, metric, &why)));
                }
                failures.push(error);
                continue;
            }
        };
        let published = if method == Method::TrenvxVm { "guest caches nothing (TrEnv-X)" } else { "" };
        let all = caches.growths.iter().flat_map(|(file, growths)| {
            growths.iter().enumerate().filter(|(nth, _)| told(*nth)).map(|(nth, growth)| (*file, nth, growth))
        });
        for (file, nth, growth) in all {
            let mut push = |metric: &str, part: &str, bytes: i64| {
                rows.push(MeasuredRow {
                    panel: panel(nth, file),
                    subject: subject.to_owned(),
                    metric: metric.to_owned(),
                    part: part.to_owned(),
                    unit: "MiB".to_owned(),
                    n: 1,
                    median: Some(bytes as f64 / f64::from(1 << 20)),
                    published: published.to_owned(),
                    ..MeasuredRow::default()
                });
            };
            push("page cache", "in the guests", growth.guests);
            push("page cache", "on the host", growth.host);
            push("memory", "of the VMMs", growth.own);
            push("memory", "page cache of the host", growth.host);
            push("memory", "read ahead by the host", growth.ahead);
        }
    }
    some_of(rows, failures)
}

/// What grew since nobody had read the file, bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    /// Page caches inside, as the guests tell.
    guests: i64,
    /// The host's page cache of the file.
    host: i64,
    /// The host's page cache of the rest of the root image: what it has read around what was read, and the agent.
    ahead: i64,
    /// What belongs to the VMMs alone, guest memory among it.
    own: i64,
}

struct Caches {
    /// For each size of the file: after one VM has read, after two, …
    growths: Vec<(u32, Vec<Growth>)>,
}

impl Caches {
    fn measure(
        setting: &Setting,
        method: Method,
        memory_mib: u32,
        vms: u32,
        files_mib: &[u32],
    ) -> Result<Self, Error> {
        let all = u64::from(vms) * u64::from(memory_mib) + TEMPLATE_MIB;
        room_for(all, &format!("{vms} guests of {memory_mib} MiB"))?;
        let template = setting.template(&Machine::new(memory_mib, method.root()))?.template;
        let host = setting.host(method)?;
        let of = |file: &u32| Ok((*file, Self::of(setting, &host, &template, vms, u64::from(*file) << 20)?));
        Ok(Self { growths: files_mib.iter().map(of).collect::<Result<_, Error>>()? })
    }

    fn of(
        setting: &Setting,
        host: &Host,
        template: &Template,
        vms: u32,
        bytes: u64,
    ) -> Result<Vec<Growth>, Error> {
        let about = &setting.image.about;
        if bytes > about.data_bytes {
            let why =
                format!("{} has {} bytes, and {bytes} are to be read", about.data_file, about.data_bytes);
            return Err(Error::Agent { when: "before scan".to_owned(), why });
        }
        let path = setting.image.root();
        let root = File::open(&path).map_err(Error::at(format!("open {}", path.display())))?;
        // What earlier guests have read is forgotten while nobody has it mapped.
        account::forget(&root).map_err(Error::at("forget the root image"))?;
        let mut guests = Vec::new();
        for _ in 0..vms {
            host.prepare(&template.manifest().machine)?;
            guests.push(host.clone(template)?.vm);
        }
        let take = |guests: &mut [super::Vm]| -> Result<Growth, Error> {
            let mut sum = Growth::default();
            for vm in guests {
                let inside = vm.ask("meminfo", json!({}), READING)?;
                let of = |key: &str| inside[key].as_i64().unwrap_or(0);
                sum.guests += of("Cached") + of("Buffers");
                sum.own += vm.memory()?.own_bytes() as i64;
            }
            let cached = |part| {
                account::cached_bytes(&root, part)
                    .map_err(Error::at("ask for the page cache of the root image"))
            };
            sum.host = cached(Some((about.data_at, bytes)))? as i64;
            sum.ahead = cached(None)? as i64 - sum.host;
            Ok(sum)
        };
        // Once for nothing: what asking itself touches is touched.
        take(&mut guests)?;
        let before = take(&mut guests)?;
        let mut growths = Vec::new();
        for nth in 0..guests.len() {
            eprintln!("guest {} of {vms} reads {} MiB", nth + 1, bytes >> 20);
            let read = guests[nth].ask("scan", json!({ "path": about.data_file, "most": bytes }), READING)?;
            if read["bytes"].as_u64() != Some(bytes) {
                let why =
                    format!("{} bytes of {} were read instead of {bytes}", read["bytes"], about.data_file);
                return Err(Error::Agent { when: "during scan".to_owned(), why });
            }
            let after = take(&mut guests)?;
            growths.push(Growth {
                guests: after.guests - before.guests,
                host: after.host - before.host,
                ahead: after.ahead - before.ahead,
                own: after.own - before.own,
            });
        }
        for vm in guests {
            host.end(vm)?;
        }
        Ok(growths)
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(panel: &str, subject: &str, metric: &str, part: &str, value: f64) -> MeasuredRow {
        let [panel, subject, metric, part] = [panel, subject, metric, part].map(str::to_owned);
        MeasuredRow { panel, subject, metric, part, median: Some(value), ..MeasuredRow::default() }
    }

    #[test]
    fn goals_of_starts_compare_with_the_boot_and_with_the_smallest_guest() {
        let mut rows = Vec::new();
        for (panel, boot, clone) in [("256 MiB", 9000.0, 200.0), ("2048 MiB", 9000.0, 400.0)] {
            rows.push(row(panel, BOOT, "start", "", boot));
            rows.push(row(panel, BOOT, "memory", "guest, its own", 100.0));
            rows.push(row(panel, "trenvx-vm", "start", "", clone));
            rows.push(row(panel, "trenvx-vm", "memory", "guest, its own", 15.0));
        }
        let goals = goals_of_starts(&rows);
        let told: Vec<_> = goals.iter().map(|goal| (goal.measured.unwrap(), goal.met.unwrap())).collect();
        assert_eq!(told, [(45.0, true), (15.0, true), (22.5, false), (15.0, true), (2.0, false)]);
    }

    #[test]
    fn goals_of_page_caches_count_copies_of_the_file() {
        let device = DEVICES[1].1;
        let rows = [
            row("1 VM, 100 MiB", device, "page cache", "in the guests", 5.0),
            row("1 VM, 100 MiB", device, "page cache", "on the host", 100.0),
            row("2 VMs, 100 MiB", device, "page cache", "in the guests", 100.0),
            row("2 VMs, 100 MiB", device, "page cache", "on the host", 100.0),
            row("2 VMs, 100 MiB", DEVICES[0].1, "page cache", "on the host", 100.0),
        ];
        let told: Vec<_> = goals_of_page_cache(&rows).iter().map(|goal| (goal.measured, goal.met)).collect();
        assert_eq!(told, [(Some(1.05), Some(true)), (Some(2.0), Some(false))]);
    }

    #[test]
    fn rows_come_in_the_order_of_a_start() {
        let mut seen = Seen::default();
        for (metric, part, value) in
            [("memory", "VMM", 9.0), ("step", "VMM", 3.0), ("start", "", 5.0), ("step", "sandbox", 2.0)]
        {
            seen.push(metric, part, value);
        }
        seen.push("start", "", 7.0);
        let rows = seen.rows("512 MiB", "e2b", ORDER);
        let told: Vec<_> =
            rows.iter().map(|row| (row.metric.as_str(), row.part.as_str(), row.median)).collect();
        assert_eq!(
            told,
            [
                ("start", "", Some(5.0)),
                ("step", "sandbox", Some(2.0)),
                ("step", "VMM", Some(3.0)),
                ("memory", "VMM", Some(9.0)),
            ]
        );
        assert_eq!((rows[0].n, rows[0].unit.as_str(), rows[3].unit.as_str()), (2, "ms", "MiB"));
    }

    #[test]
    fn rows_of_a_method_that_failed_say_so_and_keep_the_others() {
        let failure = || Error::Agent { when: "during scan".to_owned(), why: "no memory".to_owned() };
        let never = Starting::new(Method::E2b, None, Some(failure().to_string())).rows("512 MiB");
        assert_eq!((never.len(), never[0].median), (1, None));
        assert!(never[0].note.starts_with("NOT-RUN: ") && never[0].note.contains("no memory"));
        assert!(some_of(never.clone(), vec![failure()]).is_err());

        let mut early = Starting::new(Method::TrenvxVm, None, Some(failure().to_string()));
        early.seen.push("start", "", 5.0);
        let early = early.rows("512 MiB");
        assert_eq!((early[0].n, early[0].median), (1, Some(5.0)));
        assert!(early[0].note.starts_with("ended early: "), "{}", early[0].note);
        assert_eq!(some_of([never, early].concat(), vec![failure()]).unwrap().len(), 2);
    }
}
