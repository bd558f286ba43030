//! A sudden end of this program: it is told to end, or nobody reads any more what it prints.
//!
//! Sandboxes, guests and browsers are taken away by destructors, which a signal does not run; and what they have in the
//! kernel — cgroups, links — outlives the process. So a program that has called [`arm`] and gets `SIGINT`, `SIGTERM` or
//! `SIGHUP` first removes all that carries a label of its own ([`crate::clean`]) and the folders that it was writing, and
//! then ends by that same signal. A second one ends it at once, as `SIGKILL` does always; `trenvx emu clean` then finds what
//! is left.
//!
//! A pipe that nobody reads is two things: standard output (`trenvx emu vm list | head -1`) ends the program quietly; the
//! pipe of a browser that has crashed is an error of one call, and everybody else goes on.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use libc::c_int;

/// What a program is told to end by.
const TOLD: [c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Where handlers write the signal's number; -1 before [`arm`].
static NOTICE: AtomicI32 = AtomicI32::new(-1);
/// Whether the end has begun.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// Folders that go, too.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Makes broken pipes errors of whoever writes to them, but for standard output and error, which end the program.
///
/// # Errors
/// If the handler cannot be set.
pub fn watch_output() -> io::Result<()> {
    set(libc::SIGPIPE, broken, 0)
}

/// From now on a signal that ends the program takes away first what carries its labels. A signal that whoever started
/// it has had ignored stays ignored.
///
/// # Errors
/// If a handler cannot be set, or there is no thread for it.
pub fn arm() -> io::Result<()> {
    let (notices, notice) = io::pipe()?;
    begin(notices, notice)?;
    for signal in TOLD {
        if !is_ignored(signal)? {
            // After the first one the next does what it always did.
            set(signal, told, libc::SA_RESETHAND)?;
        }
    }
    Ok(())
}

/// A folder that is removed at a sudden end. One that is gone by then is none.
pub(crate) fn also(folder: PathBuf) {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
}

/// Ends the program with this code, now, wherever its other threads are.
pub fn end(code: i32) -> ! {
    if !BEGUN.swap(true, Ordering::AcqRel) {
        take_away();
        std::process::exit(code);
    }
    wait()
}

/// Waits for the end if it has begun: what a command says that is being taken apart is of no interest.
pub fn settle() {
    if BEGUN.load(Ordering::Acquire) {
        wait();
    }
}

fn wait() -> ! {
    loop {
        std::thread::park();
    }
}

fn begin(mut notices: PipeReader, notice: PipeWriter) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("ending".to_owned());
    thread.spawn(move || {
        let mut signal = [0];
        if notices.read_exact(&mut signal).is_err() || BEGUN.swap(true, Ordering::AcqRel) {
            return;
        }
        take_away();
        by(c_int::from(signal[0]));
    })?;
    // It is held as long as the program lives.
    NOTICE.store(notice.into_raw_fd(), Ordering::Release);
    Ok(())
}

fn take_away() {
    // What stays is found by `trenvx emu clean`.
    let _ = crate::clean::remove_own();
    for folder in FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// Ends the program by a signal, as if it had never been caught.
fn by(signal: c_int) -> ! {
    // SAFETY: sets the default action, which ends this process, and sends the signal to it.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::kill(libc::getpid(), signal);
    }
    // It comes on any thread, at any moment now.
    std::thread::sleep(Duration::from_secs(1));
    std::process::exit(128 + signal)
}

fn set(signal: c_int, handler: extern "C" fn(c_int), flags: c_int) -> io::Result<()> {
    // SAFETY: a structure of numbers, all of which may be zero, of which the handler is of the type for these flags; both
    // handlers make system calls only that are allowed in one.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        action.sa_flags = flags | libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_ignored(signal: c_int) -> io::Result<bool> {
    // SAFETY: asks only, into a structure of numbers, all of which may be zero.
    let (result, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action), action)
    };
    if result == 0 { Ok(action.sa_sigaction == libc::SIG_IGN) } else { Err(io::Error::last_os_error()) }
}

/// Tells the thread of [`arm`] which signal it was; whether there is one.
fn notify(signal: c_int) -> bool {
    let notice = NOTICE.load(Ordering::Acquire);
    let number = signal as u8;
    // SAFETY: a byte that lives until the call returns, to a pipe that is never closed.
    notice >= 0 && unsafe { libc::write(notice, (&raw const number).cast(), 1) } == 1
}

extern "C" fn told(signal: c_int) {
    notify(signal);
}

/// Somebody has written to a pipe that nobody reads: whoever it was gets an error, unless that was what we print.
extern "C" fn broken(signal: c_int) {
    let mut outputs = [1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: two entries, alive; what a failed call leaves in `errno` is put back for whoever was interrupted, and `raise`
    // after the default action was set ends the process.
    unsafe {
        let errno = *libc::__errno_location();
        libc::poll(outputs.as_mut_ptr(), 2, 0);
        if outputs.iter().any(|output| output.revents & libc::POLLERR != 0) {
            if notify(signal) {
                // This thread would print its error next, and panic.
                loop {
                    libc::pause();
                }
            }
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        *libc::__errno_location() = errno;
    }
}

/// Ends the program with a sentence instead of a panic when what it prints cannot be written, as on a full disk.
pub fn tell_full_output() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Of a formatted message, as `println!` panics with, it is a `String`.
            let said = panic.payload().downcast_ref::<String>().map_or("", String::as_str);
            if said.starts_with("failed printing to std") {
                use std::io::Write;
                let _ = writeln!(io::stderr(), "trenvx: {said}");
                end(1);
            }
            before(panic);
        }));
    });
}
