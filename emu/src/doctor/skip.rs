//! How a test skips itself on a machine that lacks something: aloud, so that nobody mistakes it for a pass.

use std::io::Write;

use super::{Host, Report, checks};

/// The file that `scripts/test` names to collect what was skipped.
const SKIPS: &str = "TRENVX_SKIPS";

/// Whether the calling test must skip itself, because one of `facilities` is not OK on this machine. Checks only
/// these; says why, and adds a line to the list that `scripts/test` shows at the end.
///
/// ```
/// if emu::doctor::skip_without(&["userfaultfd", "pidfd"]) {
///     return;
/// }
/// ```
#[must_use]
pub fn skip_without(facilities: &[&str]) -> bool {
    let Some(reason) = lacking(facilities) else {
        return false;
    };
    skip(&reason);
    true
}

/// Why one of `facilities` is not OK on this machine; checks only these.
#[must_use]
pub fn lacking(facilities: &[&str]) -> Option<String> {
    let host = Host::this();
    let wanted = checks::ALL.iter().filter(|probe| facilities.contains(&probe.facility));
    let found: Vec<_> = wanted.map(|probe| probe.examine(&host)).collect();
    Report::reason_among(&found, facilities)
}

/// Says why the calling test skips itself, and adds a line to the list that `scripts/test` shows at the end.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("test"));
    eprint!("skipped: {line}");
    if let Some(path) = std::env::var_os(SKIPS) {
        let file = std::fs::File::options().append(true).create(true).open(path);
        // One write per line, so that tests that run at once do not mix theirs.
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("cannot note the skip: {error}");
        }
    }
}
