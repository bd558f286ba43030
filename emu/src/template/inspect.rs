//! A template as text for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::error::Error;
use super::manifest::{AreaKind, Class, File, Manifest, OwnContent, Way};
use super::pages::{ABSENT, PAGE};
use super::store::Template;

/// Sizes of a template's memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sizes {
    /// Everything that is mapped and can be used.
    pub mapped: u64,
    /// Pages in the template.
    pub held: u64,
    /// Of these, such as are copied at each attach.
    pub copied: u64,
}

/// Sizes of a template's memory.
#[must_use]
pub fn sizes(manifest: &Manifest) -> Sizes {
    let mut sizes = Sizes { held: manifest.pages.present * PAGE as u64, ..Sizes::default() };
    for area in manifest.areas.iter().filter(|area| area.protection != 0) {
        sizes.mapped += area.end - area.start;
        if area.way == Way::Copy {
            sizes.copied += area.runs.iter().map(super::manifest::Run::bytes).sum::<u64>();
        }
    }
    sizes
}

/// Everything that matters of a template.
#[must_use]
pub fn describe(template: &Template) -> String {
    let manifest = template.manifest();
    let sizes = sizes(manifest);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("template", template.id().to_owned());
    line("function", format!("{}, after {} calls", manifest.function, manifest.warm_ups));
    line("executable", manifest.process.executable.clone());
    line("kernel", manifest.machine.kernel.clone());
    line("mapped", format!("{:.1} MiB in {} areas", mib(sizes.mapped), manifest.areas.len()));
    line(
        "pages",
        format!("{:.1} MiB, {:.2} MiB of them copied at attach", mib(sizes.held), mib(sizes.copied)),
    );
    line("runs", manifest.areas.iter().map(|area| area.runs.len()).sum::<usize>().to_string());
    for class in [Class::Runtime, Class::Library, Class::Function] {
        let areas = manifest.areas.iter().filter(|area| area.class == class);
        let pages: u64 = areas.flat_map(|area| &area.runs).map(|run| run.pages).sum();
        line(&format!("  {class:?}").to_lowercase(), format!("{:.1} MiB", mib(pages * PAGE as u64)));
    }
    for thread in &manifest.threads {
        line("thread", format!("{} {}", thread.number, thread.name));
    }
    for descriptor in &manifest.descriptors {
        let what = match &descriptor.file {
            File::Path { path, .. } => path.clone(),
            other => name(other).to_owned(),
        };
        line("descriptor", format!("{} {what}", descriptor.number));
    }
    for file in &manifest.own_files {
        let what = match &file.content {
            OwnContent::File(content) => format!("{} bytes", content.len() / 2),
            OwnContent::Folder => "folder".to_owned(),
            OwnContent::Link(target) => format!("-> {target}"),
            OwnContent::Socket => "socket".to_owned(),
            OwnContent::Gone => "removed".to_owned(),
        };
        line("own file", format!("{} {what}", file.path));
    }
    let signals: Vec<String> =
        manifest.process.actions.iter().map(|action| action.signal.to_string()).collect();
    line("signals", signals.join(" "));
    text
}

fn name(file: &File) -> &'static str {
    match file {
        File::Same { .. } => "the same as another",
        File::Channel { .. } => "channel",
        File::Log => "log",
        File::Path { .. } => "file",
        File::Pipe { .. } => "pipe",
        File::Event { .. } => "eventfd",
        File::Epoll { .. } => "epoll",
        File::Timer { .. } => "timerfd",
        File::Signals { .. } => "signalfd",
        File::Listener { .. } => "listening socket",
        File::Socket { .. } => "socket",
    }
}

/// How two templates differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// Pages of each.
    pub pages: (u64, u64),
    /// Different contents that both have.
    pub shared_contents: u64,
    /// Different contents of each.
    pub contents: (u64, u64),
    /// Addresses at which both have the same page.
    pub same_place: u64,
    /// Addresses at which both have a page, and not the same.
    pub changed: u64,
    /// What of the rest is not the same.
    pub parts: Vec<String>,
}

/// Compares two templates.
///
/// # Errors
/// If one of them is damaged.
pub fn compare(one: &Template, other: &Template) -> Result<Difference, Error> {
    let place = |template: &Template| -> Result<BTreeMap<u64, [u8; 16]>, Error> {
        let table = template.table()?;
        let mut pages = BTreeMap::new();
        for area in &template.manifest().areas {
            for run in &area.runs {
                for nth in 0..run.pages {
                    let hash = table.hashes().get((run.first_page + nth) as usize).copied().unwrap_or(ABSENT);
                    if hash != ABSENT {
                        pages.insert(run.start + nth * PAGE as u64, hash);
                    }
                }
            }
        }
        Ok(pages)
    };
    let (first, second) = (place(one)?, place(other)?);
    let contents = |pages: &BTreeMap<u64, [u8; 16]>| pages.values().copied().collect::<BTreeSet<_>>();
    let (first_contents, second_contents) = (contents(&first), contents(&second));
    let both = first.iter().filter_map(|(at, hash)| Some((hash, second.get(at)?)));
    let (same, changed): (Vec<_>, Vec<_>) = both.partition(|(one, other)| one == other);
    let (a, b) = (one.manifest(), other.manifest());
    let mut parts = Vec::new();
    let mut differ = |name: &str, differs: bool| {
        if differs {
            parts.push(name.to_owned());
        }
    };
    differ("process", a.process != b.process);
    differ("threads", a.threads.len() != b.threads.len());
    differ("descriptors", a.descriptors != b.descriptors);
    let files = |manifest: &Manifest| -> Vec<(u64, String)> {
        let path = |kind: &AreaKind| match kind {
            AreaKind::File { path, .. } => path.clone(),
            AreaKind::Kernel { name } => name.clone(),
            AreaKind::Anonymous { .. } => String::new(),
        };
        manifest.areas.iter().map(|area| (area.start, path(&area.kind))).collect()
    };
    differ("areas", files(a) != files(b));
    Ok(Difference {
        pages: (first.len() as u64, second.len() as u64),
        shared_contents: first_contents.intersection(&second_contents).count() as u64,
        contents: (first_contents.len() as u64, second_contents.len() as u64),
        same_place: same.len() as u64,
        changed: changed.len() as u64,
        parts,
    })
}
