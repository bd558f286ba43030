//! Templates of the functions: what their pages are, what many instances hold, what starts are made of.

use runs::{Chart, MeasuredRow};

use super::functions::names;
use super::{Error, Outcome, of_this_machine};
use crate::bench_sandbox::Quantiles;
use crate::bench_template::{Engine, Row, Settings, run as bench, synthetic_named};
use crate::criu::{self, Criu, Dump, Way};
use crate::functions::{self, Places, Usage};
use crate::sandbox::{Base, Config, Manager, Mode, Sandbox};
use crate::template::{Backing, Prepared, Scratch, Store, Subject, Template, groups};

const MIB: f64 = (1 << 20) as f64;
/// Calls before a function is captured.
const WARM_UPS: u32 = 3;
/// Pages that a page server installs for one fault.
const BATCH: usize = 16;
/// Invocations whose pages are counted.
const INVOCATIONS: usize = 3;

fn config(places: &Places) -> Config {
    Config { base: Base::Image(places.image()), ..Config::new(Mode::Repurpose) }
}

/// A function of the repository, or one of a wanted size (`sized-100`, `sized-node-100`).
fn subject(places: &Places, name: &str) -> Result<Subject, functions::Error> {
    let folder = places.out.join("functions-sized");
    if let Some(sized) = synthetic_named(name, &folder) {
        return sized.map_err(functions::Error::io("write", &folder));
    }
    Ok(Subject::from(functions::find(places, name)?.locate(places)?))
}

fn row(subject: &str, metric: &str, part: &str, unit: &str, n: u64, value: f64) -> MeasuredRow {
    MeasuredRow {
        subject: subject.to_owned(),
        metric: metric.to_owned(),
        part: part.to_owned(),
        unit: unit.to_owned(),
        n,
        median: Some(value),
        ..MeasuredRow::default()
    }
}

fn not_run(subject: &str, metric: &str, why: &str) -> MeasuredRow {
    MeasuredRow {
        subject: subject.to_owned(),
        metric: metric.to_owned(),
        note: format!("NOT-RUN: {why}"),
        ..MeasuredRow::default()
    }
}

/// Each function captured warm; what one more invocation does to its pages, and how many are alike.
pub(super) fn page_groups(places: &Places, wanted: &[String]) -> Result<Outcome, Error> {
    let scratch = Scratch::new()?;
    let manager = Manager::start(config(places))?;
    let mut rows = Vec::new();
    let mut captured: Vec<(String, Template)> = Vec::new();
    for name in names(places, wanted)? {
        eprintln!("capturing {name}");
        match groups_of(places, &manager, scratch.store(), &name) {
            Ok((template, found)) => {
                rows.extend(found);
                captured.push((name, template));
            }
            Err(error) => rows.push(not_run(&name, "pages", &error.to_string())),
        }
    }
    let sharing = scratch.store().sharing()?;
    for (name, template) in &captured {
        let Some(of) = sharing.templates.iter().find(|row| row.id == template.id()) else { continue };
        let mib = |pages: u64| pages as f64 * 4096.0 / MIB;
        let own = of.pages - of.duplicates_within - of.duplicates_across;
        rows.push(row(name, "contents", "only here", "MiB", 1, mib(own)));
        rows.push(row(name, "contents", "twice in it", "MiB", 1, mib(of.duplicates_within)));
        rows.push(row(name, "contents", "in an earlier template", "MiB", 1, mib(of.duplicates_across)));
    }
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::parts("page-groups", "Pages of templates by what an invocation does", "pages", "MiB"),
            Chart::wholes("read-only-share", "Touched pages that are only read", "read-only share", "%"),
            Chart::parts("contents", "Pages of templates that are alike", "contents", "MiB"),
        ],
        warnings: vec![
            "only pages of the template count: file pages that nobody has written belong to the files"
                .to_owned(),
            format!(
                "{INVOCATIONS} invocations with the base input by one process of the template, which was captured \
                 after {WARM_UPS} with the warm-up input; exact counts, page by page"
            ),
        ],
        wrong: Vec::new(),
        stand_ins: Vec::new(),
    })
}

fn groups_of(
    places: &Places,
    manager: &Manager,
    store: &Store,
    name: &str,
) -> Result<(Template, Vec<MeasuredRow>), Error> {
    let subject = subject(places, name)?;
    let (sandbox, template) = subject.capture(manager, store, WARM_UPS)?;
    manager.destroy(sandbox);
    let counted = groups::measure(manager, &template, &subject, &[&subject.inputs.base; INVOCATIONS])?;
    let mut sums = [0; 3];
    let mut rows = Vec::new();
    for (class, group) in &counted.groups {
        let counts = [group.read_only, group.written, group.untouched];
        for (part, (pages, sum)) in
            ["read only", "written", "untouched"].into_iter().zip(counts.into_iter().zip(&mut sums))
        {
            *sum += pages;
            let mib = pages as f64 * 4096.0 / MIB;
            let class = format!("{class:?}").to_lowercase();
            rows.push(row(name, "pages by class", &format!("{class}, {part}"), "MiB", 1, mib));
        }
    }
    let [read, written, _] = sums;
    for (part, pages) in ["read only", "written", "untouched"].into_iter().zip(sums) {
        rows.push(row(name, "pages", part, "MiB", 1, pages as f64 * 4096.0 / MIB));
    }
    for (nth, call) in counted.calls.iter().enumerate() {
        let nth = nth + 1;
        for (part, pages) in [("first touched", call.first_touched), ("written", call.written)] {
            let part = format!("{part} by invocation {nth}");
            rows.push(row(name, "pages by invocation", &part, "MiB", 1, pages as f64 * 4096.0 / MIB));
        }
    }
    rows.push(row(
        name,
        "pages of no template",
        "at the peak",
        "MiB",
        1,
        counted.fresh as f64 * 4096.0 / MIB,
    ));
    if read + written > 0 {
        let share = 100.0 * read as f64 / (read + written) as f64;
        rows.push(MeasuredRow {
            published: "24 to 90 % of pages are only read (SOSP'24)".to_owned(),
            ..row(name, "read-only share", "", "%", 1, share)
        });
    }
    Ok((template, rows))
}

/// So many instances of each function at once, each called once: booted ones and attached ones.
pub(super) fn instances(places: &Places, wanted: &[String], count: u32) -> Result<Outcome, Error> {
    let scratch = Scratch::new()?;
    let manager = Manager::start(config(places))?;
    let criu = Criu::find(&places.out);
    let mut rows = Vec::new();
    for name in names(places, wanted)? {
        eprintln!("{count} instances of {name}");
        let subject = match subject(places, &name) {
            Ok(subject) => subject,
            Err(error) => {
                rows.extend(["boot", "attach", "criu"].map(|engine| MeasuredRow {
                    panel: name.clone(),
                    ..not_run(engine, "memory", &error.to_string())
                }));
                continue;
            }
        };
        let mut add = |engine: &str, found: Result<Held, String>| match found {
            Ok(Held { own, files, template }) => {
                let of = |part: &str, mib| MeasuredRow {
                    panel: name.clone(),
                    ..row(engine, "memory", part, "MiB", count.into(), mib)
                };
                rows.push(of("their own", own));
                rows.push(of("files, shared", files));
                rows.extend(template.map(|mib| of("template", mib)));
            }
            Err(why) => {
                rows.push(MeasuredRow { panel: name.clone(), ..not_run(engine, "memory", &why) });
            }
        };
        // One that cannot be captured can still be booted, or restored by CRIU.
        let booted = together(&manager, &subject, None, count);
        add("boot", booted.map_err(|error| error.to_string()));
        let attached = captured(&manager, scratch.store(), &subject).and_then(|(template, prepared)| {
            let held = together(&manager, &subject, Some(&prepared), count);
            let held = held.map_err(|error| error.to_string())?;
            let pages = template.manifest().pages.present;
            Ok(Held { template: Some(pages as f64 * 4096.0 / MIB), ..held })
        });
        add("attach", attached);
        let dump = match criu.lacking() {
            Some(why) => Err(why),
            None => Dump::new(&criu, &subject, &places.image(), WARM_UPS, false)
                .map_err(|error| error.to_string()),
        };
        for (engine, way) in [("criu", Way::Plain), ("criu-lazy", Way::Lazy), ("criu-attach", Way::Attach)] {
            let held = match &dump {
                Ok(dump) => restored(dump, &subject, way, count).map_err(|error| error.to_string()),
                Err(why) => Err(why.clone()),
            };
            add(engine, held);
        }
    }
    Ok(Outcome {
        rows,
        charts: vec![Chart::parts(
            "instances",
            "Memory of instances that all answered once",
            "memory",
            "MiB",
        )],
        warnings: vec![format!(
            "every instance has answered once; what a template holds has answered {WARM_UPS} times before, so a heap \
             that grows from call to call is larger there than in a booted one"
        )],
        wrong: Vec::new(),
        stand_ins: vec!["templates lie in this machine's DRAM, which stands for CXL memory".to_owned()],
    })
}

/// A function's template, ready to be attached, or why there is none.
fn captured(manager: &Manager, store: &Store, subject: &Subject) -> Result<(Template, Prepared), String> {
    let make = || -> Result<(Template, Prepared), Error> {
        let (sandbox, template) = subject.capture(manager, store, WARM_UPS)?;
        manager.destroy(sandbox);
        let prepared = Prepared::new(&template, Backing::Map)?;
        Ok((template, prepared))
    };
    make().map_err(|error| error.to_string())
}

/// What instances hold together, MiB.
#[derive(Default)]
struct Held {
    /// Their own memory.
    own: f64,
    /// Their shares of files.
    files: f64,
    /// The template that all of them have mapped.
    template: Option<f64>,
}

impl Held {
    /// With one more process. One that has ended holds nothing; pages of a template count once, as part of the
    /// template.
    fn add(&mut self, pid: i32) {
        if let Ok(usage) = Usage::of(pid.unsigned_abs()) {
            self.own += usage.anonymous_bytes as f64 / MIB;
            self.files += usage.pss_file_bytes as f64 / MIB;
        }
    }
}

/// Memory of `count` instances after one call of each.
fn together(
    manager: &Manager,
    subject: &Subject,
    template: Option<&Prepared>,
    count: u32,
) -> Result<Held, Error> {
    let mut living: Vec<Sandbox> = Vec::new();
    for _ in 0..count {
        let mut sandbox = match template {
            Some(template) => template.start(manager, None, &subject.program, None)?.sandbox,
            None => subject.boot(manager)?,
        };
        subject.call(&mut sandbox, &subject.inputs.base)?;
        living.push(sandbox);
    }
    let mut held = Held::default();
    let pids = living.iter().filter_map(|sandbox| sandbox.function()?.pid());
    pids.for_each(|pid| held.add(pid));
    for sandbox in living {
        manager.destroy(sandbox);
    }
    Ok(held)
}

/// The same of instances that CRIU has restored.
fn restored(dump: &Dump, subject: &Subject, way: Way, count: u32) -> Result<Held, criu::Error> {
    let mut living = Vec::new();
    for _ in 0..count {
        let mut one = dump.restore(way)?;
        one.call(&subject.inputs.base)?;
        living.push(one);
    }
    let mut held = Held::default();
    living.iter().for_each(|one| held.add(one.pid()));
    if way == Way::Attach {
        held.template = dump.template_bytes().map(|bytes| bytes as f64 / MIB);
    }
    Ok(held)
}

/// What the starts of each function are made of, by each engine in the same run.
pub(super) fn starts(places: &Places, wanted: &[String], starts: u32) -> Result<Outcome, Error> {
    let scratch = Scratch::new()?;
    let mut rows = Vec::new();
    for name in names(places, wanted)? {
        eprintln!("starting {name}");
        let subject = match subject(places, &name) {
            Ok(subject) => subject,
            Err(error) => {
                let row = not_run("attach", "start", &error.to_string());
                rows.push(MeasuredRow { panel: name, ..row });
                continue;
            }
        };
        let settings = Settings {
            config: config(places),
            store: scratch.store().clone(),
            subjects: vec![subject],
            engines: Engine::ALL.to_vec(),
            starts: starts as usize,
            warm_ups: WARM_UPS,
            batch: BATCH,
            criu: Criu::find(&places.out),
        };
        match bench(&settings) {
            Ok(measured) => rows.extend(measured.iter().flat_map(start_rows)),
            Err(error) => {
                let row = not_run("attach", "start", &error.to_string());
                rows.push(MeasuredRow { panel: name, ..row });
            }
        }
    }
    Ok(Outcome {
        rows,
        charts: vec![
            Chart::parts("starts", "From the order to the first reply", "start", "Median (ms)"),
            Chart::wholes("own-memory", "Memory of its own after the first reply", "private memory", "MiB"),
        ],
        warnings: of_this_machine(),
        wrong: Vec::new(),
        stand_ins: vec!["templates lie in this machine's DRAM, which stands for CXL memory".to_owned()],
    })
}

fn start_rows(measured: &Row) -> Vec<MeasuredRow> {
    let named = |row: MeasuredRow| MeasuredRow { panel: measured.function.clone(), ..row };
    let engine = measured.engine.name();
    if let Some(why) = &measured.not_run {
        return vec![named(not_run(engine, "start", why))];
    }
    let n = measured.starts as u64;
    let time = |metric: &str, part: &str, times: Quantiles| {
        let p99 = (n >= 100).then_some(times.p99_us / 1e3);
        let interval = times.interval_us.map(|(low, high)| (low / 1e3, high / 1e3));
        named(MeasuredRow { p99, interval, ..row(engine, metric, part, "ms", n, times.median_us / 1e3) })
    };
    let memory = |metric: &str, bytes: u64| named(row(engine, metric, "", "MiB", n, bytes as f64 / MIB));
    let mut rows = vec![
        time("start", "sandbox", measured.sandbox),
        time("start", "state", measured.engine_time),
        time("start", "first reply", measured.reply),
        time("whole start", "", measured.first_reply),
        memory("private memory", measured.private_bytes),
        memory("proportional memory", measured.proportional_bytes),
    ];
    for (step, median_us) in &measured.steps {
        rows.push(named(row(engine, "step of an attach", step, "ms", n, median_us / 1e3)));
    }
    rows
}
