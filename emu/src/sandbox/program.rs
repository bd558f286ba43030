//! What a sandbox is asked to run: plain data, without a word about how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Number of the first descriptor that a routine was given beside the usual ones, inside
/// ([`super::Manager::create_with`]).
pub const GIVEN: i32 = 4;
/// Most descriptors that a routine can be given.
pub const MOST_GIVEN: usize = 220;

/// User and group number of a function where its program names no other. No account of usual systems has it.
pub const FUNCTION_USER: u32 = 30_303;

/// A function's process: what is started in a sandbox, from which files, within which limits.
///
/// Inside, descriptors 0 and 1 are one end of a stream socket whose other end the manager holds, and 2 is a
/// log of bounded size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What runs in the new process.
    pub start: Start,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Folder to start in, inside.
    pub cwd: String,
    /// Read-only folder trees over the base image, the first one on top. Each lies at `/` inside.
    pub layers: Vec<PathBuf>,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub confinement: Confinement,
    /// Host name inside.
    pub hostname: String,
}

impl Program {
    /// A program by its arguments, the first one being the file to run; everything else as usual.
    #[must_use]
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self::starting(Start::Exec { argv: argv.into_iter().map(Into::into).collect() })
    }

    /// A program that is a routine of the launcher, called in the new process instead of another file.
    #[must_use]
    pub fn call<S: Into<String>>(entry: &str, args: impl IntoIterator<Item = S>) -> Self {
        Self::starting(Start::Call {
            entry: entry.to_owned(),
            args: args.into_iter().map(Into::into).collect(),
        })
    }

    fn starting(start: Start) -> Self {
        let env = BTreeMap::from([
            ("HOME".to_owned(), "/tmp".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ]);
        Self {
            start,
            env,
            cwd: "/tmp".to_owned(),
            layers: Vec::new(),
            limits: Limits::default(),
            confinement: Confinement::default(),
            hostname: "function".to_owned(),
        }
    }
}

/// The replaceable last step of a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Execute a file of the sandbox.
    Exec {
        /// Arguments; the first one is also the file.
        argv: Vec<String>,
    },
    /// Call a routine that the launcher was given under this name ([`super::Entries`]). Nothing is executed: a
    /// template engine attaches memory to the process that waits in such a routine.
    Call {
        /// Name of the routine.
        entry: String,
        /// Its arguments.
        args: Vec<String>,
    },
}

/// What a function may use. `None`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all its processes and of the files that it writes, bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Files that it writes, bytes.
    pub disk_bytes: u64,
    /// What is kept of descriptor 2, bytes.
    pub log_bytes: u64,
    /// How long one invocation may take; whoever waits for the answer keeps this time.
    pub time: Option<Duration>,
}

impl Default for Limits {
    /// Loose: they stop accidents, not work. The published system too keeps its real limit loose (1 GB) and
    /// sets no processor quota.
    fn default() -> Self {
        Self {
            memory_bytes: Some(1 << 30),
            cpu_millis: None,
            pids: Some(256),
            disk_bytes: 256 << 20,
            log_bytes: 1 << 20,
            time: None,
        }
    }
}

/// What a function may do inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// User and group number of the process.
    pub user: u32,
    /// Give up every capability, and the way to new ones.
    pub drop_capabilities: bool,
    /// Refuse dangerous system calls ([`super::seccomp`]).
    pub seccomp: bool,
    /// A user namespace of its own, in which its number is mapped to itself alone.
    pub user_namespace: bool,
}

impl Default for Confinement {
    fn default() -> Self {
        Self { user: FUNCTION_USER, drop_capabilities: true, seccomp: true, user_namespace: false }
    }
}

impl Confinement {
    /// Root with every capability over its own namespaces **and the machine**: only for the project's own
    /// suites, which show that a sandbox is clean even after such a function. What it executes has no capabilities
    /// if a confined function ran in the sandbox before.
    #[must_use]
    pub fn none() -> Self {
        Self { user: 0, drop_capabilities: false, seccomp: false, user_namespace: false }
    }

    /// Whether such a function could have changed the settings of its network namespace.
    #[must_use]
    pub fn could_change_settings(&self) -> bool {
        self.user == 0 || !self.drop_capabilities
    }
}
