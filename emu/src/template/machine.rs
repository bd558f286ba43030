//! What of a machine a template depends on.

use std::io;

use super::capture::maps;
use super::manifest::Machine;
use super::pages::PAGE;

/// Registers of matrix units: saved only for programs that asked for them.
const ON_DEMAND: u64 = 1 << 17 | 1 << 18;

/// This machine.
///
/// # Errors
/// If its address space cannot be read.
pub(super) fn this() -> io::Result<Machine> {
    Ok(Machine { kernel: release(), vdso: hash_vdso(own_vdso()?), features: features() })
}

/// Release of the kernel.
pub(super) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Hash of a vdso's bytes.
pub(super) fn hash_vdso(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().as_str().to_owned()
}

/// The vdso of this process.
fn own_vdso() -> io::Result<&'static [u8]> {
    let mappings = maps::list(std::process::id().cast_signed())?;
    let vdso = maps::vdso(&mappings).ok_or_else(|| io::Error::other("the kernel gives no vdso"))?;
    let (start, end) = (vdso.start as usize, vdso.end as usize);
    debug_assert!(start.is_multiple_of(PAGE));
    // SAFETY: the kernel maps it readable into every process for its whole life, and it never changes.
    Ok(unsafe { std::slice::from_raw_parts(start as *const u8, end - start) })
}

/// Register sets that the kernel saves for every program (XCR0).
#[cfg(target_arch = "x86_64")]
fn features() -> u64 {
    // SAFETY: every 64-bit processor that this kernel runs on has XSAVE if it says so; asked below.
    let has = std::arch::x86_64::__cpuid(1).ecx & (1 << 27) != 0;
    if !has {
        return 3;
    }
    let (low, high): (u32, u32);
    // SAFETY: the operating system has switched XSAVE on, so the instruction exists; it reads register 0.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    (u64::from(low) | u64::from(high) << 32) & !ON_DEMAND
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> u64 {
    0
}

/// Bytes that the standard form of saved registers takes for these features.
#[cfg(target_arch = "x86_64")]
pub(super) fn extended_length(features: u64) -> usize {
    let mut length = 576;
    for feature in (2..63).filter(|feature| features & 1 << feature != 0) {
        let leaf = std::arch::x86_64::__cpuid_count(0xd, feature);
        length = length.max((leaf.eax + leaf.ebx) as usize);
    }
    length
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn extended_length(_: u64) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_the_same_twice() {
        let (first, second) = (this().unwrap(), this().unwrap());
        assert_eq!(first, second);
        assert_eq!(first.vdso.len(), 64);
    }
}
