//! Guests whose lab is gone.
//!
//! The kernel kills a guest with its lab, so there should be none. Each carries its lab's process number and the
//! time of its start in its name, which is on its command line: whatever went wrong, it can be told whose it was.

use std::fs;
use std::io;
use std::path::Path;

/// How names begin.
const PREFIX: &str = "trenvx-lab:";

/// The name of guest `number` of a lab of this process.
pub(super) fn label(number: usize) -> String {
    let pid = std::process::id();
    format!("{PREFIX}{pid}:{}:{}", start_of(pid).unwrap_or_default(), number + 1)
}

/// When a process started, in clock ticks since boot: with its number, this tells it from every other.
fn start_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the time is the 22nd field, 20th behind it.
    text[text.rfind(')')? + 1..].split_whitespace().nth(19)?.parse().ok()
}

/// The owner in a command line of a guest: process number and time of its start.
fn owner(command_line: &[u8]) -> Option<(u32, u64)> {
    let mut words = command_line.split(|byte| *byte == 0);
    words.find(|word| *word == b"-name")?;
    let name = std::str::from_utf8(words.next()?).ok()?.strip_prefix("guest=")?.strip_prefix(PREFIX)?;
    let mut parts = name.split(':');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Guests whose lab is gone, by process number.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn find() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        if let Some((lab, start)) = owner(&line)
            && start_of(lab) != Some(start)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Removes the logs of labs whose process is gone, and says which.
///
/// # Errors
/// If the folder of logs cannot be read, or one cannot be removed.
pub fn remove_logs(out: &Path) -> io::Result<Vec<String>> {
    let folder = out.join(super::LOGS);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A number that another process has by now keeps its logs until that has ended.
        let process = entry.file_name().to_string_lossy().parse::<u32>().ok();
        if process.is_some_and(|process| start_of(process).is_none()) {
            fs::remove_dir_all(entry.path())?;
            removed.push(format!("logs {}", entry.path().display()));
        }
    }
    Ok(removed)
}

/// Kills them, and says which.
///
/// # Errors
/// If `/proc` cannot be read. One that has ended meanwhile is none.
pub fn remove() -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for pid in find()? {
        let Some(number) = rustix::process::Pid::from_raw(pid.cast_signed()) else { continue };
        let Ok(handle) = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty()) else {
            continue;
        };
        // The number may have gone to another process between the two looks.
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if owner(&line).is_some_and(|(lab, start)| start_of(lab) != Some(start))
            && rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).is_ok()
        {
            removed.push(format!("guest, process {pid}"));
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_go_when_their_lab_is_gone() {
        let out = tempfile::tempdir().unwrap();
        let logs = |name: &str| out.path().join(crate::guest::LOGS).join(name);
        assert_eq!(remove_logs(out.path()).unwrap(), Vec::<String>::new());
        // No process has a number as large as that.
        let (living, gone) = (std::process::id().to_string(), "4194305".to_owned());
        for name in [&living, &gone, &"kept-by-somebody".to_owned()] {
            fs::create_dir_all(logs(name)).unwrap();
        }
        assert_eq!(remove_logs(out.path()).unwrap(), [format!("logs {}", logs(&gone).display())]);
        assert!(logs(&living).exists() && logs("kept-by-somebody").exists() && !logs(&gone).exists());
    }

    #[test]
    fn a_command_line_leads_to_the_lab() {
        let ours = format!("qemu\0-name\0guest={}\0-machine\0q35\0", label(0));
        let pid = std::process::id();
        assert_eq!(owner(ours.as_bytes()), Some((pid, start_of(pid).unwrap())));
        assert_eq!(owner(b"qemu\0-name\0guest=mine\0"), None);
        assert_eq!(owner(b"grep\0trenvx-lab:1:2:3\0"), None);
        assert_ne!(start_of(pid), start_of(1));
    }
}
