//! Installed programs: are they there, and which version do they say they are?

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Host, child};

/// How long a program may take to say its version.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs a program with a deadline and returns what it printed, or `None` when it failed or was too slow.
///
/// It runs in `/` with no input, so that no file of the current folder changes what it does, and in its own
/// process group, so that it can be ended with everything it started.
pub(super) fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let (read, write) = std::io::pipe().ok()?;
    let mut process = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()?;
    let end = Instant::now() + DEADLINE;
    let text = match child::read_until(&read, 1 << 16, end) {
        child::Read::All(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        child::Read::Late => None,
    };
    while Instant::now() < end {
        if let Ok(Some(status)) = process.try_wait() {
            return text.filter(|_| status.success());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Ok(group) = i32::try_from(process.id()) {
        // SAFETY: a signal to the group made above, whose leader has not been waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = process.wait();
    None
}

/// The first version number that a program prints.
pub(super) fn version(host: &Host, program: &Path, arguments: &[&str]) -> Option<String> {
    version_in(&host.ask(program, arguments)?)
}

/// The first word that looks like `1.2` or `v1.2.3`.
pub(super) fn version_in(text: &str) -> Option<String> {
    text.split(|c: char| c.is_whitespace() || "(),".contains(c))
        .map(|word| word.trim_start_matches('v').trim_end_matches('.'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .map(|word| word.split('+').next().unwrap_or(word).to_owned())
}

/// The leading numbers of a version, to compare it with another.
pub(super) fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let cases = [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
            ("rustc 1.95.0 (59807616e 2026-04-14)", "1.95.0"),
            ("v20.19.2", "20.19.2"),
            ("Version: 3.17.1\nGitID: v3.17.1", "3.17.1"),
            ("Chromium 147.0.7727.55 built on Debian", "147.0.7727.55"),
            ("slurm 23.11.4", "23.11.4"),
        ];
        for (text, version) in cases {
            assert_eq!(version_in(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(version_in("no number here"), None);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100.0") > numbers("1.89"));
        assert!(numbers("1.89.0-nightly") >= numbers("1.89"));
        assert!(numbers("6.13.2-generic") >= vec![6, 13]);
    }

    #[test]
    fn a_program_that_fails_has_no_output() {
        assert_eq!(output(Path::new("/bin/false"), &[]), None);
        assert_eq!(output(Path::new("/no/such/program"), &[]), None);
        assert_eq!(output(Path::new("/bin/echo"), &["1.2"]).as_deref(), Some("1.2\n"));
    }
}
