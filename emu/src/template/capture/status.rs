//! What the kernel's text files say of a process.

use std::path::PathBuf;

use libc::pid_t;

use crate::template::error::Error;

/// Of `/proc/PID/task/TID/status`.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    /// Name, as far as it can be shown.
    pub(super) name: String,
    /// Number in its innermost namespace.
    pub(super) inside: i32,
    /// State letter.
    pub(super) state: char,
    pub(super) umask: u32,
    /// Signals that are ignored or have a handler.
    pub(super) handled: u64,
}

impl Status {
    pub(super) fn of_thread(pid: pid_t, tid: pid_t) -> Result<Self, Error> {
        let path = PathBuf::from(format!("/proc/{pid}/task/{tid}/status"));
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let mut status = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key {
                "Name" => value.clone_into(&mut status.name),
                "State" => status.state = value.chars().next().unwrap_or(' '),
                "Umask" => status.umask = u32::from_str_radix(value, 8).unwrap_or(0o022),
                "NSpid" => {
                    let last = value.split_ascii_whitespace().last();
                    status.inside = last.and_then(|number| number.parse().ok()).unwrap_or(0);
                }
                "SigIgn" | "SigCgt" => status.handled |= u64::from_str_radix(value, 16).unwrap_or(0),
                _ => {}
            }
        }
        Ok(status)
    }
}

/// Numbers of `/proc/PID/stat` after the name: the first is field 3.
pub(super) fn stat(pid: pid_t, tid: pid_t) -> Result<Vec<u64>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/task/{tid}/stat"));
    let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
    let (_, rest) = text.rsplit_once(')').unwrap_or_default();
    // The state is a letter, some numbers are negative: none of them is needed.
    Ok(rest.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect())
}
