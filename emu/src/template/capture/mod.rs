//! Capture: what a process is, written down while it is stopped.
//!
//! A function that waits for its next request is stopped thread by thread (`tracer`); most is read from the kernel's
//! files, the rest by system calls made in its name. It goes on afterwards as if nothing had been. What a template
//! cannot hold is refused by name, before anything is written.

mod files;
pub(crate) mod maps;
mod memory;
mod own_files;
mod settings;
mod sockets;
mod status;
mod threads;
mod tracer;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use libc::pid_t;

use self::memory::Memory;
use self::status::{Status, stat};
pub(crate) use self::tracer::Tracer;
use super::error::Error;
use super::machine;
use super::manifest::{
    Area, AreaKind, Descriptor, File, IntervalTimer, KnownFile, Machine, Manifest, MemoryMap, OwnFile, Pages,
    Process, SignalAction, VERSION, to_hex,
};
use super::store::{Store, Template};
use crate::sandbox::Function;

/// Kind of the file system that roots of sandboxes are.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;
/// How often a process is looked at while it comes to rest.
const LOOK: Duration = Duration::from_millis(5);
/// Looks in a row that must find it at rest.
const QUIET: u32 = 3;

/// What to capture.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the function, for people.
    pub function: String,
    /// Calls that it has answered, for people.
    pub warm_ups: u32,
    /// How long it may take to come to rest.
    pub rest: Duration,
}

impl Request {
    /// With the usual patience.
    #[must_use]
    pub fn new(function: &str, warm_ups: u32) -> Self {
        Self { function: function.to_owned(), warm_ups, rest: Duration::from_secs(10) }
    }
}

/// Captures a function of a sandbox that waits for its next request. It lives on.
///
/// # Errors
/// What a template cannot hold, by name; what could not be read or written.
pub fn capture(store: &Store, function: &Function, request: &Request) -> Result<Template, Error> {
    let pid = function.pid().ok_or_else(|| Error::Uncapturable("it has ended".into()))?;
    wait_for_rest(pid, request.rest)?;
    let mut tracer = Tracer::seize(pid)?;
    let partial = store.begin()?;
    let pages = partial.pages()?;
    let mut memory = Memory::open(pid, &pages)?;
    let mappings = maps::read(pid).map_err(Error::step("read the mappings"))?;

    let vdso = maps::vdso(&mappings).ok_or_else(|| Error::Uncapturable("it has no vdso".into()))?;
    let code = memory.read(vdso.start, (vdso.end - vdso.start) as usize)?;
    let ours = machine::this().map_err(Error::step("learn what this machine is"))?;
    let here = Machine { vdso: machine::hash_vdso(&code), ..ours };
    refuse_children(pid)?;
    refuse_timers(pid)?;
    let descriptors = files::capture(pid, function)?;

    tracer.prepare_calls(vdso.start, &code)?;
    let limits = settings::capture(&mut tracer, &memory)?;
    let process = Process { limits, ..process(&mut tracer, &memory)? };
    let threads = tracer.tids().into_iter().map(|tid| threads::capture(&mut tracer, &memory, tid));
    let threads = threads.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>, _>>()?;
    tracer.end_calls()?;

    let mut areas = Vec::new();
    for mapping in &mappings {
        areas.extend(memory.area(mapping, &process.executable)?);
    }
    let own_files = own_files::capture(function, &descriptors)?;
    refuse_shared_writes(&areas, &own_files)?;
    let known_files = known_files(pid, &process.executable, &areas, &descriptors, &own_files)?;
    let writes_to_kernel = areas.iter().any(|area| {
        matches!(area.kind, AreaKind::Kernel { .. }) && area.protection & libc::PROT_WRITE as u32 != 0
    });
    if writes_to_kernel {
        return Err(Error::Uncapturable("a page of the kernel is writable".into()));
    }
    let table = memory.finish().map_err(Error::step("end the file of pages"))?;
    drop(tracer);
    let manifest = Manifest {
        version: VERSION,
        function: request.function.clone(),
        warm_ups: request.warm_ups,
        machine: here,
        pages: Pages {
            root: table.root().to_hex().as_str().to_owned(),
            present: table.present() as u64,
            span: table.hashes().len() as u64,
        },
        process,
        threads,
        areas,
        descriptors,
        own_files,
        known_files,
    };
    partial.finish(&pages, &table, &manifest)
}

/// What is written through a shared mapping must be a file of its own.
fn refuse_shared_writes(areas: &[Area], own: &[OwnFile]) -> Result<(), Error> {
    for area in areas {
        if let AreaKind::File { path, writes: true, .. } = &area.kind
            && !own.iter().any(|own| own.path == *path)
        {
            let what = format!("it writes {path} by mapping it shared, and that is not a file of its own");
            return Err(Error::Uncapturable(what));
        }
    }
    Ok(())
}

/// Files of its layers that it has mapped or open.
fn known_files(
    pid: pid_t,
    executable: &str,
    areas: &[Area],
    descriptors: &[Descriptor],
    own: &[OwnFile],
) -> Result<Vec<KnownFile>, Error> {
    let mapped = areas.iter().filter_map(|area| match &area.kind {
        AreaKind::File { path, .. } => Some(path.as_str()),
        _ => None,
    });
    let open = descriptors.iter().filter_map(|descriptor| match &descriptor.file {
        File::Path { path, .. } => Some(path.as_str()),
        _ => None,
    });
    let mut paths: Vec<&str> = mapped.chain(open).chain([executable]).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut known = Vec::new();
    for path in paths.into_iter().filter(|path| !own.iter().any(|own| own.path == *path)) {
        let at = PathBuf::from(format!("/proc/{pid}/root{path}"));
        let failed = Error::file("look at", &at);
        let is_file = std::fs::metadata(&at).map(|metadata| metadata.is_file());
        let tree = rustix::fs::statfs(&at).map_err(std::io::Error::from);
        // Files of the kernel, such as those of proc, are new ones in every process.
        let is_kept = is_file.and_then(|is_file| Ok(is_file && tree?.f_type == OVERLAY)).map_err(failed)?;
        if is_kept {
            known.push(KnownFile::of(path, &at).map_err(Error::file("read", &at))?);
        }
    }
    Ok(known)
}

/// Waits until every thread sleeps and nothing has used the processor for some looks.
fn wait_for_rest(pid: pid_t, within: Duration) -> Result<(), Error> {
    let end = Instant::now() + within;
    let mut before = None;
    let mut quiet = 0;
    while Instant::now() < end {
        let mut now = Vec::new();
        for tid in tracer::tids(pid).map_err(Error::step(format!("list the threads of process {pid}")))? {
            // One that has just ended makes the next look differ.
            let (Ok(status), Ok(numbers)) = (Status::of_thread(pid, tid), stat(pid, tid)) else { continue };
            // Fields 14 and 15: time in user mode and in the kernel.
            now.push((tid, status.state, numbers.get(11).copied(), numbers.get(12).copied()));
        }
        let sleeps = !now.is_empty() && now.iter().all(|(_, state, ..)| *state == 'S');
        quiet = if sleeps && before.as_ref() == Some(&now) { quiet + 1 } else { 0 };
        if quiet >= QUIET {
            return Ok(());
        }
        before = Some(now);
        std::thread::sleep(LOOK);
    }
    Err(Error::Restless(within))
}

fn refuse_children(pid: pid_t) -> Result<(), Error> {
    for tid in tracer::tids(pid).map_err(Error::step("list the threads"))? {
        let path = PathBuf::from(format!("/proc/{pid}/task/{tid}/children"));
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        if !children.trim().is_empty() {
            return Err(Error::Uncapturable(format!("it has child processes ({})", children.trim())));
        }
    }
    Ok(())
}

fn refuse_timers(pid: pid_t) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{pid}/timers"));
    let timers = std::fs::read_to_string(&path).unwrap_or_default();
    let count = timers.lines().filter(|line| line.starts_with("ID:")).count();
    if count > 0 {
        return Err(Error::Uncapturable(format!("it has {count} timers of its own (timer_create)")));
    }
    Ok(())
}

fn process(tracer: &mut Tracer, memory: &Memory<'_>) -> Result<Process, Error> {
    let pid = tracer.pid;
    let link = |name: &str| {
        let path = PathBuf::from(format!("/proc/{pid}/{name}"));
        let target = std::fs::read_link(&path).map_err(Error::file("read", &path))?;
        let text = target.to_string_lossy().into_owned();
        if text.ends_with(" (deleted)") {
            return Err(Error::Uncapturable(format!("its {name} {text} has no name any more")));
        }
        Ok(text)
    };
    let text = |name: &str| {
        let path = PathBuf::from(format!("/proc/{pid}/{name}"));
        std::fs::read(&path).map_err(Error::file("read", &path))
    };
    let status = Status::of_thread(pid, pid)?;
    let personality = text("personality")?;
    let personality = String::from_utf8_lossy(&personality);
    let numbers = stat(pid, pid)?;
    // The first of them is field 3.
    let field = |number: usize| numbers.get(number - 3).copied().unwrap_or(0);
    let brk = tracer.call(pid, libc::SYS_brk, &[0])? as u64;
    let memory_map = MemoryMap {
        start_code: field(26),
        end_code: field(27),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk,
        start_stack: field(28),
        arg_start: field(48),
        arg_end: field(49),
        env_start: field(50),
        env_end: field(51),
    };
    let scratch = tracer.scratch();
    let words = |bytes: &[u8]| -> Vec<u64> {
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    };
    let mut actions = Vec::new();
    for signal in (1..=64_u32).filter(|signal| status.handled & 1 << (signal - 1) != 0) {
        tracer.call(pid, libc::SYS_rt_sigaction, &[u64::from(signal), 0, scratch, 8])?;
        let found = words(&memory.read(scratch, 32)?);
        let [handler, flags, restorer, mask] = found[..] else { continue };
        actions.push(SignalAction { signal, handler, flags, restorer, mask });
    }
    let mut timers = Vec::new();
    for which in 0..3 {
        tracer.call(pid, libc::SYS_getitimer, &[u64::from(which), scratch])?;
        let found = words(&memory.read(scratch, 32)?);
        let [interval, interval_us, value, value_us] = found[..] else { continue };
        let timer = IntervalTimer {
            which,
            value_us: value * 1_000_000 + value_us,
            interval_us: interval * 1_000_000 + interval_us,
        };
        if timer.value_us > 0 {
            timers.push(timer);
        }
    }
    let pending = tracer.pending(pid, true).map_err(Error::step("read pending signals"))?;
    Ok(Process {
        executable: link("exe")?,
        cwd: link("cwd")?,
        umask: status.umask,
        personality: u32::from_str_radix(personality.trim(), 16).unwrap_or(0),
        memory: memory_map,
        auxiliary: to_hex(&text("auxv")?),
        actions,
        pending: pending.iter().map(|signal| to_hex(signal)).collect(),
        timers,
        limits: Vec::new(),
    })
}
