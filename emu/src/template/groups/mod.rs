//! Which pages of a template an invocation reads, writes, and leaves alone, by what they are for.
//!
//! A process of the template is called, and its pages are brought to it one by one, when they are touched first
//! (`watch`): so every page that it *touches* is known. Each is installed protected from writes, in the kernel's
//! asynchronous mode, and after each invocation the page tables tell which have been *written* (`PAGEMAP_SCAN`) and
//! are protected again. Both are exact, page by page; pages of the stack are among them.
//!
//! Only pages that are in the template are counted: fresh memory and files that nobody has written are not. What a
//! process touches to go on, before its first request, belongs to its first invocation, as in every start. Memory
//! that a forked child touches is the child's. `profile` makes of it what the simulator reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::Duration;

use self::watch::Watch;
use super::attach::{Backing, Prepared};
use super::capture::maps;
use super::error::Error;
use super::manifest::{Class, Manifest};
use super::pages::{ABSENT, PAGE, PageHash, PageTable};
use super::store::Template;
use super::subject::Subject;
use crate::functions::Input;
use crate::sandbox::Manager;

pub mod profile;
mod watch;

/// What it needs of a machine, as `trenvx doctor` names it.
pub const NEEDS: &[&str] = &["userfaultfd", "userfaultfd-device", "pagemap-scan"];
/// How long threads that were attached have to come to their rest before the first request.
const REST: Duration = Duration::from_millis(30);

/// Pages of one class, by what invocations do with them.
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

/// What one invocation did with the pages of the template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Call {
    /// Pages that none before it has touched.
    pub first_touched: u64,
    /// Pages that it has written.
    pub written: u64,
    /// Of these, such as none before it has written.
    pub first_written: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Counted {
    /// By class, over all invocations.
    pub groups: Groups,
    /// Each invocation, in order.
    pub calls: Vec<Call>,
    /// Pages that are in no template and that the invocations made, at their peak.
    pub fresh: u64,
}

/// Attaches a process and calls it with each input in turn; counts what each call does to the template's pages.
///
/// # Errors
/// If this machine cannot tell, the template cannot be attached, or an answer is wrong.
pub fn measure(
    manager: &Manager,
    template: &Template,
    subject: &Subject,
    inputs: &[&Input],
) -> Result<Counted, Error> {
    if let Some(reason) = crate::doctor::lacking(NEEDS) {
        return Err(Error::step("count the pages of an invocation")(io::Error::other(reason)));
    }
    template.verify()?;
    let table = template.table()?;
    let classes = classes(template.manifest(), &table);
    let prepared = Prepared::new(template, Backing::Watched)?;
    let watch = Watch::start(template).map_err(Error::step("watch pages"))?;
    let mut attached = prepared.start(manager, None, &subject.program, Some(watch.server()))?;
    let pid = attached.function().pid().unwrap_or(0);
    std::thread::sleep(REST);
    let failed = || Error::step("count the pages of an invocation");
    let before = Memory::of(pid).map_err(failed())?;
    // What was touched before the first request is not what the requests make memory grow by.
    let resumed = watch.touched();
    fs::write(format!("/proc/{pid}/clear_refs"), "5").map_err(failed())?;
    let (mut touched, mut written, mut calls) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for input in inputs {
        let answer = subject.call(&mut attached.sandbox, input);
        let lap = watch.lap(pid).map_err(failed())?;
        answer?;
        let known =
            |pages: &BTreeSet<u64>| pages.iter().filter(|page| classes.contains_key(page)).count() as u64;
        let (touches, writes) = (touched.len(), known(&written));
        touched.extend(lap.touched.iter().filter(|page| classes.contains_key(page)));
        written.extend(&lap.written);
        calls.push(Call {
            first_touched: (touched.len() - touches) as u64,
            written: known(&lap.written),
            first_written: known(&written) - writes,
        });
    }
    let grown = Memory::of(pid).map_err(failed())?.peak_growth(&before);
    let brought = watch.touched() - resumed;
    let groups = groups(&classes, &table, &touched, &written);
    Ok(Counted { groups, calls, fresh: grown.saturating_sub(brought) })
}

/// The class of each page that the template holds.
fn classes(manifest: &Manifest, table: &PageTable) -> BTreeMap<u64, Class> {
    let runs = manifest.areas.iter().flat_map(|area| area.runs.iter().map(move |run| (area.class, run)));
    let pages =
        runs.flat_map(|(class, run)| (run.first_page..run.first_page + run.pages).map(move |p| (p, class)));
    pages.filter(|(page, _)| table.is_present(*page)).collect()
}

fn groups(
    classes: &BTreeMap<u64, Class>,
    table: &PageTable,
    touched: &BTreeSet<u64>,
    written: &BTreeSet<u64>,
) -> Groups {
    let mut groups = Groups::new();
    let mut seen: BTreeSet<PageHash> = BTreeSet::new();
    for (page, class) in classes {
        let group = groups.entry(*class).or_default();
        let hash = table.hashes().get(*page as usize).copied().unwrap_or(ABSENT);
        group.pages += 1;
        group.duplicates += u64::from(!seen.insert(hash));
        if written.contains(page) {
            group.written += 1;
        } else if touched.contains(page) {
            group.read_only += 1;
        } else {
            group.untouched += 1;
        }
    }
    groups
}

/// What a process has, in pages.
struct Memory {
    resident: u64,
    of_files: u64,
    /// The most that was resident since the note of it was cleared, beyond what is resident now.
    above: u64,
}

impl Memory {
    fn of(pid: i32) -> io::Result<Self> {
        let mappings = maps::read(pid)?;
        let resident: u64 = mappings.iter().map(|mapping| mapping.resident).sum();
        let anonymous: u64 = mappings.iter().map(|mapping| mapping.anonymous).sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
            number.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) << 10
        };
        let page = PAGE as u64;
        Ok(Self {
            resident: resident / page,
            of_files: resident.saturating_sub(anonymous) / page,
            above: field("VmHWM:").saturating_sub(field("VmRSS:")) / page,
        })
    }

    /// Memory in no file that was there at the peak, and not before.
    fn peak_growth(&self, before: &Self) -> u64 {
        let files = self.of_files.saturating_sub(before.of_files);
        (self.resident + self.above).saturating_sub(before.resident + files)
    }
}

/// What was counted, as text.
#[must_use]
pub fn table(counted: &Counted) -> String {
    let mut text = format!(
        "{:<10} {:>9} {:>9} {:>10} {:>10} {:>10}\n",
        "class", "pages", "alike", "written", "read only", "untouched"
    );
    for (class, group) in &counted.groups {
        let part = |pages: u64| format!("{:.1} %", 100.0 * pages as f64 / group.pages.max(1) as f64);
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
    text.push_str(&format!(
        "\n{:<10} {:>13} {:>9} {:>13}\n",
        "invocation", "first touched", "written", "first written"
    ));
    for (nth, call) in counted.calls.iter().enumerate() {
        text.push_str(&format!(
            "{:<10} {:>13} {:>9} {:>13}\n",
            nth + 1,
            call.first_touched,
            call.written,
            call.first_written
        ));
    }
    text.push_str(&format!("{} pages beside the template's at the peak\n", counted.fresh));
    text
}
