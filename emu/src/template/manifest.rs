//! What a template says of the process that it was made from: plain data, in one versioned file.
//!
//! The hash of the file is the template's identity. The file names the root hash of the pages, so the identity fixes
//! every byte of the template.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::hex::{from_hex, to_hex};
pub use super::known::KnownFile;

/// Version of the format. A template of another version is refused.
pub const VERSION: u32 = 2;
/// Name of the file in a template's folder.
pub const MANIFEST: &str = "manifest.json";

/// A captured process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Name of the function.
    pub function: String,
    /// Calls that it had answered.
    pub warm_ups: u32,
    /// Where it can be attached.
    pub machine: Machine,
    /// The file of pages.
    pub pages: Pages,
    /// What belongs to the whole process.
    pub process: Process,
    /// Its threads, the main one first.
    pub threads: Vec<Thread>,
    /// Its address space, ascending.
    pub areas: Vec<Area>,
    /// Its open files, ascending.
    pub descriptors: Vec<Descriptor>,
    /// What it has written to its root, folders before what is in them: it is written again.
    pub own_files: Vec<OwnFile>,
    /// Files of its layers that it has mapped or open, by path: they must be the same at attach.
    pub known_files: Vec<KnownFile>,
}

/// A file or folder that the function wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnFile {
    /// Path inside.
    pub path: String,
    /// Its mode.
    pub mode: u32,
    /// When it was changed last, ns since 1970.
    pub modified_ns: i64,
    /// What is there.
    pub content: OwnContent,
}

/// What lies at the path of an [`OwnFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OwnContent {
    /// Bytes, in hexadecimal digits.
    File(String),
    /// A folder.
    Folder,
    /// A symbolic link to this.
    Link(String),
    /// What a listening socket that is bound to it makes.
    Socket,
    /// Nothing: the function has removed what its layers have.
    Gone,
}

/// A limit of resources that the function has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// What holds.
    pub current: u64,
    /// How far it can be raised.
    pub maximum: u64,
}

/// What must be the same where a template is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Kernel release, for messages.
    pub kernel: String,
    /// Hash of the vdso's code: programs keep addresses in it, so the kernel that maps it must be of the same build.
    pub vdso: String,
    /// Features of the processor whose registers are saved (XCR0).
    pub features: u64,
}

/// The file of pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// Root hash of its table.
    pub root: String,
    /// Pages that it holds.
    pub present: u64,
    /// Pages with the gaps between.
    pub span: u64,
}

/// What belongs to the whole process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The file that it executed, inside.
    pub executable: String,
    /// Working folder, inside.
    pub cwd: String,
    /// Mask of modes.
    pub umask: u32,
    /// `personality(2)`.
    pub personality: u32,
    /// Places that the kernel knows in its memory.
    pub memory: MemoryMap,
    /// Vector that the kernel gave it at its start, in hexadecimal digits.
    pub auxiliary: String,
    /// Signal actions that are not the default.
    pub actions: Vec<SignalAction>,
    /// Signals that wait for the process.
    pub pending: Vec<String>,
    /// Interval timers that run: which, remaining and interval in microseconds.
    pub timers: Vec<IntervalTimer>,
    /// Limits that are not those of every function.
    pub limits: Vec<Limit>,
}

/// `struct prctl_mm_map` without its auxiliary vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the kernel's own names")]
pub struct MemoryMap {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_brk: u64,
    pub brk: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// `struct sigaction` of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalAction {
    /// The signal.
    pub signal: u32,
    /// Handler, or 1 for "ignore".
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// What the handler returns to.
    pub restorer: u64,
    /// Blocked meanwhile.
    pub mask: u64,
}

/// A running interval timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntervalTimer {
    /// `ITIMER_*`.
    pub which: u32,
    /// Until it goes off, microseconds.
    pub value_us: u64,
    /// From then on, microseconds.
    pub interval_us: u64,
}

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thread {
    /// Its number inside.
    pub number: i32,
    /// Its name.
    pub name: String,
    /// Registers to go on with.
    pub registers: Registers,
    /// Extended registers as the processor saves them (XSAVE, standard form), in hexadecimal digits.
    pub extended: String,
    /// Blocked signals.
    pub mask: u64,
    /// Signals that wait for it: each a `siginfo`, in hexadecimal digits.
    pub pending: Vec<String>,
    /// Alternate stack of signals: address, flags, size.
    pub alternate_stack: (u64, u32, u64),
    /// Head of its list of robust futexes and the head's size.
    pub robust_list: (u64, u64),
    /// Place of restartable sequences, its length, signature; address 0: none.
    pub rseq: (u64, u32, u32),
    /// Cleared and woken when it ends.
    pub clear_on_end: u64,
}

/// General registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the processor's own names")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub flags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
}

/// A stretch of addresses with one protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `PROT_*`.
    pub protection: u32,
    /// What it is.
    pub kind: AreaKind,
    /// What its pages are for.
    pub class: Class,
    /// `MADV_*` that was said of it.
    pub advice: Vec<u32>,
    /// Pages of its own that the template holds, ascending.
    pub runs: Vec<Run>,
    /// How those pages come back.
    pub way: Way,
}

/// What an area is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AreaKind {
    /// Memory of its own.
    Anonymous {
        /// Grows downwards by itself.
        grows_down: bool,
        /// Without reserving memory.
        no_reserve: bool,
    },
    /// A file, of which the pages in `runs` were written.
    File {
        /// Path inside.
        path: String,
        /// Byte of the file at `start`.
        offset: u64,
        /// Mapped shared.
        shared: bool,
        /// With the right to write what is shared: only files of its own.
        writes: bool,
    },
    /// A page of the kernel, such as the vdso, which is moved here.
    Kernel {
        /// As the kernel calls it.
        name: String,
    },
}

/// What pages are for, as figures divide them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The executed program and the C library.
    Runtime,
    /// Other files: libraries, modules, data.
    Library,
    /// Heap, stacks, and other memory of its own.
    Function,
}

/// Pages that follow one another in memory and in the file of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// Pages, perhaps with absent ones (zeros) between.
    pub pages: u64,
    /// Page of the file of pages.
    pub first_page: u64,
}

impl Run {
    /// First address after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.bytes()
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.pages * super::pages::PAGE as u64
    }
}

/// How the pages of an area come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// As a private mapping of the template, or by whatever else attaches without copying.
    Attach,
    /// Copied into memory of the process: where a private mapping would not behave as memory of its own.
    Copy,
}

/// An open file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Its number.
    pub number: i32,
    /// Closed by `exec`.
    pub close_on_exec: bool,
    /// What it is.
    pub file: File,
    /// Locks that it holds.
    pub locks: Vec<Lock>,
}

/// A lock of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Whose it is.
    pub kind: LockKind,
    /// For itself alone.
    pub alone: bool,
    /// First byte.
    pub start: u64,
    /// Bytes; 0: to the end, wherever that is.
    pub length: u64,
}

/// Whose a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// The open file's, of all of it (`flock`).
    Whole,
    /// The process's (`F_SETLK`).
    Process,
    /// The open file's (`F_OFD_SETLK`).
    Open,
}

/// What a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum File {
    /// The same open file as another descriptor.
    Same {
        /// A lower number.
        number: i32,
    },
    /// The socket to the manager: the new sandbox's own.
    Channel {
        /// `O_*` that can be set later.
        flags: u32,
    },
    /// The log: the new sandbox's own.
    Log,
    /// By path.
    Path {
        /// Inside.
        path: String,
        /// `O_*`.
        flags: u32,
        /// Place in it.
        offset: u64,
    },
    /// One end of a pipe whose other end is the process's, too.
    Pipe {
        /// Pipes have numbers of their own.
        pipe: u32,
        /// The end to write to.
        writes: bool,
        /// `O_*`.
        flags: u32,
        /// Bytes that it can hold.
        capacity: u32,
        /// Bytes that wait in it, in hexadecimal digits; with one end of it.
        content: String,
    },
    /// A counter.
    Event {
        /// Its count.
        count: u64,
        /// `O_*` and `EFD_SEMAPHORE`.
        flags: u32,
    },
    /// An epoll set.
    Epoll {
        /// Descriptor → events and data.
        members: BTreeMap<i32, (u32, u64)>,
    },
    /// A timer.
    Timer {
        /// Its clock.
        clock: i32,
        /// `O_*`.
        flags: u32,
        /// Until it goes off, ns, or when by its clock if it is absolute; 0: it does not run.
        value_ns: u64,
        /// From then on, ns.
        interval_ns: u64,
        /// Times that it went off unread.
        ticks: u64,
        /// `TFD_TIMER_*`: an absolute timer goes off at its time by the clock, however long that is after the attach.
        set: i32,
    },
    /// Signals as reads.
    Signals {
        /// Those that it takes.
        mask: u64,
        /// `O_*`.
        flags: u32,
    },
    /// A socket that waits for connections.
    Listener {
        /// `AF_*`.
        family: u32,
        /// `SOCK_*`.
        kind: u32,
        /// Its protocol.
        protocol: u32,
        /// `O_*`.
        flags: u32,
        /// Where it listens: a `sockaddr`, in hexadecimal digits.
        address: String,
        /// Connections that may wait.
        backlog: u32,
        /// Options of the socket that are set: level, name, value.
        options: Vec<(i32, i32, i32)>,
    },
    /// A socket without an address or a peer.
    Socket {
        /// `AF_*`.
        family: u32,
        /// `SOCK_*`.
        kind: u32,
        /// Its protocol.
        protocol: u32,
        /// `O_*`.
        flags: u32,
        /// Options of the socket that are set: level, name, value.
        options: Vec<(i32, i32, i32)>,
    },
}
