//! `systems = […]` and `[override.systems.NAME]`.

use crate::section::{Checker, Section};
use crate::source::Origin;
use crate::suggest;
use crate::tree::{Node, Value, join};
use crate::values;
use platform::system::{
    CgroupEntry, Dedup, Isolating, Isolation, KeepAlive, PageSource, SYSTEMS, State, System, system,
};
use serde::de::DeserializeOwned;

/// The systems an experiment compares, in its order.
pub(crate) fn systems(root: &Section<'_, '_>) -> Vec<System> {
    let named = root.list("systems", values::text);
    root.words("systems", names());
    let listed = root.required("systems").is_some_and(|entry| matches!(entry.node.value, Value::List(_)));
    if listed && named.is_empty() {
        root.problem(
            "systems",
            format!("no system named: known are {}", names().collect::<Vec<_>>().join(", ")),
        );
    }
    find(root.checker, "systems", named)
}

/// The systems of a list of names that stands at `key`.
pub(crate) fn find(checker: &Checker<'_>, key: &str, named: Vec<(String, Origin)>) -> Vec<System> {
    let mut found: Vec<System> = Vec::new();
    for (name, origin) in named {
        if found.iter().any(|system| system.name == name) {
            checker.problem(origin, key, format!("\"{name}\" is named twice: keep one"));
        } else if let Some(system) = system(&name) {
            found.push(system);
        } else if !name.is_empty() {
            let hint = suggest::hint(&name, names());
            checker.problem(origin, key, format!("no system \"{name}\": {hint}"));
        }
    }
    found
}

/// Names of the registered systems.
pub(crate) fn names() -> impl Iterator<Item = &'static str> + Clone {
    SYSTEMS.iter().map(|entry| entry.name)
}

/// Applies `[override.systems.NAME]`, for ablations.
pub(crate) fn change(checker: &Checker<'_>, systems: &mut [System], over: &Node) {
    let Some(table) = over.table() else {
        checker.problem(
            over.origin,
            "override.systems",
            format!("{} where a table belongs", over.value.kind()),
        );
        return;
    };
    for (name, entry) in table {
        let path = join("override.systems", name);
        if !names().any(|known| known == name) {
            checker.problem(
                entry.key_origin,
                &path,
                format!("no system \"{name}\": {}", suggest::hint(name, names())),
            );
            continue;
        }
        let section = Section::of(checker, &path, &entry.node);
        // A system that this tier leaves out is still checked.
        let mut spare = system(name);
        if let Some(target) = systems.iter_mut().find(|system| system.name == *name).or(spare.as_mut()) {
            change_one(&section, target);
        }
        section.finish();
    }
}

fn change_one(section: &Section<'_, '_>, system: &mut System) {
    word::<Isolation>(section, "isolation", Isolation::WORDS, &mut system.isolation);
    word::<Isolating>(section, "isolating", Isolating::WORDS, &mut system.isolating);
    word::<CgroupEntry>(section, "cgroup", CgroupEntry::WORDS, &mut system.cgroup);
    word::<State>(section, "state", State::WORDS, &mut system.state);
    word::<PageSource>(section, "pages", PageSource::WORDS, &mut system.pages);
    word::<Dedup>(section, "dedup", Dedup::WORDS, &mut system.dedup);
    word::<KeepAlive>(section, "keep_alive", KeepAlive::WORDS, &mut system.keep_alive);
    let set = |key, target: &mut u32, parse| {
        if let Some(value) = section.optional(key, parse) {
            *target = value;
        }
    };
    set("start_slots", &mut system.start_slots, values::count);
    set("prepopulated", &mut system.prepopulated, values::small);
    set("pooled_netns", &mut system.pooled_netns, values::small);
    set("promote_after", &mut system.promote_after, values::small);
    set("agents_per_browser", &mut system.agents_per_browser, values::count);
    if let Some(reuse) = section.optional("reuse", values::flag) {
        system.reuse = reuse;
    }
    if let Some(bypass) = section.optional("page_cache_bypass", values::flag) {
        system.page_cache_bypass = bypass;
    }
    if let Some(memory) = section.optional("prepopulated_memory", values::size) {
        system.prepopulated_memory = memory;
    }
}

fn word<T: DeserializeOwned>(
    section: &Section<'_, '_>,
    key: &'static str,
    words: &[&'static str],
    target: &mut T,
) {
    section.words(key, words.iter().copied());
    let Some(entry) = section.entry(key) else { return };
    let Value::Text(written) = &entry.node.value else {
        section
            .problem(key, format!("{} where one of {} belongs", entry.node.value.kind(), words.join(", ")));
        return;
    };
    match serde_json::from_value(serde_json::Value::String(written.clone())) {
        Ok(value) => *target = value,
        Err(_) => {
            section.problem(
                key,
                format!("\"{written}\" is not known: {}", suggest::hint(written, words.iter().copied())),
            );
        }
    }
}
