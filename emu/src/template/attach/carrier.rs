//! The new process before it becomes the template's: with usual code it opens files, makes descriptors again, and
//! maps the program; then it runs that.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use super::files;
use super::guard;
use super::interpreter::{ANYTHING, FAILED, enter};
use super::lent;
use super::program::{Numbers, Places};
use super::report::UNREADY;
use crate::pager::uffd::Uffd;
use crate::sandbox::steps::now;
use crate::sandbox::{GIVEN, Inside, Routine};
use crate::template::manifest::{Descriptor, KnownFile, OwnFile};
use crate::template::pages::PAGE;

/// Name of the routine.
pub const ENTRY: &str = "attach";
/// Becomes the process of a template.
pub const ROUTINE: Routine = Routine { run, seals_itself: true, restores: true };

/// What the carrier is given, in this order.
const STATUS: RawFd = GIVEN;
const PROGRAM: RawFd = GIVEN + 1;
const PAGES: RawFd = GIVEN + 2;
const SERVER: RawFd = GIVEN + 3;
const FAULTS: RawFd = GIVEN + 4;
/// So many at most, and behind them the files that it is lent.
pub(super) const GIVEN_ALWAYS: usize = 5;

/// What the carrier does before the program: follows the image in the file of the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) places: Places,
    pub(super) numbers: Numbers,
    pub(super) cwd: String,
    pub(super) umask: u32,
    pub(super) executable: String,
    /// Paths of mapped files, and whether what is shared is written.
    pub(super) files: Vec<(String, bool)>,
    pub(super) own_files: Vec<OwnFile>,
    /// By path.
    pub(super) known_files: Vec<KnownFile>,
    pub(super) descriptors: Vec<Descriptor>,
    /// With a page server: the features that are asked of userfaultfd.
    pub(super) faults: Option<u64>,
}

fn run(inside: &mut Inside<'_>) -> i32 {
    let began = now();
    let Err(text) = become_template(inside, began);
    let mut record = UNREADY.to_le_bytes().to_vec();
    record.extend_from_slice(text.as_bytes());
    // Wherever the pipe is by now.
    for number in [STATUS, read_first(inside)] {
        // SAFETY: writes bytes to a number; if it is none of ours, the kernel says so.
        if unsafe { libc::write(number, record.as_ptr().cast(), record.len()) } == record.len() as isize {
            break;
        }
    }
    FAILED
}

/// The number of the status pipe once descriptors have moved: the second argument.
fn read_first(inside: &Inside<'_>) -> RawFd {
    inside.args.get(1).and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// Returns only what went wrong.
fn become_template(inside: &mut Inside<'_>, began: u64) -> Result<std::convert::Infallible, String> {
    let image: u64 = inside.args.first().and_then(|text| text.parse().ok()).ok_or("no program is named")?;
    let plan = read_plan(image)?;
    block_signals();
    let numbers = plan.numbers;
    let lent: usize = inside.args.get(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    let lent: Vec<usize> = lent::of(&plan.files, &plan.own_files).map(|(nth, _)| nth).take(lent).collect();
    move_given(numbers, plan.faults, &lent)?;
    files::write_own(&plan.own_files)?;
    for (nth, (path, writes)) in plan.files.iter().enumerate() {
        if lent.binary_search(&nth).is_ok() {
            continue;
        }
        let file = files::open(path, if *writes { libc::O_RDWR } else { libc::O_RDONLY })
            .map_err(|error| format!("cannot open {path}: {error}"))?;
        files::check(path, file, &plan.known_files)?;
        files::place(file, numbers.file(nth))?;
    }
    let executable = &plan.executable;
    let file = files::open(executable, libc::O_RDONLY)
        .map_err(|error| format!("cannot open {executable}: {error}"))?;
    files::check(executable, file, &plan.known_files)?;
    files::place(file, numbers.executable())?;
    files::restore(&plan.descriptors, numbers, &plan.known_files)?;
    files::set_modes_of_sockets(&plan.own_files)?;
    let cwd = CString::new(plan.cwd.as_str()).map_err(|error| error.to_string())?;
    // SAFETY: a string that lives during the call; then a mask of modes.
    let entered = unsafe {
        libc::umask(plan.umask);
        libc::chdir(cwd.as_ptr())
    };
    if entered < 0 {
        return Err(format!("cannot enter {}: {}", plan.cwd, io::Error::last_os_error()));
    }
    let prepared = now();
    map_image(&plan)?;
    fill_in(&plan, inside)?;
    let places = &plan.places;
    let moments = [2, began, prepared, now()];
    for (nth, moment) in moments.into_iter().enumerate() {
        write(places.report + nth as u64 * 8, moment);
    }
    // SAFETY: the image has just been mapped there, with the code first; the program leaves it alone. What this
    // process owned ends with it.
    unsafe { enter(plan.at, places.first, places.report, numbers.status()) }
}

fn read_plan(image: u64) -> Result<Plan, String> {
    // SAFETY: what we were given; it is not dropped, because it is placed elsewhere later.
    let program = unsafe { BorrowedFd::borrow_raw(PROGRAM) };
    let length =
        rustix::fs::fstat(program).map_err(|error| format!("cannot look at the program: {error}"))?.st_size;
    let mut bytes = vec![0; (length as u64).saturating_sub(image) as usize];
    let got = rustix::io::pread(program, &mut bytes, image);
    if got.map_err(|error| format!("cannot read the program: {error}"))? != bytes.len() {
        return Err("the program is cut off".into());
    }
    serde_json::from_slice(&bytes).map_err(|error| format!("the program's plan: {error}"))
}

/// Until every thread has its own mask again.
fn block_signals() {
    let all = u64::MAX;
    // SAFETY: eight bytes, as the kernel's set has.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const all, std::ptr::null::<u64>(), 8);
    }
}

/// Moves what we were given, channel and log, out of the way of the template's numbers; `lent`: which mapped files.
fn move_given(numbers: Numbers, features: Option<u64>, lent: &[usize]) -> Result<(), String> {
    files::copy(STATUS, numbers.status())?;
    files::copy(PROGRAM, numbers.program())?;
    files::copy(PAGES, numbers.pages())?;
    files::copy(0, numbers.channel())?;
    files::copy(2, numbers.log())?;
    let given = if features.is_some() { FAULTS } else { PAGES };
    for (number, nth) in (given + 1..).zip(lent) {
        files::copy(number, numbers.file(*nth))?;
    }
    if let Some(features) = features {
        files::copy(SERVER, numbers.server())?;
        // SAFETY: what we were given; it is closed below by its number.
        let device = unsafe { BorrowedFd::borrow_raw(FAULTS) };
        let faults = Uffd::open_by(device, features);
        let faults = faults.map_err(|error| format!("cannot make a userfaultfd: {error}"))?;
        files::place(OwnedFd::from(faults).into_raw_fd(), numbers.faults())?;
    }
    let last = given + lent.len() as RawFd;
    // SAFETY: numbers of ours, which have their copies.
    unsafe { libc::syscall(libc::SYS_close_range, 0, last, 0) };
    Ok(())
}

fn map_image(plan: &Plan) -> Result<(), String> {
    let map = |at: u64, length: u64, protection: i32, offset: u64| {
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: never over anything that is there.
        let got = unsafe {
            libc::mmap(
                at as *mut libc::c_void,
                length as usize,
                protection,
                flags,
                plan.numbers.program(),
                offset as libc::off_t,
            )
        };
        if got as u64 == at {
            Ok(())
        } else {
            Err(format!("cannot map the program at {at:x}: {}", io::Error::last_os_error()))
        }
    };
    let page = PAGE as u64;
    map(plan.at, page, libc::PROT_READ | libc::PROT_EXEC, 0)?;
    map(plan.at + page, plan.length - page, libc::PROT_READ | libc::PROT_WRITE, page)
}

/// What only this process knows.
fn fill_in(plan: &Plan, inside: &Inside<'_>) -> Result<(), String> {
    let places = &plan.places;
    // SAFETY: reads the vector that the kernel gave this process.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    for (at, offset) in &places.kernel {
        write(*at, vdso.wrapping_add_signed(*offset));
    }
    let drops_capabilities = {
        let sets = rustix::thread::capabilities(None)
            .map_err(|error| format!("cannot read capabilities: {error}"))?;
        // One that functions never have and that is not kept for this.
        !sets.effective.contains(rustix::thread::CapabilitySet::CHOWN)
    };
    if !drops_capabilities {
        places.drops.iter().for_each(|entry| disable(*entry));
    }
    let mut ops: Vec<u64> = match inside.filter() {
        Some(filter) => {
            filter.iter().map(|op| guard::filter::op(op.code.into(), op.jt, op.jf, op.k)).collect()
        }
        None if places.guard > 0 => vec![guard::filter::allow()],
        None => Vec::new(),
    };
    if ops.is_empty() {
        disable(places.seal);
        return Ok(());
    }
    let (program, room) = places.filter;
    let length = places.guard + ops.len() as u64;
    if length > 4096 {
        return Err("the filter for system calls is too long".into());
    }
    write(program, length);
    for (nth, op) in (places.guard..).zip(ops.drain(..)) {
        write(room + nth * 8, op);
    }
    Ok(())
}

/// Makes an entry of the program one that asks for this process's number.
fn disable(entry: u64) {
    write(entry, libc::SYS_getpid as u64 | u64::from(ANYTHING) << 32);
}

/// Writes into the image.
fn write(at: u64, value: u64) {
    // SAFETY: places that the program names lie in its image, at multiples of eight; it has been mapped writable.
    unsafe { std::ptr::write(at as *mut u64, value) };
}
