//! Registers as the kernel lays them out for a signal handler: returning from such a frame becomes the thread.

use crate::template::manifest::{Registers, Thread};

/// Offset of `ucontext` in the frame: the stack points to it when a handler returns.
const CONTEXT: usize = 8;
/// Length of `ucontext` and what follows it in the frame.
const FRAME: usize = CONTEXT + 304 + 128;
/// Where the kernel's own note lies in the saved registers, and that it is there.
const NOTE: usize = 464;
const MAGIC_1: u32 = 0x4650_5853;
const MAGIC_2: u32 = 0x4650_5845;
/// The saved registers have the extended form; the stack segment is there and is to be restored as it is.
const FLAGS: u64 = 1 | 2 | 4;
/// Code and stack segment of 64-bit programs.
const SEGMENTS: u64 = 0x33 | 0x2b << 48;

/// Bytes that [`build`] fills.
pub(super) fn length(thread_extended: usize) -> usize {
    FRAME.next_multiple_of(64) + thread_extended + 4
}

/// The frame of a thread at `address`, which is a multiple of 64; what the stack must point to is 8 behind it.
pub(super) fn build(address: u64, thread: &Thread, extended: &[u8], features: u64) -> Vec<u8> {
    let saved = FRAME.next_multiple_of(64);
    let mut frame = vec![0; length(extended.len())];
    let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
    let (stack, flags, size) = thread.alternate_stack;
    let registers = &thread.registers;
    let mut at = CONTEXT;
    for value in [FLAGS, 0, stack, u64::from(flags), size].into_iter().chain(general(registers)) {
        put(at, &value.to_le_bytes());
        at += 8;
    }
    // Segments; error, trap, old mask and fault address mean nothing on the way back.
    put(at, &SEGMENTS.to_le_bytes());
    at += 8 + 4 * 8;
    put(at, &(address + saved as u64).to_le_bytes());
    at += 8 + 8 * 8;
    put(at, &thread.mask.to_le_bytes());
    put(saved, extended);
    put(saved + NOTE, &MAGIC_1.to_le_bytes());
    put(saved + NOTE + 4, &(extended.len() as u32 + 4).to_le_bytes());
    put(saved + NOTE + 8, &features.to_le_bytes());
    put(saved + NOTE + 16, &(extended.len() as u32).to_le_bytes());
    put(saved + NOTE + 20, &[0; 28]);
    put(saved + extended.len(), &MAGIC_2.to_le_bytes());
    frame
}

/// In the order of `struct sigcontext`.
fn general(r: &Registers) -> [u64; 18] {
    [
        r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax,
        r.rcx, r.rsp, r.rip, r.flags,
    ]
}

/// What the stack must point to, of a frame at `address`.
pub(super) fn stack(address: u64) -> u64 {
    address + CONTEXT as u64
}
