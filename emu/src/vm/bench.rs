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
use super::{Accelerator, Error, Host, Image, Machine, Method, RootDevice, Started, Template};

/// How long a guest may take to read the data file.
const READING: Duration = Duration::from_secs(120);
/// What templates are warmed up with: the runtime is warm by itself, and this has worked a little.
const WARM: &str = "import json; STATE_SEEN = json.loads(json.dumps({'warm': True})); result = STATE_SEEN";
/// The row of guests that boot.
const BOOT: &str = "boot";

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
                    ..MeasuredRow::default()
                }
            })
            .collect()
    }
}

/// What was published about a start, on other machines and under KVM.
fn published(metric: &str, subject: &str) -> &'static str {
    match (metric, subject) {
        ("start", "trenvx-vm") => "< 40 ms claimed (TrEnv-X README)",
        ("start", "vanilla-ch") => "160+ ms for 512 MB (cloud-hypervisor PR 5390)",
        _ => "",
    }
}

/// Order of the parts.
const ORDER: &[(&str, &str)] = &[
    ("start", ""),
    ("step", "copy memory"),
    ("step", "sandbox"),
    ("step", "VMM"),
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
        rows.extend(starts_of_size(setting, methods, mib, starts, &mut failures));
    }
    some_of(rows, failures)
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

/// What reading the same file costs when 1 to `vms` guests do it, by each root device: page caches in the guests and
/// on the host, and all memory that came with it.
///
/// What only one root device lacks is noted in its rows.
///
/// # Errors
/// If guests of neither root device can be measured.
pub fn page_cache(setting: &Setting, memory_mib: u32, vms: u32) -> Result<Vec<MeasuredRow>, Error> {
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    let panel = |nth: usize| if nth == 0 { "1 VM".to_owned() } else { format!("{} VMs", nth + 1) };
    for (method, subject) in
        [(Method::TrenvxVmGuestCache, "virtio-blk"), (Method::TrenvxVm, "virtio-pmem, DAX")]
    {
        let caches = match Caches::measure(setting, method, memory_mib, vms) {
            Ok(caches) => caches,
            Err(error) => {
                let why = error.to_string();
                for metric in ["page cache", "memory"] {
                    rows.extend((0..vms).map(|nth| not_run(&panel(nth as usize), subject, metric, &why)));
                }
                failures.push(error);
                continue;
            }
        };
        let published = if method == Method::TrenvxVm { "guest caches nothing (TrEnv-X)" } else { "" };
        for (nth, growth) in caches.growths.iter().enumerate() {
            let mut push = |metric: &str, part: &str, bytes: i64| {
                rows.push(MeasuredRow {
                    panel: panel(nth),
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
    /// The host's page cache of the rest of the root image: what it has read around the file and the agent.
    ahead: i64,
    /// What belongs to the VMMs alone, guest memory among it.
    own: i64,
}

struct Caches {
    /// After one VM has read, after two, …
    growths: Vec<Growth>,
}

impl Caches {
    fn measure(setting: &Setting, method: Method, memory_mib: u32, vms: u32) -> Result<Self, Error> {
        let template = setting.template(&Machine::new(memory_mib, method.root()))?.template;
        let host = setting.host(method)?;
        Self::of(setting, &host, &template, vms)
    }

    fn of(setting: &Setting, host: &Host, template: &Template, vms: u32) -> Result<Self, Error> {
        let about = &setting.image.about;
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
            sum.host = cached(Some((about.data_at, about.data_bytes)))? as i64;
            sum.ahead = cached(None)? as i64 - sum.host;
            Ok(sum)
        };
        // Once for nothing: what asking itself touches is touched.
        take(&mut guests)?;
        let before = take(&mut guests)?;
        let mut growths = Vec::new();
        for nth in 0..guests.len() {
            eprintln!("guest {} of {vms} reads {} MiB", nth + 1, about.data_bytes >> 20);
            let read = guests[nth].ask("scan", json!({ "path": about.data_file }), READING)?;
            if read["bytes"].as_u64() != Some(about.data_bytes) {
                let why = format!(
                    "{} has {} bytes instead of {}",
                    about.data_file, read["bytes"], about.data_bytes
                );
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
        Ok(Self { growths })
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

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
