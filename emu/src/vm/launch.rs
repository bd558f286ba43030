//! How a VMM comes into its sandbox: a routine that waits for descriptors and then executes the VMM.
//!
//! A sandbox has the installed programs and nothing else of the machine. Guest memory, the root image, and the ends
//! of the channels come over the function's channel as open descriptors, which the VMM opens by their numbers.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::machine::descriptor::FIRST;
use super::{Accelerator, Error, Machine};
use crate::sandbox::wire::{receive, send};
use crate::sandbox::{Function, Inside, Limits, Program, Routine};

/// Memory that a VMM needs beside its guest's: its own, the code that it translated, page tables. Generous: a limit is
/// to stop accidents, not work.
const VMM_BYTES: u64 = 768 << 20;

/// What launchers of microVMs offer.
pub const ROUTINE: (&str, Routine) = ("vmm", Routine::plain(become_vmm));

/// What the routine waits for: the numbers are those that the descriptors sent along are to have.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    arguments: Vec<String>,
    numbers: Vec<i32>,
}

/// The VMM as a function of a sandbox.
pub(super) fn program(machine: &Machine, accelerator: &Accelerator, out: &Path) -> Result<Program, Error> {
    let mut program = Program::call("vmm", [""; 0]);
    program.limits = Limits { memory_bytes: Some(machine.memory_bytes() + VMM_BYTES), ..Limits::default() };
    "vmm".clone_into(&mut program.hostname);
    if matches!(accelerator, Accelerator::Kvm) {
        program.layers.push(kvm_layer(out)?);
    }
    Ok(program)
}

/// A layer with the one device that sandboxes do not have.
fn kvm_layer(out: &Path) -> Result<std::path::PathBuf, Error> {
    let layer = out.join("vm/kvm-layer");
    let node = layer.join("dev/kvm");
    if !node.exists() {
        let at = |_| Error::at(format!("make {}", node.display()));
        fs::create_dir_all(layer.join("dev")).map_err(at(()))?;
        let device = fs::metadata("/dev/kvm").map_err(Error::at("look at /dev/kvm"))?;
        let number = std::os::unix::fs::MetadataExt::rdev(&device);
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            &node,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            number,
        );
        match made {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(at(())(errno.into())),
        }
        // Whatever the umask is.
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&node, all).map_err(at(()))?;
    }
    Ok(layer)
}

/// Tells the waiting routine what to execute, with which descriptors under which numbers.
pub(super) fn order(
    function: &Function,
    arguments: Vec<String>,
    descriptors: &[(i32, BorrowedFd<'_>)],
) -> Result<(), Error> {
    let numbers = descriptors.iter().map(|(number, _)| *number).collect();
    let sent: Vec<_> = descriptors.iter().map(|(_, descriptor)| *descriptor).collect();
    send(&function.channel, &Order { arguments, numbers }, &sent)
        .map_err(Error::at("give the VMM its descriptors"))
}

/// Waits for the order and becomes the VMM. Ends the process with the number of a reason otherwise; what it
/// says goes to the function's log.
fn become_vmm(_: &mut Inside<'_>) -> i32 {
    let Some((order, descriptors)) = received() else { return 1 };
    for (number, descriptor) in order.numbers.iter().zip(&descriptors) {
        // SAFETY: both are numbers of this process's own table; received ones are lower than all targets, which
        // nothing else has. Copies stay open over the exec.
        if descriptor.as_raw_fd() >= FIRST || unsafe { libc::dup2(descriptor.as_raw_fd(), *number) } < 0 {
            eprintln!("vmm: cannot place descriptor {number}: {}", std::io::Error::last_os_error());
            return 1;
        }
    }
    let text = |value: &str| CString::new(value).unwrap_or_default();
    let arguments: Vec<CString> = order.arguments.iter().map(|value| text(value)).collect();
    let environment = ["PATH=/usr/bin:/bin", "HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8"].map(text);
    let pointers = |values: &[CString]| -> Vec<*const libc::c_char> {
        values.iter().map(|value| value.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    let name = order.arguments.first().map_or("", String::as_str);
    for folder in ["/usr/bin", "/usr/local/bin", "/bin"] {
        let file = text(&format!("{folder}/{name}"));
        // SAFETY: strings and both lists, which end with a null pointer, live until the call replaces us.
        unsafe { libc::execve(file.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    }
    eprintln!("vmm: cannot execute {name}: {}", std::io::Error::last_os_error());
    1
}

fn received() -> Option<(Order, Vec<std::os::fd::OwnedFd>)> {
    // SAFETY: the channel is descriptor 0 of every function, for as long as it runs.
    let channel = unsafe { BorrowedFd::borrow_raw(0) };
    match receive::<Order>(channel) {
        Ok(Some((order, descriptors))) if order.numbers.len() == descriptors.len() => {
            Some((order, descriptors))
        }
        Ok(Some(_)) => {
            eprintln!("vmm: descriptors are missing");
            None
        }
        Ok(None) => None,
        Err(error) => {
            eprintln!("vmm: no order: {error}");
            None
        }
    }
}
