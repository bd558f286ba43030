//! The few instructions that carry out a program of system calls in the new process.
//!
//! They need no stack, no memory but the program's own, and no place: the process that runs them takes its whole
//! address space apart and builds another's. A program is a table of entries of 64 bytes:
//!
//! ```text
//! call u32 | check u32 | six arguments u64 | value u64
//! ```
//!
//! | check | meaning |
//! |---|---|
//! | 0 | an error ends the process |
//! | 1 | so does a result that is not `value` |
//! | 2 | whatever the result is |
//! | 3 | as 0; where the result is 0, go on at address `value`: the new thread |
//!
//! | call | meaning |
//! |---|---|
//! | 0x10000 | store the second argument as u32 at the first |
//! | 0x10001 | add 1 to the u32 at the first argument |
//! | 0x10002 | wait until the u32 at the first argument is the second |
//! | 0x10003 | make the first argument the stack and return from a signal: the last entry of a thread |
//!
//! On a surprise the report (see [`super::report`]) becomes `1 | address of the entry | result`, is written to the
//! status descriptor, and every thread ends.

/// Stores a word.
pub(super) const STORE: u32 = 0x1_0000;
/// Adds one to a word.
pub(super) const ARRIVE: u32 = 0x1_0001;
/// Waits for a word's value.
pub(super) const WAIT: u32 = 0x1_0002;
/// Becomes the thread whose registers are in a signal frame.
pub(super) const RETURN: u32 = 0x1_0003;

/// An error is a failure.
pub(super) const SUCCEEDS: u32 = 0;
/// Any other result than the value is a failure.
pub(super) const EQUALS: u32 = 1;
/// Nothing is a failure.
pub(super) const ANYTHING: u32 = 2;
/// As [`SUCCEEDS`], and a new thread goes on elsewhere.
pub(super) const FORKS: u32 = 3;

/// Exit code of a process whose program failed.
pub(super) const FAILED: i32 = 127;

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl trenvx_interpreter_start",
    ".globl trenvx_interpreter_end",
    ".p2align 6",
    // rbx: the entry. r12: the report. r13: the status descriptor. A new thread has them, too.
    "trenvx_interpreter_start:",
    "20:",
    "mov eax, dword ptr [rbx]",
    "mov rdi, qword ptr [rbx + 8]",
    "mov rsi, qword ptr [rbx + 16]",
    "cmp eax, 0x10000",
    "jae 40f",
    "mov rdx, qword ptr [rbx + 24]",
    "mov r10, qword ptr [rbx + 32]",
    "mov r8, qword ptr [rbx + 40]",
    "mov r9, qword ptr [rbx + 48]",
    "syscall",
    "mov ecx, dword ptr [rbx + 4]",
    "cmp ecx, 2",
    "je 30f",
    "cmp ecx, 1",
    "jne 21f",
    "cmp rax, qword ptr [rbx + 56]",
    "jne 50f",
    "jmp 30f",
    "21:",
    "cmp rax, -4095",
    "jae 50f",
    "cmp ecx, 3",
    "jne 30f",
    "test rax, rax",
    "jnz 30f",
    "mov rbx, qword ptr [rbx + 56]",
    "jmp 20b",
    "30:",
    "add rbx, 64",
    "jmp 20b",
    "40:",
    "cmp eax, 0x10000",
    "jne 41f",
    "mov dword ptr [rdi], esi",
    "jmp 30b",
    "41:",
    "cmp eax, 0x10001",
    "jne 42f",
    "lock inc dword ptr [rdi]",
    "jmp 30b",
    "42:",
    "cmp eax, 0x10002",
    "jne 44f",
    "43:",
    "mov edx, dword ptr [rdi]",
    "cmp edx, dword ptr [rbx + 16]",
    "je 30b",
    // futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seen, no time-out)
    "mov esi, 128",
    "xor r10d, r10d",
    "mov eax, 202",
    "syscall",
    "jmp 43b",
    "44:",
    "mov rsp, rdi",
    "mov eax, 15",
    "syscall",
    "50:",
    "mov qword ptr [r12], 1",
    "mov qword ptr [r12 + 8], rbx",
    "mov qword ptr [r12 + 16], rax",
    "mov edi, r13d",
    "mov rsi, r12",
    "mov edx, 24",
    "mov eax, 1",
    "syscall",
    "51:",
    "mov edi, 127",
    "mov eax, 231",
    "syscall",
    "jmp 51b",
    "trenvx_interpreter_end:",
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    static trenvx_interpreter_start: u8;
    static trenvx_interpreter_end: u8;
}

/// The instructions.
#[cfg(target_arch = "x86_64")]
pub(super) fn code() -> &'static [u8] {
    let (start, end) = (&raw const trenvx_interpreter_start, &raw const trenvx_interpreter_end);
    // SAFETY: both are labels in the text of this program, in this order, and text is never written.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// Leaves this program's code and memory for good: runs the interpreter's copy at `code` from entry `first` on.
///
/// # Safety
/// `code` is such a copy, mapped to be executed; `first` is the first entry of a program, and `report` a report, both
/// mapped in memory that the program does not take away. Nothing of this program is used afterwards.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn enter(code: u64, first: u64, report: u64, status: i32) -> ! {
    // SAFETY: as the caller has promised; the code reads these registers and never returns.
    unsafe {
        std::arch::asm!(
            "mov rbx, {first}",
            "jmp {code}",
            first = in(reg) first,
            code = in(reg) code,
            in("r12") report,
            in("r13") i64::from(status),
            options(noreturn)
        )
    }
}

/// The instructions: there are none for this processor, so no template is attached on it.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn code() -> &'static [u8] {
    &[]
}

/// Ends the process.
///
/// # Safety
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn enter(_: u64, _: u64, _: u64, _: i32) -> ! {
    std::process::exit(FAILED)
}
