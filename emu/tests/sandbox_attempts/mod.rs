//! Attempts to get out of a sandbox, and what each must be answered.

/// Attempt, error for a usual function, error without the filter. `done`: the kernel lets everybody do it, and the
/// filter is what refuses it (the process that is tried is the function's own). `refused`, `any`: it depends on how
/// the kernel was built and set. What changes the rights of the process comes last.
pub type Row = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
pub const ATTEMPTS: &[Row] = &[
    ("mount", "EPERM", "EPERM"),
    ("mount-cgroup", "EPERM", "EPERM"),
    ("remount-proc", "EPERM", "EPERM"),
    ("umount", "EPERM", "EPERM"),
    ("new-mount-api", "EPERM", "EPERM"),
    ("pivot-root", "EPERM", "EPERM"),
    ("chroot", "EPERM", "EPERM"),
    ("mknod", "EPERM", "EPERM"),
    ("setns", "EPERM", "EPERM"),
    ("write-core-pattern", "EACCES", "EACCES"),
    ("write-net-setting", "EACCES", "EACCES"),
    ("write-sysrq", "ENOENT", "ENOENT"),
    ("write-cgroup", "ENOENT", "ENOENT"),
    ("read-kernel-memory", "ENOENT", "ENOENT"),
    ("read-host-root", "ENOENT", "ENOENT"),
    ("ptrace-init", "EPERM", "done"),
    ("read-memory-of-init", "EPERM", "done"),
    ("raw-socket", "EPERM", "EPERM"),
    ("packet-socket", "EPERM", "EPERM"),
    ("set-address", "EPERM", "EPERM"),
    ("kexec", "EPERM", "refused"),
    ("module", "EPERM", "refused"),
    ("reboot", "EPERM", "EPERM"),
    ("bpf", "EPERM", "EPERM"),
    ("perf", "EPERM", "refused"),
    ("userfaultfd-kernel-mode", "EPERM", "EPERM"),
    ("open-by-handle", "EPERM", "EPERM"),
    ("io-uring", "EPERM", "any"),
    ("add-key", "EPERM", "done"),
    ("set-clock", "EPERM", "EPERM"),
    ("set-host-name", "EPERM", "EPERM"),
    ("become-root", "EPERM", "EPERM"),
    ("lower-nice", "EACCES", "EACCES"),
    ("kernel-log", "EPERM", "EPERM"),
    ("swap", "EPERM", "EPERM"),
    ("port-access", "EPERM", "refused"),
    ("call-of-the-future", "ENOSYS", "ENOSYS"),
    ("give-file-capability", "EPERM", "EPERM"),
    ("clone-user", "EPERM", "any"),
    ("unshare-net", "EPERM", "EPERM"),
    ("unshare-user", "EPERM", "any"),
];
