//! `profiles/*.toml`: one table per function.
//!
//! ```toml
//! [default]                        # profile of functions whose trace names none
//! profile = "json-serde"           # one of this file, or a whole profile written here
//!
//! [runtimes.python]                # what functions of one language runtime have in common
//! init = { value = "127 ms", source = "…" }
//!
//! [json-serde]
//! runtime = "python"               # may be left out: then it shares with none
//! source = "measured by …"         # covers every plain value below
//! init = "310 ms"
//! service = { log-normal = { median = "48 ms", sigma = 0.05 } }
//! regions = 180
//! threads = 5
//! file = "21 MiB"
//! memory_intensity = { value = 0.2, source = "…", assumed = true, why = "…" }
//! read_only_accesses = 0.6
//! # [json-serde.agent] makes it an agent; see check/agents.rs
//! [json-serde.pages.runtime]       # and library, function, instance, where it has any
//! read_only = "6 MiB"
//! written = "2 MiB"
//! untouched = "3 MiB"
//! ```

use super::agents;
use super::constants::{Constants, Provenance};
use crate::section::Section;
use crate::spec::ServiceTime;
use crate::suggest;
use crate::values;
use platform::{Behaviour, Content, PageGroups, Profile};
use std::collections::BTreeMap;
use traces::Duration;

/// Table of the language runtimes.
const RUNTIMES: &str = "runtimes";

/// Name under which a whole profile written in `[default]` is known.
const DEFAULT: &str = "default";

/// What a profiles file gives.
#[derive(Default)]
pub(crate) struct Profiles {
    pub profiles: BTreeMap<String, Profile>,
    pub service_times: BTreeMap<String, ServiceTime>,
    pub default_profile: String,
}

/// The profiles of a file.
pub(crate) fn profiles(file: &Section<'_, '_>, constants: &Constants) -> Profiles {
    let mut found = Profiles::default();
    let runtimes = runtimes(file, constants);
    let common = agents::Common::of(file, constants);
    for (name, entry) in file.entries() {
        if name == RUNTIMES || agents::TABLES.contains(&name) {
            continue;
        }
        let path = crate::tree::join(&file.path, name);
        if name == DEFAULT && entry.node.get("profile").is_some() {
            continue;
        }
        let section = Section::of(file.checker, &path, &entry.node);
        let (mut profile, service) = profile(&section, constants);
        profile.agent = common.agent(&section, constants);
        set_runtime(&section, name, &runtimes, &mut profile);
        section.finish();
        found.profiles.insert(name.to_owned(), profile);
        if let Some(service) = service {
            found.service_times.insert(name.to_owned(), service);
        }
    }
    found.default_profile = default_profile(file, &found.profiles);
    found
}

/// `[runtimes.NAME]`: processor time that initialises each runtime.
fn runtimes(file: &Section<'_, '_>, constants: &Constants) -> BTreeMap<String, Duration> {
    let mut found = BTreeMap::new();
    let Some(section) = file.optional_section(RUNTIMES) else { return found };
    for (name, entry) in section.entries() {
        let path = crate::tree::join(&section.path, name);
        let runtime = Section::of(file.checker, &path, &entry.node);
        let provenance = Provenance::of(&runtime);
        found.insert(name.to_owned(), constants.get(&runtime, &provenance, "init", values::duration));
        runtime.finish();
    }
    found
}

/// A profile that names no runtime has one of its own, which nobody shares.
fn set_runtime(
    section: &Section<'_, '_>,
    name: &str,
    runtimes: &BTreeMap<String, Duration>,
    profile: &mut Profile,
) {
    let Some(runtime) = section.optional("runtime", values::text) else {
        profile.runtime = name.to_owned();
        return;
    };
    match runtimes.get(&runtime) {
        Some(&init) => profile.runtime_init = init.min(profile.init),
        None => {
            let hint = suggest::hint(&runtime, runtimes.keys().map(String::as_str));
            section.problem("runtime", format!("no runtime \"{runtime}\" in this file: {hint}"));
        }
    }
    profile.runtime = runtime;
}

fn default_profile(file: &Section<'_, '_>, profiles: &BTreeMap<String, Profile>) -> String {
    if profiles.contains_key(DEFAULT) {
        return DEFAULT.to_owned();
    }
    let Some(section) = file.section(DEFAULT) else { return String::new() };
    let name = section.get("profile", values::text);
    if !name.is_empty() && !profiles.contains_key(&name) {
        let hint = suggest::hint(&name, profiles.keys().map(String::as_str));
        section.problem("profile", format!("no profile \"{name}\" in this file: {hint}"));
    }
    Provenance::of(&section);
    section.finish();
    name
}

fn profile(section: &Section<'_, '_>, constants: &Constants) -> (Profile, Option<ServiceTime>) {
    let provenance = Provenance::of(section);
    let service = section.has("service").then(|| service_time(section, &provenance, constants)).flatten();
    let profile = Profile {
        runtime: String::new(),
        runtime_init: Duration::ZERO,
        init: constants.get(section, &provenance, "init", values::duration),
        pages: pages(section, &provenance, constants),
        file_pages: constants.get(section, &provenance, "file", values::size).pages(),
        regions: constants.get(section, &provenance, "regions", values::count),
        threads: constants.get(section, &provenance, "threads", values::count),
        memory_intensity: constants.get(section, &provenance, "memory_intensity", values::share),
        read_only_accesses: constants.get(section, &provenance, "read_only_accesses", values::share),
        agent: None,
    };
    (profile, service)
}

fn service_time(
    section: &Section<'_, '_>,
    provenance: &Provenance,
    constants: &Constants,
) -> Option<ServiceTime> {
    match section.choice("service", &["constant", "log-normal"])? {
        ("constant", _) => {
            let inner = section.section("service")?;
            let time = constants.get(&inner, provenance, "constant", values::positive_duration);
            Some(ServiceTime::constant(time))
        }
        (_, node) => {
            let inner = Section::of(section.checker, &format!("{}.service.log-normal", section.path), node);
            let median = constants.get(&inner, provenance, "median", values::positive_duration);
            let time = ServiceTime::LogNormal {
                median_ms: median.as_millis_f64(),
                sigma: constants.get(&inner, provenance, "sigma", values::non_negative),
            };
            inner.finish();
            Some(time)
        }
    }
}

fn pages(section: &Section<'_, '_>, provenance: &Provenance, constants: &Constants) -> PageGroups {
    const CONTENTS: [(Content, &str); 4] = [
        (Content::Runtime, "runtime"),
        (Content::Library, "library"),
        (Content::Function, "function"),
        (Content::Instance, "instance"),
    ];
    const BEHAVIOURS: [(Behaviour, &str); 3] = [
        (Behaviour::ReadOnly, "read_only"),
        (Behaviour::Written, "written"),
        (Behaviour::Untouched, "untouched"),
    ];
    let mut groups = PageGroups::EMPTY;
    let Some(pages) = section.section("pages") else { return groups };
    for (content, name) in CONTENTS {
        // A content class without a table has no pages.
        if !pages.has(name) {
            continue;
        }
        // A function without pages of a content leaves its table out.
        let Some(group) = pages.optional_section(name) else { continue };
        // A group may have a source of its own.
        let own = Provenance::of(&group).or(provenance);
        for (behaviour, key) in BEHAVIOURS {
            groups.set(content, behaviour, constants.get(&group, &own, key, values::size).pages());
        }
        group.finish();
    }
    if groups.footprint() == traces::Pages::ZERO {
        section
            .problem("pages", "no pages at all: give at least one of runtime, library, function, instance");
    }
    pages.finish();
    groups
}
