//! Pages larger than the base page.

use rustix::mount::{MountFlags, mount};

use super::child::{At, Outcome, check, expect, run};
use super::private::{SCRATCH, enter_mounts, finding};
use super::{Finding, Host};

/// Transparent huge pages of anonymous memory.
pub(super) fn transparent(host: &Host) -> Finding {
    let Some(text) = host.read("sys/kernel/mm/transparent_hugepage/enabled") else {
        return Finding::degraded("not in this kernel", "base pages");
    };
    let mode = text.split(['[', ']']).nth(1).unwrap_or("").to_owned();
    match mode.as_str() {
        "always" | "madvise" => Finding::ok(format!("mode {mode}")),
        _ => Finding::degraded(
            format!("mode {mode}"),
            "base pages; to change it write madvise to /sys/kernel/mm/transparent_hugepage/enabled",
        ),
    }
}

/// A tmpfs whose files use huge pages.
pub(super) fn tmpfs(_: &Host) -> Finding {
    let outcome = run(|| {
        let means = enter_mounts()?;
        let options = c"size=64m,huge=always";
        mount("tmpfs", SCRATCH, "tmpfs", MountFlags::empty(), options).at("mount tmpfs with huge=always")?;
        Ok(means as u64)
    });
    match outcome {
        Outcome::Done(_) => finding(&outcome, "mounted with huge=always", ""),
        _ => Finding::degraded(outcome.to_string(), "tmpfs with base pages"),
    }
}

/// Huge pages set apart by the administrator.
pub(super) fn hugetlb(host: &Host) -> Finding {
    let number = |key| -> Option<u64> {
        let value = host.read_value("proc/meminfo", key)?;
        value.split_whitespace().next()?.parse().ok()
    };
    let Some(size) = number("Hugepagesize") else {
        return Finding::degraded("not in this kernel", "huge tmpfs, else base pages");
    };
    let (total, free) = (number("HugePages_Total").unwrap_or(0), number("HugePages_Free").unwrap_or(0));
    let seen = format!("{free} of {total} pages of {size} KiB free");
    if free == 0 {
        return Finding::degraded(
            seen,
            "huge tmpfs, else base pages; to set some apart: sysctl vm.nr_hugepages=N",
        );
    }
    let outcome = run(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_POPULATE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice; it ends with the child.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), size as usize * 1024, access, flags, -1, 0) };
        check(page as i64, "map a huge page")?;
        expect(!page.is_null(), "address of the page")?;
        Ok(0)
    });
    outcome.finding(&seen, "set huge pages apart: sysctl vm.nr_hugepages=N")
}
