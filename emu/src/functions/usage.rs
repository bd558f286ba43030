//! What a process holds, as the kernel tells.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::Serialize;

/// Memory and threads of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The most that was ever resident at once, bytes (`VmHWM`).
    pub peak_rss_bytes: u64,
    /// Resident now, bytes (`VmRSS`).
    pub rss_bytes: u64,
    /// Resident now and not of a file, bytes (`RssAnon`).
    pub anonymous_bytes: u64,
    /// Resident now, with shared pages divided among those who share them, bytes (`Pss`).
    pub pss_bytes: u64,
    /// Of that, pages of files on disk (`Pss_File`): programs and libraries.
    pub pss_file_bytes: u64,
    /// Threads now.
    pub threads: u32,
    /// Open descriptors now.
    pub descriptors: u32,
}

impl Usage {
    /// Of the process `pid`, whose files this user may read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(folder.join("status"))?;
        let rollup = fs::read_to_string(folder.join("smaps_rollup"))?;
        let found = |text: &str, key: &str| {
            number(text, key).ok_or_else(|| io::Error::other(format!("/proc/{pid} tells no {key}")))
        };
        Ok(Self {
            peak_rss_bytes: found(&status, "VmHWM")? * 1024,
            rss_bytes: found(&status, "VmRSS")? * 1024,
            anonymous_bytes: found(&status, "RssAnon")? * 1024,
            pss_bytes: found(&rollup, "Pss")? * 1024,
            pss_file_bytes: found(&rollup, "Pss_File")? * 1024,
            threads: u32::try_from(found(&status, "Threads")?).unwrap_or(u32::MAX),
            descriptors: u32::try_from(fs::read_dir(folder.join("fd"))?.count()).unwrap_or(u32::MAX),
        })
    }
}

/// The number of the line `key: number …`.
fn number(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_threads() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes >= usage.rss_bytes && usage.rss_bytes > 100_000, "{usage:?}");
        assert!(
            usage.pss_bytes <= usage.rss_bytes + 100_000
                && usage.pss_bytes > 0
                && usage.anonymous_bytes <= usage.rss_bytes,
            "{usage:?}"
        );
        assert!(usage.threads >= 1 && usage.descriptors >= 3, "{usage:?}");
    }

    #[test]
    fn numbers_are_found_by_their_whole_key() {
        let text = "PssX:  7 kB\nPss:    12 kB\n";
        assert_eq!(number(text, "Pss"), Some(12));
        assert_eq!(number(text, "Ps"), None);
    }
}
