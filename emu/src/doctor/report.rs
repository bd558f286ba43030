//! The findings: what is said about each facility, and the names under which it is saved.

use serde::Serialize;

use super::Machine;

/// Version of the saved form. It grows when a field changes its name or meaning.
const FORMAT: u32 = 1;

/// What this machine is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this form.
    pub format: u32,
    /// The machine itself.
    pub machine: Machine,
    /// One finding per facility, in the order of the table of checks.
    pub checks: Vec<Check>,
}

/// What was found about one facility.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name, used by tests, claims and saved reports.
    pub facility: &'static str,
    /// The group that it is listed under.
    pub group: Group,
    /// The answer.
    #[serde(flatten)]
    pub status: Status,
    /// What was tried and seen.
    pub detail: String,
    /// The parts of the testbed that use it.
    pub needed_for: &'static str,
}

/// The answer to "can it be used?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// It was used, and it works.
    Ok,
    /// It works in part, or not surely; `fallback` is used instead.
    Degraded {
        /// What is used instead.
        fallback: String,
    },
    /// It cannot be used here.
    Missing {
        /// What would change that.
        fix: String,
    },
}

impl Status {
    /// The word for it in tables.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Degraded { .. } => "DEGRADED",
            Self::Missing { .. } => "MISSING",
        }
    }
}

/// The kinds of facility, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What this process may do.
    Privileges,
    /// Kinds of namespace.
    Namespaces,
    /// Control groups, both versions.
    Cgroups,
    /// File systems and the mount API.
    Mounts,
    /// Network devices.
    Links,
    /// Making, watching and rebuilding processes.
    Processes,
    /// Page faults, page tables and huge pages.
    Memory,
    /// Machines under this one.
    VirtualMachines,
    /// Devices that hold pool memory.
    PoolDevices,
    /// Programs of others that experiments run.
    Tools,
}

impl Group {
    /// The heading in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Namespaces => "namespaces",
            Self::Cgroups => "cgroups",
            Self::Mounts => "mounts",
            Self::Links => "network links",
            Self::Processes => "processes",
            Self::Memory => "memory",
            Self::VirtualMachines => "virtual machines",
            Self::PoolDevices => "pool devices",
            Self::Tools => "tools",
        }
    }
}

impl Report {
    /// A report of these findings in the current form.
    #[must_use]
    pub fn new(machine: Machine, checks: Vec<Check>) -> Self {
        Self { format: FORMAT, machine, checks }
    }

    /// The finding about `facility`, if there is such a check.
    #[must_use]
    pub fn get(&self, facility: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.facility == facility)
    }

    /// `None` when all of `facilities` are OK; otherwise why something that needs them is to be skipped.
    #[must_use]
    pub fn reason_to_skip(&self, facilities: &[&str]) -> Option<String> {
        Self::reason_among(&self.checks, facilities)
    }

    pub(super) fn reason_among(checks: &[Check], facilities: &[&str]) -> Option<String> {
        let reasons: Vec<String> = facilities
            .iter()
            .filter_map(|name| match checks.iter().find(|check| check.facility == *name) {
                None => Some(format!("{name}: no such check")),
                Some(check) if check.status == Status::Ok => None,
                Some(check) => {
                    let word = check.status.word().to_lowercase();
                    Some(format!("{name} is {word} ({})", check.detail))
                }
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// How many checks are OK, degraded and missing.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for check in &self.checks {
            counts[match check.status {
                Status::Ok => 0,
                Status::Degraded { .. } => 1,
                Status::Missing { .. } => 2,
            }] += 1;
        }
        counts
    }

    /// The saved form: indented JSON with a final newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain strings and numbers");
        text.push('\n');
        text
    }
}
