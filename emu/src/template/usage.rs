//! Memory of a process, as the kernel divides it.

use std::io;

/// What a process holds, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryUse {
    /// Pages that it sees.
    pub resident_bytes: u64,
    /// Each page divided by those who see it.
    pub proportional_bytes: u64,
    /// Memory that is in no file, such as pages that it has written: what one more process costs. (The kernel's own
    /// "private dirty" counts pages of a template that only one process happens to see.)
    pub private_bytes: u64,
}

/// What a process holds.
///
/// # Errors
/// If it has ended.
pub fn of(pid: i32) -> io::Result<MemoryUse> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
        number.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Ok(MemoryUse {
        resident_bytes: field("Rss:"),
        proportional_bytes: field("Pss:"),
        private_bytes: field("Anonymous:"),
    })
}
