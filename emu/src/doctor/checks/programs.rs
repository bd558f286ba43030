//! Programs of others that experiments run.

use std::path::Path;

use super::tool::{numbers, version};
use super::{Finding, Host};
use crate::criu::Criu;
use crate::criu::program::can_read;

/// The machine emulator.
pub(super) fn qemu(host: &Host) -> Finding {
    simple(host, &["qemu-system-x86_64"], "QEMU", "qemu-system-x86")
}

/// The batch system of many clusters.
pub(super) fn slurm(host: &Host) -> Finding {
    let Some(program) = host.program(&["sbatch"]) else {
        return Finding::missing("not installed", install("Slurm", "slurm-client"));
    };
    // Without a configuration, only the daemons say their version.
    let daemon = || version(host, &host.program(&["slurmctld", "slurmd"])?, &["-V"]);
    let version = version(host, &program, &["--version"]).or_else(daemon);
    Finding::ok(version.unwrap_or_else(|| "installed, without a configuration".to_owned()))
}

/// The runner of one command on many hosts. Another program has the same name.
pub(super) fn parallel(host: &Host) -> Finding {
    let said = host.program(&["parallel"]).and_then(|program| host.ask(&program, &["--version"]));
    let version = said.as_deref().and_then(|text| text.lines().next()?.strip_prefix("GNU parallel "));
    match version {
        Some(version) => Finding::ok(version.trim()),
        None => Finding::missing("not installed", install("GNU parallel", "parallel")),
    }
}

/// The browser that agents drive.
pub(super) fn chromium(host: &Host) -> Finding {
    simple(
        host,
        &["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"],
        "Chromium",
        "chromium-headless-shell",
    )
}

/// The JavaScript runtime.
pub(super) fn node(host: &Host) -> Finding {
    simple(host, &["node", "nodejs"], "Node", "nodejs")
}

/// The maker of small Debian roots. It has no runtime of its own to fail, so finding it is enough.
pub(super) fn debootstrap(host: &Host) -> Finding {
    match host.program(&["debootstrap"]) {
        Some(_) => Finding::ok("installed"),
        None => Finding::missing("not installed", install("debootstrap", "debootstrap")),
    }
}

/// Python 3.
pub(super) fn python(host: &Host) -> Finding {
    let found = simple(host, &["python3"], "Python 3", "python3");
    if found.detail.starts_with("2.") {
        return Finding::missing(found.detail, install("Python 3", "python3"));
    }
    found
}

/// Python's virtual environments, with the part that puts `pip` into them.
pub(super) fn python_venv(host: &Host) -> Finding {
    let Some(program) = host.program(&["python3"]) else {
        return Finding::missing("no Python 3", install("Python 3", "python3"));
    };
    match host.ask(&program, &["-c", "import venv, ensurepip; print('there')"]) {
        Some(_) => Finding::ok("venv and ensurepip"),
        None => Finding::missing("no venv or no ensurepip", install("Python's venv", "python3-venv")),
    }
}

/// Checkpoint and restore of others: the one of the set-up, else the installed one.
pub(super) fn criu(host: &Host) -> Finding {
    if let Some(version) = Criu::unpacked(Path::new(super::OUT)).and_then(|criu| criu.version()) {
        return Finding::ok(format!("{version}, in {}/{}", super::OUT, crate::criu::program::FOLDER));
    }
    let found = simple(host, &["criu"], "CRIU", "criu");
    let kernel = host.read("proc/sys/kernel/osrelease").unwrap_or_default();
    if !numbers(&found.detail).is_empty() && !can_read(&found.detail, kernel.trim()) {
        let detail = format!("{} cannot read this kernel's vDSO (6.13 and later)", found.detail);
        let fallback = "CRIU's rows are NOT RUN; scripts/setup --with-criu unpacks one that can";
        return Finding::degraded(detail, fallback);
    }
    found
}

fn simple(host: &Host, names: &[&str], title: &str, package: &str) -> Finding {
    let Some(program) = host.program(names) else {
        return Finding::missing("not installed", install(title, package));
    };
    match version(host, &program, &["--version"]) {
        Some(version) => Finding::ok(version),
        None => Finding::missing("installed, but does not say its version", install(title, package)),
    }
}

fn install(title: &str, package: &str) -> String {
    format!("install {title} (Debian: apt-get install {package})")
}
