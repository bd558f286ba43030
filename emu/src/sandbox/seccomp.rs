//! Which system calls a function may make.
//!
//! Every call number up to the newest known has an answer; a number beyond, and a call of another
//! architecture, does not exist for a function (`ENOSYS`), so what a future kernel adds is refused until
//! somebody has thought about it. Calls that reach beyond the sandbox, that load code into the kernel, or that
//! act on things without a namespace (keys, clocks, swap, kernel log) get `EPERM`, as do those that make
//! namespaces.
//!
//! The program is a balanced tree over ranges of call numbers, not the chain of comparisons that
//! `seccompiler` compiles: when a filter is installed, the kernel runs it once for each call number to
//! learn which are always allowed, so the cost of installing grows with the *length of the path*. Measured on the
//! development machine: 400 us for a chain of 200 comparisons, 45 us for the tree.

use seccompiler::{BpfProgram, sock_filter};

/// Newest call that somebody has thought about (`file_setattr`).
const NEWEST: u32 = 469;
/// The classical calls end here; 335 to 423 are unused on x86-64.
const X86_64: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AARCH64: u32 = 0xc000_00b7;

/// What the filter does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Allow,
    /// Refuse with this error.
    Refuse(i32),
    /// Allow only if no bit of `mask` is set in argument `argument`.
    WithoutBits {
        argument: u32,
        mask: u32,
    },
    /// Allow only if the low half of the first argument is one of the socket families that functions need.
    UsualSocket,
    /// Allow unless argument 1 is a request that types into a terminal.
    UsualIoctl,
    /// Allow only user-mode faults (`UFFD_USER_MODE_ONLY` set in argument 0).
    UserModeFaults,
}

/// Flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Calls that are refused with `EPERM`. Grouped by reason.
#[rustfmt::skip]
const REFUSED: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_move_mount,
    libc::SYS_open_tree, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_swapon, libc::SYS_swapoff,
    // Files by handle go around folders that the process cannot reach.
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // Namespaces.
    libc::SYS_setns, libc::SYS_unshare,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd,
    libc::SYS_kcmp, libc::SYS_process_madvise, libc::SYS_migrate_pages, libc::SYS_move_pages,
    // Code in the kernel, other kernels, kernel state.
    libc::SYS_bpf, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_reboot, libc::SYS_syslog,
    libc::SYS_perf_event_open, libc::SYS_lookup_dcookie, libc::SYS_fanotify_init,
    libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    // Keys have no namespace of their own.
    libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl,
    // Clocks and accounting of the machine; names of the sandbox.
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
    libc::SYS_acct, libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_vhangup,
    libc::SYS_nfsservctl, libc::SYS_set_mempolicy_home_node,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

fn answer(call: u32) -> Answer {
    let call_number = libc::c_long::from(call);
    if REFUSED.contains(&call_number) || REFUSED_HERE.contains(&call_number) {
        return Answer::Refuse(libc::EPERM);
    }
    match call_number {
        // Its flags lie in memory, where a filter cannot look: C libraries then use `clone`.
        libc::SYS_clone3 => Answer::Refuse(libc::ENOSYS),
        libc::SYS_clone => Answer::WithoutBits { argument: 0, mask: NAMESPACE_FLAGS },
        libc::SYS_socket | libc::SYS_socketpair => Answer::UsualSocket,
        libc::SYS_ioctl => Answer::UsualIoctl,
        libc::SYS_userfaultfd => Answer::UserModeFaults,
        _ if call > NEWEST => Answer::Refuse(libc::ENOSYS),
        _ => Answer::Allow,
    }
}

/// The filter for this machine.
#[must_use]
pub fn filter() -> BpfProgram {
    let mut ranges: Vec<(u32, Answer)> = Vec::new();
    for call in 0..=NEWEST + 1 {
        let answer = answer(call);
        if ranges.last().is_none_or(|(_, last)| *last != answer) {
            ranges.push((call, answer));
        }
    }
    let mut program = vec![
        load(ARCHITECTURE),
        jump(libc::BPF_JEQ, architecture(), 1, 0),
        give(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        load(NUMBER),
    ];
    emit_tree(&ranges, &mut program);
    program
}

/// Installs the filter for this process and its descendants. It must have given up gaining privileges.
///
/// # Errors
/// If the kernel refuses.
pub fn install(program: &BpfProgram) -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(program)
}

/// Offsets in the data that a filter sees.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const fn architecture() -> u32 {
    #[cfg(target_arch = "aarch64")]
    return AARCH64;
    #[cfg(not(target_arch = "aarch64"))]
    X86_64
}

/// Halves the ranges until one is left, whose answer it emits.
fn emit_tree(ranges: &[(u32, Answer)], program: &mut BpfProgram) {
    if let [(_, answer)] = ranges {
        emit(*answer, program);
        return;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let at = program.len();
    program.push(give(0));
    emit_tree(low, program);
    let distance = program.len() - at - 1;
    match u8::try_from(distance) {
        Ok(distance) => program[at] = jump(libc::BPF_JGE, high[0].0, distance, 0),
        Err(_) => {
            // Too far for a conditional jump: jump over an unconditional one.
            program[at] = jump(libc::BPF_JGE, high[0].0, 0, 1);
            program.insert(at + 1, statement(libc::BPF_JMP | libc::BPF_JA, distance as u32));
        }
    }
    emit_tree(high, program);
}

fn emit(answer: Answer, program: &mut BpfProgram) {
    let allow = give(libc::SECCOMP_RET_ALLOW);
    let refuse = |errno: i32| give(libc::SECCOMP_RET_ERRNO | errno as u32);
    match answer {
        Answer::Allow => program.push(allow),
        Answer::Refuse(errno) => program.push(refuse(errno)),
        Answer::WithoutBits { argument, mask } => program.extend([
            load(ARGUMENTS + 8 * argument),
            jump(libc::BPF_JSET, mask, 0, 1),
            refuse(libc::EPERM),
            allow,
        ]),
        Answer::UserModeFaults => program.extend([
            load(ARGUMENTS),
            // UFFD_USER_MODE_ONLY
            jump(libc::BPF_JSET, 1, 1, 0),
            refuse(libc::EPERM),
            allow,
        ]),
        Answer::UsualSocket => program.extend([
            load(ARGUMENTS),
            jump(libc::BPF_JEQ, libc::AF_UNIX as u32, 4, 0),
            jump(libc::BPF_JEQ, libc::AF_INET as u32, 3, 0),
            jump(libc::BPF_JEQ, libc::AF_INET6 as u32, 2, 0),
            jump(libc::BPF_JEQ, libc::AF_NETLINK as u32, 1, 0),
            refuse(libc::EPERM),
            allow,
        ]),
        Answer::UsualIoctl => program.extend([
            load(ARGUMENTS + 8),
            jump(libc::BPF_JEQ, libc::TIOCSTI as u32, 1, 0),
            // TIOCLINUX
            jump(libc::BPF_JEQ, 0x541c, 0, 1),
            refuse(libc::EPERM),
            allow,
        ]),
    }
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn give(value: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt: if_true, jf: if_false, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would: its answer, and the number of instructions that it took.
    fn run(program: &BpfProgram, architecture: u32, call: u32, arguments: [u64; 2]) -> (u32, usize) {
        let (mut at, mut steps, mut a) = (0, 0, 0_u32);
        loop {
            let op = &program[at];
            at += 1;
            steps += 1;
            let code = u32::from(op.code);
            match code & 7 {
                c if c == libc::BPF_LD => {
                    a = match op.k {
                        NUMBER => call,
                        ARCHITECTURE => architecture,
                        offset => arguments[(offset as usize - 16) / 8] as u32,
                    };
                }
                c if c == libc::BPF_RET => return (op.k, steps),
                _ if code & 0xf0 == libc::BPF_JA => at += op.k as usize,
                _ => {
                    let hit = match code & 0xf0 {
                        t if t == libc::BPF_JEQ => a == op.k,
                        t if t == libc::BPF_JGE => a >= op.k,
                        _ => a & op.k != 0,
                    };
                    at += usize::from(if hit { op.jt } else { op.jf });
                }
            }
        }
    }

    fn asked(call: libc::c_long, arguments: [u64; 2]) -> u32 {
        run(&filter(), architecture(), call as u32, arguments).0
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    #[test]
    fn every_call_gets_the_answer_of_the_list() {
        let program = filter();
        for call in 0..2_000 {
            // Arguments that every conditional answer allows.
            let (got, steps) = run(&program, architecture(), call, [1, 0]);
            let expected = match answer(call) {
                Answer::Refuse(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
                _ => ALLOW,
            };
            assert_eq!(got, expected, "call {call}");
            assert!(steps <= 20, "call {call}: {steps} instructions");
        }
    }

    #[test]
    fn other_architectures_are_refused() {
        assert_eq!(run(&filter(), 0x4000_0003, 1, [0, 0]).0, ENOSYS);
    }

    #[test]
    fn arguments_decide_where_they_must() {
        assert_eq!(asked(libc::SYS_clone, [libc::CLONE_NEWUSER as u64, 0]), EPERM);
        assert_eq!(asked(libc::SYS_clone, [libc::CLONE_VM as u64, 0]), ALLOW);
        assert_eq!(asked(libc::SYS_socket, [libc::AF_PACKET as u64, 0]), EPERM);
        assert_eq!(asked(libc::SYS_socket, [libc::AF_INET6 as u64, 0]), ALLOW);
        assert_eq!(asked(libc::SYS_ioctl, [0, libc::TIOCSTI]), EPERM);
        assert_eq!(asked(libc::SYS_ioctl, [0, libc::FIONREAD]), ALLOW);
        assert_eq!(asked(libc::SYS_userfaultfd, [0, 0]), EPERM);
        assert_eq!(asked(libc::SYS_userfaultfd, [1, 0]), ALLOW);
        assert_eq!(asked(libc::SYS_clone3, [0, 0]), ENOSYS);
        assert_eq!(asked(libc::SYS_mount, [0, 0]), EPERM);
        assert_eq!(asked(libc::SYS_read, [0, 0]), ALLOW);
    }
}
