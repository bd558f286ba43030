//! Profiles of functions for the simulator, measured with their templates.
//!
//! What `configs/profiles/` holds, of the functions of this machine: the page groups of a template by exact counts,
//! processor time of the start and of calls, mappings, threads, and resident pages of files. A page's content is
//! what its mapping is of (the executed program and the C library: runtime; other files: library; everything else:
//! function), so that memory which a runtime allocates counts as the function's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use super::{Counted, Groups};
use crate::functions::{Input, Language};
use crate::sandbox::{Function, Manager};
use crate::template::capture::maps;
use crate::template::error::Error;
use crate::template::manifest::Class;
use crate::template::pages::PAGE;
use crate::template::store::Store;
use crate::template::subject::Subject;

/// The key of each class of pages in a profile.
const CONTENTS: [(Class, &str); 3] =
    [(Class::Runtime, "runtime"), (Class::Library, "library"), (Class::Function, "function")];

/// One function's profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// What runs it.
    pub language: Language,
    /// Processor time from the execution until it waited for a request.
    pub init: Duration,
    /// Processor time of a call: median.
    pub service: Duration,
    /// Deviation of the logarithm of that time, from its quartiles.
    pub sigma: f64,
    /// Mappings of the warm process.
    pub regions: usize,
    /// Its threads.
    pub threads: usize,
    /// Resident pages of files that it has not written.
    pub file_pages: u64,
    /// What invocations do to its template.
    pub counted: Counted,
    /// Calls that were timed.
    pub calls: usize,
}

/// Starts a function, calls it until it is warm, captures it, times `calls` further calls, and counts what
/// `invocations` calls do to the pages of a copy.
///
/// # Errors
/// If it cannot be started, captured or attached, or an answer is wrong.
pub fn measure(
    manager: &Manager,
    store: &Store,
    (subject, language): (&Subject, Language),
    warm_ups: u32,
    calls: usize,
    invocations: usize,
) -> Result<Profile, Error> {
    let mut sandbox = subject.boot(manager)?;
    let pid = sandbox.function().and_then(Function::pid).unwrap_or(0);
    let told = || Error::step(format!("look at {}", subject.name));
    let init = processor_time(pid).map_err(told())?;
    for _ in 0..warm_ups {
        subject.call(&mut sandbox, &subject.inputs.warm_up)?;
    }
    let function = sandbox.function().expect("a function that has just answered");
    let template =
        crate::template::capture(store, function, &crate::template::Request::new(&subject.name, warm_ups))?;
    let mappings = maps::read(pid).map_err(told())?;
    let of_files: u64 =
        mappings.iter().map(|mapping| mapping.resident.saturating_sub(mapping.anonymous)).sum();
    let mut times = Vec::new();
    for _ in 0..calls.max(1) {
        let before = processor_time(pid).map_err(told())?;
        subject.call(&mut sandbox, &subject.inputs.base)?;
        times.push(processor_time(pid).map_err(told())?.saturating_sub(before));
    }
    manager.destroy(sandbox);
    let inputs: Vec<&Input> = vec![&subject.inputs.base; invocations.max(1)];
    let counted = super::measure(manager, &template, subject, &inputs)?;
    let (service, sigma) = spread(times);
    Ok(Profile {
        name: subject.name.clone(),
        language,
        init,
        service,
        sigma,
        regions: mappings.len(),
        threads: template.manifest().threads.len(),
        file_pages: of_files / PAGE as u64,
        counted,
        calls,
    })
}

/// What the threads of a process that live have had of processors.
fn processor_time(pid: i32) -> io::Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split_ascii_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// Median, and the deviation of a log-normal distribution with these quartiles.
fn spread(mut times: Vec<Duration>) -> (Duration, f64) {
    // Between the quartiles of a normal distribution lie so many of its deviations.
    const QUARTILES: f64 = 1.349;
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 4).min(times.len() - 1)].max(Duration::from_nanos(1));
    let sigma = (at(3).as_secs_f64() / at(1).as_secs_f64()).ln() / QUARTILES;
    (at(2), sigma)
}

/// Profiles as a file that an experiment names with `profiles`. The first is that of functions whose trace names
/// none. `machine` says where it was measured.
#[must_use]
pub fn render(profiles: &[Profile], machine: &str) -> String {
    let mut text = String::from(
        "# Profiles of functions, measured with their templates by `trenvx emu template profile`.\n\
         # Contents are by mapping: memory that a runtime allocates counts as the function's.\n",
    );
    if let Some(first) = profiles.first() {
        text.push_str(&format!("\n[default]\nprofile = \"{}\"\n", first.name));
    }
    let mut runtimes: BTreeMap<&str, &Profile> = BTreeMap::new();
    for profile in profiles.iter().filter(|profile| has_runtime(profile.language)) {
        let quickest = runtimes.entry(profile.language.name()).or_insert(profile);
        if profile.init < quickest.init {
            *quickest = profile;
        }
    }
    for (runtime, quickest) in runtimes {
        text.push_str(&format!(
            "\n[runtimes.{runtime}]\ninit = {{ value = \"{}\", source = \"measured: initialisation of {} below\", \
             assumed = true, why = \"the runtime was not timed apart from a function; the quickest function's \
             initialisation bounds its own\" }}\n",
            ms(quickest.init),
            quickest.name
        ));
    }
    profiles.iter().for_each(|profile| text.push_str(&one(profile, machine)));
    text
}

fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn kib(pages: u64) -> String {
    format!("\"{} KiB\"", pages * (PAGE as u64 >> 10))
}

fn one(profile: &Profile, machine: &str) -> String {
    let name = &profile.name;
    let mut text = format!("\n[{name}]\n");
    if has_runtime(profile.language) {
        text.push_str(&format!("runtime = \"{}\"\n", profile.language.name()));
    }
    let share = read_only_share(&profile.counted.groups);
    text.push_str(&format!(
        "source = \"measured: trenvx emu template profile, {machine}, {} timed and {} counted calls\"\n\
         init = \"{}\"\n\
         service = {{ log-normal = {{ median = \"{}\", sigma = {:.3} }} }}\n\
         regions = {}\nthreads = {}\nfile = {}\n\
         memory_intensity = {{ value = 0.05, source = \"none\", assumed = true, why = \"what part of its time a \
         function waits for memory is not measured here; to be replaced by calibration\" }}\n\
         read_only_accesses = {{ value = {share:.3}, source = \"this page table\", assumed = true, why = \"share of \
         the template's pages it touches that are only read stands in for the share of accesses\" }}\n",
        profile.calls,
        profile.counted.calls.len(),
        ms(profile.init),
        ms(profile.service),
        profile.sigma,
        profile.regions,
        profile.threads,
        kib(profile.file_pages),
    ));
    for (class, key) in CONTENTS {
        let Some(group) = profile.counted.groups.get(&class) else { continue };
        text.push_str(&table(name, key, [group.read_only, group.written, group.untouched]));
    }
    text.push_str(&table(name, "instance", [0, profile.counted.fresh, 0]));
    text
}

fn table(name: &str, content: &str, [read_only, written, untouched]: [u64; 3]) -> String {
    format!(
        "[{name}.pages.{content}]\nread_only = {}\nwritten = {}\nuntouched = {}\n",
        kib(read_only),
        kib(written),
        kib(untouched)
    )
}

/// Of the pages that are touched, the share that is only read.
#[must_use]
pub fn read_only_share(groups: &Groups) -> f64 {
    let sum = |part: fn(&super::Group) -> u64| groups.values().map(part).sum::<u64>() as f64;
    let (read_only, written) = (sum(|group| group.read_only), sum(|group| group.written));
    if read_only + written == 0.0 { 0.0 } else { read_only / (read_only + written) }
}

/// Whether functions of a language have a program in common beside their own.
fn has_runtime(language: Language) -> bool {
    !matches!(language, Language::Native | Language::BuiltIn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::groups::Group;

    fn profile(name: &str, language: Language, init: u64) -> Profile {
        let group = Group { pages: 100, duplicates: 3, written: 20, read_only: 30, untouched: 50 };
        let groups = [(Class::Runtime, group), (Class::Function, group)].into_iter().collect();
        Profile {
            name: name.into(),
            language,
            init: Duration::from_millis(init),
            service: Duration::from_micros(1500),
            sigma: 0.25,
            regions: 200,
            threads: 1,
            file_pages: 1000,
            counted: Counted { groups, calls: vec![super::super::Call::default(); 2], fresh: 7 },
            calls: 15,
        }
    }

    #[test]
    fn the_simulator_reads_what_is_written() {
        use platform::{Behaviour, Content};
        let folder = tempfile::tempdir().unwrap();
        let profiles = [
            profile("one", Language::Python, 120),
            profile("two", Language::Python, 90),
            profile("three", Language::Native, 3),
        ];
        let file = folder.path().join("measured.toml");
        fs::write(&file, render(&profiles, "a machine")).unwrap();
        let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/base.toml");
        let experiment = folder.path().join("e99.toml");
        let text = format!(
            "id = \"e99\"\ntitle = \"A test\"\nquestion = \"Is it read?\"\nbase = \"{}\"\nprofiles = \"measured.toml\"\n\
             workload.w2 = {{}}\n",
            base.display()
        );
        fs::write(&experiment, text).unwrap();
        let experiment = configs::load(&experiment, configs::Tier::Kick, &[])
            .unwrap_or_else(|problems| panic!("{problems}"));
        let found = &experiment.points[0].spec.profiles["one"];
        assert_eq!(found.pages.get(Content::Runtime, Behaviour::ReadOnly).0, 30);
        assert_eq!(found.pages.get(Content::Instance, Behaviour::Written).0, 7);
        assert_eq!(found.runtime_init, traces::Duration::from_millis(90));
    }

    #[test]
    fn a_share_is_of_touched_pages() {
        assert!((read_only_share(&profile("one", Language::Node, 1).counted.groups) - 0.6).abs() < 1e-9);
        assert_eq!(read_only_share(&Groups::new()), 0.0);
    }

    #[test]
    fn the_spread_is_that_of_the_quartiles() {
        let times = (1..=101).map(|nth| Duration::from_micros(1000 + nth)).collect();
        let (median, sigma) = spread(times);
        assert_eq!(median, Duration::from_micros(1051));
        assert!((sigma - (1076.0_f64 / 1026.0).ln() / 1.349).abs() < 1e-9);
        assert_eq!(spread(vec![Duration::from_millis(2)]), (Duration::from_millis(2), 0.0));
    }
}
