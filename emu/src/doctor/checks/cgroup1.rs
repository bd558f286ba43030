//! cgroup v1: limits where cgroup v2 has no controllers.

use super::cgroup2::{self, CONTROLLERS};
use super::{Finding, Host};

/// The v1 hierarchies of the controllers that limits need.
pub(super) fn limits(host: &Host) -> Finding {
    let absent: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(host, name)).collect();
    if absent.is_empty() {
        return Finding::ok(format!("{} are mounted", CONTROLLERS.join(", ")));
    }
    if cgroup2::absent_controllers(host).is_some_and(|absent| absent.is_empty()) {
        return Finding::ok("not mounted and not needed: cgroup v2 has the controllers");
    }
    let detail = format!("no v1 hierarchy of {}", absent.join(", "));
    Finding::missing(detail, "use a host with cgroup v2 controllers (systemd.unified_cgroup_hierarchy=1)")
}

/// Whether the v1 hierarchy of this controller is mounted.
pub(super) fn has(host: &Host, controller: &str) -> bool {
    let mounts = host.mounts("cgroup");
    mounts.iter().any(|(_, options)| options.split(',').any(|option| option == controller))
}
