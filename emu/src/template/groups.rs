//! Which pages of a template one request reads, writes, and leaves alone, by what they are for.
//!
//! Two processes of the template are asked the same thing:
//!
//! * One has the pages as private mappings: a page that has become memory of its own was *written*.
//! * One has them as copies. The processor's accessed bits are cleared, and after the request the kernel counts for
//!   each area the pages that have it: those were *touched*. (Copies, because mapped pages come sixteen at a time.)
//!
//! Pages that a template copies at attach (the stack) are memory of the process from the start, so every touched one
//! counts as written. Only pages that are in the template are counted: those of
//! files that nobody has written belong to the files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use super::attach::{Backing, Prepared};
use super::capture::maps;
use super::error::Error;
use super::manifest::{Class, Manifest, Way};
use super::pages::{ABSENT, PAGE, PageHash};
use super::store::Template;
use super::subject::Subject;
use crate::functions::Input;
use crate::sandbox::Manager;

/// Pages of one class, by what a request does with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// Pages in the template.
    pub pages: u64,
    /// Of these, such as are in it more than once.
    pub duplicates: u64,
    /// Written.
    pub written: u64,
    /// Touched, and not written.
    pub read_only: u64,
    /// Neither.
    pub untouched: u64,
}

/// Pages by class.
pub type Groups = BTreeMap<Class, Group>;

/// Asks two processes of a template the same thing and counts.
///
/// # Errors
/// If it cannot be attached, or answers wrongly.
pub fn measure(
    manager: &Manager,
    template: &Template,
    subject: &Subject,
    input: &Input,
) -> Result<Groups, Error> {
    let manifest = template.manifest();
    let table = template.table()?;
    let mut groups = Groups::new();
    let mut seen: BTreeMap<PageHash, ()> = BTreeMap::new();
    for area in &manifest.areas {
        let group = groups.entry(area.class).or_default();
        for run in &area.runs {
            let hashes = (0..run.pages).filter_map(|nth| table.hashes().get((run.first_page + nth) as usize));
            for hash in hashes.filter(|hash| **hash != ABSENT) {
                group.pages += 1;
                group.duplicates += u64::from(seen.insert(*hash, ()).is_some());
            }
        }
    }
    let (mut written, copied) = written(manager, template, subject, input)?;
    let touched = touched(manager, template, subject, input, &copied)?;
    for (class, pages) in touched.copied {
        *written.entry(class).or_default() += pages;
    }
    for (class, group) in &mut groups {
        let of = |counts: &BTreeMap<Class, u64>| counts.get(class).copied().unwrap_or(0);
        group.written = of(&written).min(group.pages);
        let touched = of(&touched.all).min(group.pages).max(group.written);
        group.read_only = touched - group.written;
        group.untouched = group.pages - touched;
    }
    Ok(groups)
}

/// Ranges of addresses that are copied at every attach.
type Ranges = Vec<(u64, u64)>;

/// Pages that became the process's own, by class, and what was its own from the start.
fn written(
    manager: &Manager,
    template: &Template,
    subject: &Subject,
    input: &Input,
) -> Result<(BTreeMap<Class, u64>, Ranges), Error> {
    let manifest = template.manifest();
    let prepared = Prepared::new(template, Backing::Map)?;
    let mut attached = prepared.start(manager, None, &subject.program, None)?;
    subject.call(&mut attached.sandbox, input)?;
    let pid = attached.function().pid().unwrap_or(0);
    let path = PathBuf::from(format!("/proc/{pid}/pagemap"));
    let pagemap = File::open(&path).map_err(Error::file("open", &path))?;
    let mut counts = BTreeMap::new();
    let mut copied = Ranges::new();
    for area in &manifest.areas {
        if area.way == Way::Copy {
            copied.push((area.start, area.end));
            continue;
        }
        for run in &area.runs {
            let states = maps::states(&pagemap, run.start, run.end()).map_err(Error::file("read", &path))?;
            let own = states.iter().filter(|state| state.is_there() && !state.is_of_file()).count();
            *counts.entry(area.class).or_default() += own as u64;
        }
    }
    Ok((counts, copied))
}

#[derive(Default)]
struct Touched {
    all: BTreeMap<Class, u64>,
    /// Of these, such as were copied at attach anyway.
    copied: BTreeMap<Class, u64>,
}

/// Pages that a request touches, by class.
fn touched(
    manager: &Manager,
    template: &Template,
    subject: &Subject,
    input: &Input,
    copied: &Ranges,
) -> Result<Touched, Error> {
    let prepared = Prepared::new(template, Backing::Copy)?;
    let mut attached = prepared.start(manager, None, &subject.program, None)?;
    let pid = attached.function().pid().unwrap_or(0);
    let path = PathBuf::from(format!("/proc/{pid}/clear_refs"));
    // The first clears the bits. The processor does not set them again for addresses that it remembers, and the
    // second, which clears another note, makes it forget them.
    for what in ["1", "4"] {
        std::fs::write(&path, what).map_err(Error::file("write", &path))?;
    }
    subject.call(&mut attached.sandbox, input)?;
    let mappings = maps::read(pid).map_err(Error::step("read the mappings"))?;
    let mut found = Touched::default();
    for mapping in mappings.iter().filter(|mapping| !mapping.path.starts_with('/')) {
        let Some(class) = class_of(template.manifest(), mapping) else { continue };
        let pages = mapping.referenced / PAGE as u64;
        *found.all.entry(class).or_default() += pages;
        if copied.iter().any(|(start, end)| (*start..*end).contains(&mapping.start)) {
            *found.copied.entry(class).or_default() += pages;
        }
    }
    Ok(found)
}

/// The class that most of the template's pages in a mapping have: the kernel joins neighbours that are alike to it.
fn class_of(manifest: &Manifest, mapping: &maps::Mapping) -> Option<Class> {
    let mut bytes: BTreeMap<Class, u64> = BTreeMap::new();
    for area in &manifest.areas {
        for run in &area.runs {
            let inside = run.end().min(mapping.end).saturating_sub(run.start.max(mapping.start));
            *bytes.entry(area.class).or_default() += inside;
        }
    }
    let (class, most) = bytes.into_iter().max_by_key(|(_, bytes)| *bytes)?;
    (most > 0).then_some(class)
}

/// The groups as text.
#[must_use]
pub fn table(groups: &Groups) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>9} {:>10} {:>10} {:>10}\n",
        "class", "pages", "alike", "written", "read only", "untouched"
    );
    for (class, group) in groups {
        let part = |pages: u64| format!("{:.0} %", 100.0 * pages as f64 / group.pages.max(1) as f64);
        text.push_str(&format!(
            "{:<10} {:>9} {:>9} {:>10} {:>10} {:>10}\n",
            format!("{class:?}").to_lowercase(),
            group.pages,
            group.duplicates,
            part(group.written),
            part(group.read_only),
            part(group.untouched),
        ));
    }
    text
}
