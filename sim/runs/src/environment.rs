//! [`Environment`]: the machine and the build that ran something.

use crate::lock::host;
use serde::{Deserialize, Serialize};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine and the build. What cannot be found out is `None`, never guessed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Name of the host.
    pub host: String,
    /// Processor model.
    pub cpu_model: Option<String>,
    /// Processors this process may use.
    pub cores: Option<u64>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Compiler that built the command.
    pub rustc: String,
    /// Version of the command.
    pub version: String,
    /// Whether it was built without optimisation: its times mean nothing.
    pub debug_build: bool,
    /// Commit that it was built from.
    #[serde(default)]
    pub built_from: Option<String>,
    /// Commit of the repository that the command is run in.
    pub git_commit: Option<String>,
    /// Whether files differ from that commit.
    pub git_dirty: Option<bool>,
}

impl Environment {
    /// Looks at this machine and, for the commit, at the repository around the current folder.
    pub fn look() -> Self {
        let repository = std::env::current_dir().ok().and_then(|here| repository(&here));
        Self {
            host: host(),
            cpu_model: cpu_model(),
            cores: std::thread::available_parallelism().ok().map(|n| n.get() as u64),
            memory_bytes: memory(),
            kernel: read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            rustc: env!("TRENVX_RUSTC").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            built_from: Some(env!("TRENVX_COMMIT").to_owned()).filter(|commit| !commit.is_empty()),
            git_commit: repository.as_deref().and_then(commit),
            git_dirty: repository.as_deref().and_then(dirty),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory() -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// The `.git` folder of the repository around a folder.
fn repository(folder: &Path) -> Option<PathBuf> {
    let git = folder.ancestors().map(|up| up.join(".git")).find(|git| git.exists())?;
    if git.is_dir() {
        return Some(git);
    }
    // A worktree has a file that names its folder.
    let text = read_to_string(&git).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    Some(git.parent()?.join(named))
}

/// The commit that HEAD names, read without git.
fn commit(git: &Path) -> Option<String> {
    let head = read_to_string(git.join("HEAD")).ok()?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    let common =
        read_to_string(git.join("commondir")).map_or_else(|_| git.to_owned(), |text| git.join(text.trim()));
    if let Ok(text) = read_to_string(common.join(reference)) {
        return Some(text.trim().to_owned());
    }
    let packed = read_to_string(common.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.strip_suffix(reference)?.strip_suffix(' ').map(str::to_owned))
}

/// Whether tracked files differ; needs git.
fn dirty(git: &Path) -> Option<bool> {
    let folder = git.parent()?;
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["status", "--porcelain", "--untracked-files=no"])
        .output()
        .ok()?;
    output.status.success().then_some(!output.stdout.is_empty())
}

/// Processor time of this thread so far, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Largest resident memory of this process so far, in bytes.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let text = read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_read_from_loose_and_packed_references() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(git.join("packed-refs"), "# pack-refs\nabc123 refs/heads/main\n").unwrap();
        assert_eq!(commit(&git).as_deref(), Some("abc123"));
        std::fs::write(git.join("refs/heads/main"), "def456\n").unwrap();
        assert_eq!(commit(&git).as_deref(), Some("def456"));
    }
}
