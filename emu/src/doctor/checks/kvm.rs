//! Hardware virtualisation: a guest of a few instructions, really run.

use std::os::fd::AsRawFd;
use std::path::Path;

use super::child::{Outcome, run};
use super::{Finding, Host};
use crate::guest::accelerator::Found;
use crate::guest::{Accelerator, FOLDER};

/// `KVM_GET_API_VERSION`, and the one version there is.
const GET_API_VERSION: u64 = 0xae00;
const VERSION: i32 = 12;
const FALLBACK: &str = "TCG (software emulation)";
/// A turn of the guest's loop is two instructions. Processors need a nanosecond for it; hosts that interpret the code of
/// a guest's kernel need more than a thousand (measured: 1 300), and a stock kernel then takes more than ten minutes to
/// boot. The bound lies far from both.
const INTERPRETED_NS: u64 = 100;

/// The device opens and speaks the interface, and a guest with kernel rights runs its instructions at the processor's speed.
/// Where a guest lab has tried a whole kernel on this machine before, its outcome counts more.
pub(super) fn find(host: &Host) -> Finding {
    let path = host.file("dev/kvm");
    let device = match std::fs::File::options().read(true).write(true).open(&path) {
        Ok(device) => device,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fix = "turn on virtualisation and load the module (modprobe kvm_intel or kvm_amd); until then microVMs \
                       run under TCG";
            return Finding::missing("no /dev/kvm", fix);
        }
        Err(error) => {
            let fix =
                "give this user access to /dev/kvm (usermod -aG kvm USER); until then microVMs run under TCG";
            return Finding::missing(format!("/dev/kvm: {}", error.kind()), fix);
        }
    };
    // SAFETY: the request takes no argument.
    let version = unsafe { libc::ioctl(device.as_raw_fd(), GET_API_VERSION as _, 0) };
    if version != VERSION {
        return Finding::missing(
            format!("/dev/kvm answers {version}, not {VERSION}"),
            "use a Linux KVM device",
        );
    }
    match Found::kept(&Path::new("out").join(FOLDER)) {
        Some(found) if found.accelerator == Accelerator::Kvm => Finding::ok(found.reason),
        Some(found) => Finding::degraded(found.reason, FALLBACK),
        None => judge(&run(|| guest::run(&device))),
    }
}

/// From what a turn of the loop took, ns.
fn judge(outcome: &Outcome) -> Finding {
    match outcome {
        Outcome::Done(turn) if *turn < INTERPRETED_NS => {
            Finding::ok("a guest ran its instructions and halted; no kernel was tried yet")
        }
        Outcome::Done(turn) => Finding::degraded(
            format!(
                "a guest ran, but what its kernel does is interpreted here ({turn} ns for two instructions): a stock \
                 kernel does not come up"
            ),
            FALLBACK,
        ),
        failed => Finding::degraded(format!("opens, but no guest runs: {failed}"), FALLBACK),
    }
}

#[cfg(target_arch = "x86_64")]
mod guest {
    //! The smallest guest: no firmware, no devices, one page of code in flat 32-bit protected mode, ring 0.

    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

    use super::super::child::{At, Fault, check, check_fd, expect};

    const CREATE_VM: u64 = 0xae01;
    const GET_VCPU_MMAP_SIZE: u64 = 0xae04;
    const CREATE_VCPU: u64 = 0xae41;
    const SET_USER_MEMORY_REGION: u64 = 0x4020_ae46;
    const RUN: u64 = 0xae80;
    const SET_REGS: u64 = 0x4090_ae82;
    const GET_SREGS: u64 = 0x8138_ae83;
    const SET_SREGS: u64 = 0x4138_ae84;
    const EXIT_HLT: u32 = 5;
    /// Of the reason in the shared page.
    const EXIT_REASON: usize = 8;

    const MEMORY: usize = 16 << 10;
    const CODE_AT: u64 = 0x1000;
    const TURNS: u64 = 10_000;
    /// `mov ecx, TURNS; again: dec ecx; jnz again; mov [0x2000], 0x2a; hlt`
    const CODE: [u8; 16] = [0xb9, 0x10, 0x27, 0, 0, 0x49, 0x75, 0xfd, 0xc6, 0x05, 0, 0x20, 0, 0, 0x2a, 0xf4];
    const SIGN_AT: usize = 0x2000;
    const SIGN: u8 = 0x2a;

    /// `struct kvm_segment`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Segment {
        base: u64,
        limit: u32,
        selector: u16,
        kind: u8,
        present: u8,
        privilege: u8,
        is_32_bit: u8,
        is_code_or_data: u8,
        is_64_bit: u8,
        in_pages: u8,
        rest: [u8; 3],
    }

    /// `struct kvm_sregs`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct SpecialRegisters {
        /// cs, ds, es, fs, gs, ss, tr, ldt.
        segments: [Segment; 8],
        tables: [u64; 4],
        cr0: u64,
        others: [u64; 6],
        interrupts: [u64; 4],
    }

    const _: () = assert!(size_of::<SpecialRegisters>() == 312);

    /// Runs it until it halts: ns that a turn of its loop took.
    pub(super) fn run(device: &File) -> Result<u64, Fault> {
        let request = |fd: i32, request: u64, argument: u64, step: &'static str| {
            // SAFETY: each request below takes a number, or a pointer to the structure whose size it carries, valid for
            // the call.
            check(i64::from(unsafe { libc::ioctl(fd, request as _, argument) }), step)
        };
        let vm = check_fd(request(device.as_raw_fd(), CREATE_VM, 0, "make a VM")?, "make a VM")?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let memory = unsafe { mmap_anonymous(std::ptr::null_mut(), MEMORY, access, MapFlags::SHARED) };
        let memory = memory.at("map memory")?.cast::<u8>();
        // SAFETY: the code fits into the mapping, which nobody else uses yet.
        unsafe { memory.add(CODE_AT as usize).copy_from_nonoverlapping(CODE.as_ptr(), CODE.len()) };
        // Slot and flags, guest address, size, our address.
        let region = [0, 0, MEMORY as u64, memory as u64];
        request(vm.as_raw_fd(), SET_USER_MEMORY_REGION, region.as_ptr() as u64, "give it memory")?;
        let cpu = check_fd(request(vm.as_raw_fd(), CREATE_VCPU, 0, "make a processor")?, "make a processor")?;
        let size = request(device.as_raw_fd(), GET_VCPU_MMAP_SIZE, 0, "ask for a size")?;
        // SAFETY: a new mapping of what the kernel shares about the processor, of the size that it says.
        let shared =
            unsafe { mmap(std::ptr::null_mut(), size as usize, access, MapFlags::SHARED, cpu.as_fd(), 0) };
        let shared = shared.at("map the processor's state")?.cast::<u8>();

        let mut special = SpecialRegisters::default();
        request(cpu.as_raw_fd(), GET_SREGS, (&raw mut special) as u64, "read registers")?;
        let flat = Segment {
            limit: u32::MAX,
            present: 1,
            is_32_bit: 1,
            is_code_or_data: 1,
            in_pages: 1,
            ..Segment::default()
        };
        // Readable code that was accessed; writable data that was accessed.
        special.segments[0] = Segment { selector: 8, kind: 0xb, ..flat };
        special.segments[1..6].fill(Segment { selector: 16, kind: 3, ..flat });
        special.cr0 |= 1;
        request(cpu.as_raw_fd(), SET_SREGS, (&raw const special) as u64, "set registers")?;
        let mut registers = [0_u64; 18];
        (registers[16], registers[17]) = (CODE_AT, 2);
        request(cpu.as_raw_fd(), SET_REGS, registers.as_ptr() as u64, "set registers")?;

        let began = crate::sandbox::steps::now();
        request(cpu.as_raw_fd(), RUN, 0, "run it")?;
        let took = crate::sandbox::steps::now() - began;
        // SAFETY: both lie in the mappings made above; the guest does not run any more.
        let (reason, sign) = unsafe {
            (shared.add(EXIT_REASON).cast::<u32>().read_volatile(), memory.add(SIGN_AT).read_volatile())
        };
        expect(reason == EXIT_HLT && sign == SIGN, "halt of the guest, after its work")?;
        Ok(took / TURNS)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod guest {
    use std::fs::File;

    use rustix::io::Errno;

    use super::super::child::{At, Fault};

    pub(super) fn run(_: &File) -> Result<u64, Fault> {
        Err(Errno::NOSYS).at("run a guest on this architecture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_judged_by_what_a_guest_does() {
        let word = |outcome: &Outcome| judge(outcome).status.word();
        assert_eq!(word(&Outcome::Done(1)), "OK");
        assert_eq!(word(&Outcome::Done(1300)), "DEGRADED");
        assert_eq!(word(&Outcome::TimedOut), "DEGRADED");
        assert!(judge(&Outcome::Died).detail.contains("no guest runs"));
    }

    /// Whatever the machine can do: the guest's work is done and its time is told, or the step that failed is.
    #[test]
    fn the_guest_runs_or_its_step_is_named() {
        let Ok(device) = std::fs::File::options().read(true).write(true).open("/dev/kvm") else {
            crate::doctor::skip("/dev/kvm cannot be opened");
            return;
        };
        let outcome = run(|| guest::run(&device));
        eprintln!("{outcome:?}");
        assert!(matches!(outcome, Outcome::Done(_) | Outcome::Failed { .. }), "{outcome:?}");
    }
}
