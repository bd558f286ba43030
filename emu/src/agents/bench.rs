//! What sharing a browser saves: the same pages, once with k agents to a browser and once with one each.
//!
//! Two references are given, because browsers on one machine share the file pages of their program already: the same
//! agents with a browser each on this machine, and one agent alone.
//!
//! With browsers in microVMs, each in a guest of its own, nothing but the root image's page cache and the template is shared
//! between them. That is how the published system has them: there one each, E2B's way, is what sharing is held against.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Error;
use super::browser::{Broker, Failure, Limits, Session, installed};
use super::harness::BROWSER_MIB;
use super::http::ANY;
use super::place::{self, Guests};
use super::site::Site;
use super::ward::Ward;
use crate::goal::Goal;
use crate::vm::{Method, account, room};

/// How long a browser is left alone before its memory is looked at: it gives some back after loading.
const SETTLE: Duration = Duration::from_millis(500);
/// Agents to a browser from which on memory is held against that of agents apart.
const ENOUGH: usize = 8;
/// The most of it that they may take, %.
const SHARE: f64 = 40.0;
/// What a guest with a browser takes at most, MiB: 180 measured, and 410 of translated code.
const GUEST_MIB: u64 = 640;
/// Product pages are taken in turn.
const PRODUCTS: usize = 60;

/// One row: so many agents, each with one page open.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Where its browsers run.
    pub place: String,
    /// Agents to a browser, at most.
    pub per_browser: usize,
    /// Agents.
    pub agents: usize,
    /// Browsers.
    pub browsers: usize,
    /// Memory of all processes of all browsers (PSS), and page cache of their guests' root, bytes.
    pub memory_bytes: u64,
    /// Page cache of their guests' root, which is in that, bytes.
    pub cache_bytes: u64,
    /// Code that software emulation translated, which is not in that, bytes.
    pub emulation_bytes: u64,
    /// The same, for each agent.
    pub per_agent_bytes: u64,
    /// Share of what an agent takes in the first row.
    pub share: f64,
    /// Share of what one agent takes alone with a browser on this machine, when nobody else has the program's file pages.
    /// None of browsers in guests.
    pub share_of_alone: Option<f64>,
    /// Median time to open a page, with the start of the browser where it was started for it, ms.
    pub open_ms: f64,
    /// Processor time of all browsers, starts included, ms.
    pub cpu_ms: f64,
    /// Digest of what all agents read: the same in every row.
    pub read: String,
}

/// Where browsers run.
#[derive(Clone, Copy, Debug)]
pub enum Where<'a> {
    /// On this machine, beside each other.
    Here,
    /// In microVMs, one in each, started by this method.
    Vms(Method, &'a Guests),
}

/// How much longer a browser may take in a guest of software emulation: all of them load their first page at once.
const EMULATED: u32 = 30;

impl Where<'_> {
    /// Its name: that of the method, for guests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Here => "this machine",
            Self::Vms(method, _) => method.name(),
        }
    }
}

/// Measures `agents` agents for each way: where browsers run, and agents to a browser. The first is what the others are
/// compared with.
///
/// # Errors
/// If there is no browser, it fails, this machine has no memory for so many guests, or what agents read depends on how
/// many share it.
pub fn browsers(agents: usize, ways: &[(Where<'_>, usize)]) -> Result<Vec<Row>, Error> {
    if agents == 0 {
        return Err(Error::Setting { what: "agents", found: "0".to_owned(), expected: "at least 1" });
    }
    let here = |place: &Where<'_>| matches!(place, Where::Here);
    let alone = ways.iter().any(|(place, _)| here(place)).then(|| measure(Where::Here, 1, 1)).transpose()?;
    let of = |bytes: u64, of: u64| bytes as f64 / of.max(1) as f64;
    let mut rows: Vec<Row> = Vec::new();
    for (place, per_browser) in ways {
        let mut row = measure(*place, agents, *per_browser)?;
        row.share = of(row.per_agent_bytes, rows.first().unwrap_or(&row).per_agent_bytes);
        let alone = alone.as_ref().filter(|_| here(place));
        row.share_of_alone = alone.map(|alone| of(row.per_agent_bytes, alone.per_agent_bytes));
        same(rows.first(), &row)?;
        rows.push(row);
    }
    Ok(rows)
}

/// Whether agents read the same in both rows.
fn same(first: Option<&Row>, row: &Row) -> Result<(), Error> {
    match first {
        Some(first) if first.read != row.read => Err(Error::Differs {
            per_browser: row.per_browser,
            found: row.read.clone(),
            first: first.per_browser,
            expected: first.read.clone(),
        }),
        _ => Ok(()),
    }
}

/// One row, whose shares are of itself.
fn measure(place: Where<'_>, agents: usize, per_browser: usize) -> Result<Row, Error> {
    let limits = Limits::default();
    let count = agents.div_ceil(per_browser.max(1));
    let (broker, site, root) = match place {
        Where::Here => {
            let program = installed()?;
            room::need(BROWSER_MIB * count as u64, &format!("{count} browsers"))?;
            let broker = Broker::start(&Ward::new()?, &program, agents, per_browser, limits, ANY.0)?;
            (broker, Site::start(ANY)?, None)
        }
        Where::Vms(method, guests) => {
            room::need(GUEST_MIB * count as u64, &format!("{count} guests with a browser"))?;
            let (launcher, address, root) = place::browsers(method, guests, count)?;
            let limits = limits.times(if guests.accelerator().is_emulated() { EMULATED } else { 1 });
            let launcher = |_| std::sync::Arc::clone(&launcher);
            let broker = Broker::with(agents, per_browser, limits, address, launcher)?;
            (broker, Site::start((address, 0))?, Some(root))
        }
    };
    let failed =
        |failure: Failure| Error::Browser { program: "chromium".to_owned(), reason: failure.to_string() };
    // Browsers at once, agents of one after the other.
    let visit = |browser: usize| -> Result<Vec<(Session, f64, String)>, Error> {
        let first = browser * per_browser;
        let one = |agent: usize| {
            let mut session = broker.session(agent).ok_or_else(|| Error::Setting {
                what: "agents",
                found: agent.to_string(),
                expected: "a number below that of agents",
            })?;
            let address = format!("http://{}/shop/p/{}", site.address(), agent % PRODUCTS + 1);
            let begun = Instant::now();
            let opened = session.open(&address).map_err(failed)?;
            let time = begun.elapsed().as_secs_f64() * 1e3;
            let text = session.text(opened.page, "main").map_err(failed)?;
            Ok((session, time, text))
        };
        (first..agents.min(first + per_browser)).map(one).collect()
    };
    // On this machine one after the other, so that times to open a page are of a page alone.
    let at_once =
        if root.is_some() { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let numbers: Vec<usize> = (0..broker.browsers().len()).collect();
    let mut visited: Vec<(Session, f64, String)> = Vec::new();
    for few in numbers.chunks(at_once) {
        let done: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = few.iter().map(|&number| scope.spawn(move || visit(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a visit does not panic")).collect()
        });
        for one in done {
            visited.extend(one?);
        }
    }
    std::thread::sleep(SETTLE);
    let usages: Vec<_> = broker.browsers().iter().map(|browser| browser.usage()).collect();
    let cached = root.map(|root| account::cached_bytes(&root, None)).transpose();
    let cache_bytes = cached.map_err(Error::io("look at the page cache of", "the root image"))?.unwrap_or(0);
    let memory_bytes: u64 = cache_bytes + usages.iter().map(|usage| usage.memory_bytes).sum::<u64>();
    let mut times: Vec<f64> = visited.iter().map(|(_, time, _)| *time).collect();
    times.sort_by(f64::total_cmp);
    let mut read = blake3::Hasher::new();
    for (_, _, text) in &visited {
        read.update(text.as_bytes());
    }
    Ok(Row {
        place: place.name().to_owned(),
        per_browser,
        agents,
        browsers: usages.len(),
        memory_bytes,
        cache_bytes,
        emulation_bytes: usages.iter().map(|usage| usage.emulation_bytes).sum(),
        per_agent_bytes: memory_bytes / agents.max(1) as u64,
        share: 1.0,
        share_of_alone: None,
        open_ms: times.get(times.len() / 2).copied().unwrap_or(0.0),
        cpu_ms: usages.iter().map(|usage| usage.cpu_ms).sum(),
        read: read.finalize().to_hex().as_str()[..16].to_owned(),
    })
}

/// What sharing is held against: eight agents to a browser or more, as far as they were measured.
#[must_use]
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let Some(first) = rows.first() else { return Vec::new() };
    let first = format!("{} to a browser, {}", first.per_browser, first.place);
    let shared = rows.iter().filter(|row| row.per_browser >= ENOUGH && row.agents >= row.per_browser);
    let of = |row: &Row| {
        let of = format!("{} to a browser, {}", row.per_browser, row.place);
        let shares = [(first.as_str(), Some(row.share)), ("one agent alone", row.share_of_alone)];
        shares.map(|(what, share)| {
            let what = format!("memory per agent, of {what}");
            share.map(|share| Goal::at_most(&what, &of, 100.0 * share, SHARE, "%"))
        })
    };
    shared.flat_map(of).flatten().collect()
}

/// A table for people.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    const MIB: f64 = (1 << 20) as f64;
    let mut text = String::from(
        "place                  agents  per browser  browsers  memory (PSS)  of it cache  per agent  share  of one alone  \
         open (median)  processor  read\n",
    );
    for row in rows {
        let alone =
            row.share_of_alone.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:21}  {:6}  {:11}  {:8}  {:8.0} MiB  {:7.0} MiB  {:5.0} MiB  {:3.0} %  {alone:>12}  {:10.0} ms  {:7.1} s  {}",
            row.place,
            row.agents,
            row.per_browser,
            row.browsers,
            row.memory_bytes as f64 / MIB,
            row.cache_bytes as f64 / MIB,
            row.per_agent_bytes as f64 / MIB,
            row.share * 100.0,
            row.open_ms,
            row.cpu_ms / 1e3,
            row.read
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_whose_agents_read_something_else_are_refused() {
        let row = |per_browser, read: &str| Row {
            place: "this machine".to_owned(),
            per_browser,
            agents: 8,
            browsers: 8 / per_browser,
            memory_bytes: 8,
            cache_bytes: 0,
            emulation_bytes: 0,
            per_agent_bytes: 1,
            share: 1.0,
            share_of_alone: None,
            open_ms: 1.0,
            cpu_ms: 1.0,
            read: read.to_owned(),
        };
        let first = row(1, "aa");
        assert!(same(None, &first).is_ok());
        assert!(same(Some(&first), &row(8, "aa")).is_ok());
        let error = same(Some(&first), &row(8, "bb")).unwrap_err().to_string();
        assert!(error.contains("8 agents to a browser") && error.contains("bb"), "{error}");
    }
}
