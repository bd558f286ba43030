//! What this process may do.

use super::{Finding, Host};

/// Effective user 0, as most of the emulator needs.
pub(super) fn root(host: &Host) -> Finding {
    let Some(ids) = host.read_value("proc/self/status", "Uid") else {
        return Finding::missing("/proc/self/status cannot be read", "mount /proc");
    };
    match ids.split_whitespace().nth(1) {
        Some("0") => Finding::ok("effective user 0"),
        Some(user) => Finding::missing(format!("effective user {user}"), "run as root (sudo)"),
        None => Finding::missing("no user in /proc/self/status", "mount /proc"),
    }
}

/// Capabilities that sandboxes and templates cannot do without: number and name.
const NEEDED: [(u32, &str); 12] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
    (12, "NET_ADMIN"),
    (18, "SYS_CHROOT"),
    (19, "SYS_PTRACE"),
    (21, "SYS_ADMIN"),
    (27, "MKNOD"),
    (40, "CHECKPOINT_RESTORE"),
];
/// Raises hard limits; the emulator then keeps to those it has.
const WISHED: (u32, &str) = (24, "SYS_RESOURCE");

/// The effective capabilities.
pub(super) fn capabilities(host: &Host) -> Finding {
    let mask =
        host.read_value("proc/self/status", "CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    let Some(mask) = mask else {
        return Finding::missing("no CapEff in /proc/self/status", "mount /proc");
    };
    let absent: Vec<&str> =
        NEEDED.iter().filter(|(number, _)| mask & (1 << number) == 0).map(|(_, name)| *name).collect();
    if !absent.is_empty() {
        let fix = "run as root, in a container with --privileged";
        return Finding::missing(format!("without {}", absent.join(", ")), fix);
    }
    if mask & (1 << WISHED.0) == 0 {
        let detail = format!("all that are needed, without {}", WISHED.1);
        return Finding::degraded(detail, "the hard limits that this process has");
    }
    Finding::ok("all that are needed")
}
