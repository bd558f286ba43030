//! Which system calls the guard is asked about: a prelude to the sandbox's filter for system calls.

use libc::{BPF_ABS, BPF_ADD, BPF_ALU, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD};
use libc::{BPF_LSH, BPF_MEM, BPF_MISC, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_TAX, BPF_W, BPF_X};

/// Most ranges that are compared: the program must fit in short jumps.
const RANGES: usize = 32;
/// Addresses are compared in pieces of so many bits: what is left of 47 fits in a word of the filter.
const PIECE: u32 = 16;
/// `AUDIT_ARCH_X86_64`: the only processor that templates are attached on.
const ARCHITECTURE: u32 = 0xc000_003e;
/// Where the filter finds things.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
const SECCOMP_RET_USER_NOTIF: u32 = 0x7fc0_0000;

/// Instructions, each as the kernel lays it out.
pub(in crate::template::attach) type Filter = Vec<u64>;

/// Asks about `madvise` that drops and `mremap` of what touches one of these ranges of addresses; for everything else
/// goes on behind itself.
pub(in crate::template::attach) fn prelude(ranges: &[(u64, u64)]) -> Filter {
    let ranges = merge(ranges);
    let mut program = Filter::new();
    let load = |at| op(BPF_LD | BPF_W | BPF_ABS, 0, 0, at);
    let compare = |test, k, yes, no| op(BPF_JMP | test | BPF_K, yes, no, k);
    let to_piece = op(BPF_ALU | BPF_RSH | BPF_K, 0, 0, PIECE);
    // From the first argument on, in pieces: words 0 and 1 become the first and the last that is touched, or one more.
    let mut touched = vec![
        load(ARGUMENTS_AT + 4),
        op(BPF_ALU | BPF_LSH | BPF_K, 0, 0, 32 - PIECE),
        op(BPF_MISC | BPF_TAX, 0, 0, 0),
        load(ARGUMENTS_AT),
        to_piece,
        op(BPF_ALU | BPF_OR | BPF_X, 0, 0, 0),
        op(BPF_ST, 0, 0, 0),
        op(BPF_ALU | BPF_ADD | BPF_K, 0, 0, 1),
        op(BPF_MISC | BPF_TAX, 0, 0, 0),
        load(ARGUMENTS_AT + 8),
        to_piece,
        op(BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0),
        op(BPF_ST, 0, 0, 1),
    ];
    // More than 4 GiB at once touch everything behind the first.
    touched.extend([load(ARGUMENTS_AT + 12), compare(BPF_JEQ, 0, 2, 0)]);
    touched.extend([op(BPF_LD | BPF_IMM, 0, 0, u32::MAX), op(BPF_ST, 0, 0, 1)]);
    let recall = |word| op(BPF_LD | BPF_MEM, 0, 0, word);
    let checks = 4 * ranges.len() + 2;
    program.extend([load(ARCHITECTURE_AT), compare(BPF_JEQ, ARCHITECTURE, 1, 0)]);
    let rest = touched.len() + checks;
    program.push(op(BPF_JMP | BPF_JA, 0, 0, (7 + 1 + rest) as u32));
    program.extend([
        load(NUMBER_AT),
        compare(BPF_JEQ, libc::SYS_mremap as u32, 6, 0),
        compare(BPF_JEQ, libc::SYS_madvise as u32, 1, 0),
        op(BPF_JMP | BPF_JA, 0, 0, (4 + rest) as u32),
        load(ARGUMENTS_AT + 16),
        compare(BPF_JEQ, libc::MADV_DONTNEED as u32, 2, 0),
        compare(BPF_JEQ, super::DONTNEED_LOCKED, 1, 0),
        op(BPF_JMP | BPF_JA, 0, 0, rest as u32),
    ]);
    program.extend(touched);
    for (nth, (first, last)) in ranges.iter().enumerate() {
        let to_answer = (4 * (ranges.len() - nth - 1) + 1) as u8;
        program.extend([
            recall(0),
            compare(BPF_JGT, *last, 2, 0),
            recall(1),
            compare(BPF_JGE, *first, to_answer, 0),
        ]);
    }
    program.push(op(BPF_JMP | BPF_JA, 0, 0, 1));
    program.push(op(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_USER_NOTIF));
    program
}

/// Allows: the end of a prelude that nothing follows.
pub(in crate::template::attach) fn allow() -> u64 {
    op(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW)
}

/// `struct sock_filter`.
pub(in crate::template::attach) fn op(code: u32, yes: u8, no: u8, k: u32) -> u64 {
    u64::from(code as u16) | u64::from(yes) << 16 | u64::from(no) << 24 | u64::from(k) << 32
}

/// Ranges in pieces, both ends included, with the smallest gaps closed until they are few enough.
fn merge(ranges: &[(u64, u64)]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<(u32, u32)> = ranges
        .iter()
        .filter(|(start, end)| end > start)
        .map(|(start, end)| ((start >> PIECE) as u32, ((end - 1) >> PIECE) as u32))
        .collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    while merged.len() > RANGES {
        let gap = |at: usize| merged[at + 1].0 - merged[at].1;
        let least = (0..merged.len() - 1).min_by_key(|at| gap(*at)).expect("more than one");
        merged[least].1 = merged.remove(least + 1).1;
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the prelude as the kernel would: whether the guard is asked.
    fn asks(program: &[u64], call: libc::c_long, arguments: [u64; 3]) -> bool {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&(call as u32).to_le_bytes());
        data[4..8].copy_from_slice(&ARCHITECTURE.to_le_bytes());
        for (nth, argument) in arguments.iter().enumerate() {
            data[16 + nth * 8..24 + nth * 8].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut a, mut x, mut words) = (0, 0_u32, 0_u32, [0_u32; 16]);
        while let Some(op) = program.get(at) {
            let (code, k) = (*op as u16 as u32, (*op >> 32) as u32);
            let (yes, no) = ((*op >> 16) as u8, (*op >> 24) as u8);
            at += 1;
            match code {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    a = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap());
                }
                c if c == BPF_LD | BPF_MEM => a = words[k as usize],
                c if c == BPF_LD | BPF_IMM => a = k,
                c if c == BPF_ST => words[k as usize] = a,
                c if c == BPF_MISC | BPF_TAX => x = a,
                c if c == BPF_ALU | BPF_LSH | BPF_K => a <<= k,
                c if c == BPF_ALU | BPF_RSH | BPF_K => a >>= k,
                c if c == BPF_ALU | BPF_ADD | BPF_K => a = a.wrapping_add(k),
                c if c == BPF_ALU | BPF_ADD | BPF_X => a = a.wrapping_add(x),
                c if c == BPF_ALU | BPF_OR | BPF_X => a |= x,
                c if c == BPF_JMP | BPF_JA => at += k as usize,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += usize::from(if a == k { yes } else { no }),
                c if c == BPF_JMP | BPF_JGT | BPF_K => at += usize::from(if a > k { yes } else { no }),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += usize::from(if a >= k { yes } else { no }),
                c if c == BPF_RET | BPF_K => return k == SECCOMP_RET_USER_NOTIF,
                other => panic!("instruction {other:#x}"),
            }
        }
        assert_eq!(at, program.len(), "it goes on behind itself");
        false
    }

    #[test]
    fn what_touches_a_range_is_asked_about_and_nothing_else() {
        let ranges = [(0x5555_0000_0000, 0x5555_0010_0000), (0x7fff_1234_0000, 0x7fff_1235_0000)];
        let program = prelude(&ranges);
        let drop = |start: u64, length: u64| asks(&program, libc::SYS_madvise, [start, length, 4]);
        assert!(drop(0x5555_0000_1000, 0x1000) && drop(0x7fff_1234_f000, 0x1000));
        // From below into it; all of it; more than a word can say.
        assert!(drop(0x5554_ffff_0000, 0x2_0000) && drop(0x5554_0000_0000, 0x2_0000_0000));
        assert!(drop(0x1000, 0x7fff_0000_0000));
        assert!(!drop(0x5555_0010_0000, 0x1000) && !drop(0x5550_0000_0000, 0x1000));
        assert!(!drop(0x7fff_1236_0000, 0x1000_0000) && !drop(0x1234_0000, 0x1_0000));
        assert!(!asks(&program, libc::SYS_madvise, [0x5555_0000_1000, 0x1000, 8]));
        assert!(asks(&program, libc::SYS_madvise, [0x5555_0000_1000, 0x1000, 24]));
        assert!(asks(&program, libc::SYS_mremap, [0x5555_0000_1000, 0x1000, 0x8000]));
        assert!(!asks(&program, libc::SYS_mremap, [0x6555_0000_1000, 0x1000, 0x8000]));
        assert!(!asks(&program, libc::SYS_munmap, [0x5555_0000_1000, 0x1000, 4]));
        assert!(!asks(&prelude(&[]), libc::SYS_madvise, [0x5555_0000_1000, 0x1000, 4]));
    }

    #[test]
    fn many_ranges_become_few_that_hold_all_of_them() {
        let ranges: Vec<(u64, u64)> = (0..1000)
            .map(|nth| (0x1_0000_0000 + nth * nth * 0x10_0000, 0x1_0000_0000 + nth * nth * 0x10_0000 + 4096))
            .collect();
        assert_eq!(merge(&ranges).len(), RANGES);
        let program = prelude(&ranges);
        assert!(ranges.iter().all(|(start, _)| asks(&program, libc::SYS_madvise, [*start, 4096, 4])));
        assert!(!asks(&program, libc::SYS_madvise, [0x1000_0000, 4096, 4]));
    }
}
