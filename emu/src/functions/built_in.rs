//! Functions that are in the program itself: no runtime, no packages, and a way of touching memory that is known page for
//! page.
//!
//! A sandbox executes a copy of this program with a word that makes it the function ([`enter_if_asked`]), so such a
//! function is started, limited, captured and attached as every other.
//!
//! `page-touch MIB SEED` fills an arena, whose page `p` begins with `mix(SEED ^ p)`, and then answers requests
//! `{"pages": N, "seed": S, "writes": W}`: it reads the first `N` pages of a Fisher-Yates shuffle of the arena drawn from
//! `S`, writes to the first `W` of them, and answers with the sum of `(k + 1) * first word of page k`, which depends on the
//! pages, on their order and on their content. What it writes lies behind the first word: answers do not depend on
//! requests before.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

/// First argument of a process that is to be a built-in function.
pub(super) const HIDDEN: &str = "trenvx-built-in";
/// The program's other name, of tests: it lies beside theirs, or one folder above.
const COMPANION: &str = "trenvx-function";
const PAGE: usize = 4096;

/// Whether this program becomes a function when it is asked to.
static OFFERED: AtomicBool = AtomicBool::new(false);

/// Turns this process into a built-in function, if it was started as one; never returns then.
pub fn enter_if_asked() {
    OFFERED.store(true, Ordering::Relaxed);
    let mut args = std::env::args().skip(1);
    if args.next().is_none_or(|first| first != HIDDEN) {
        return;
    }
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match words[..] {
        ["page-touch", mib, seed] => match (mib.parse(), seed.parse()) {
            (Ok(mib), Ok(seed)) if (1..=1 << 20).contains(&mib) => PageTouch::new(mib, seed).serve(),
            _ => complain("page-touch: MIB and SEED are numbers, and an arena has 1 MiB at least"),
        },
        _ => complain("the built-in functions are: page-touch MIB SEED"),
    };
    std::process::exit(code);
}

fn complain(what: &str) -> i32 {
    eprintln!("{what}");
    2
}

/// The program that becomes such functions: this one, or the one beside a test.
pub(super) fn program() -> Option<PathBuf> {
    let own = std::fs::read_link("/proc/self/exe").ok()?;
    if OFFERED.load(Ordering::Relaxed) {
        return Some(own);
    }
    let folders = own.ancestors().skip(1).take(2);
    folders.map(|folder| folder.join(COMPANION)).find(|program| program.is_file())
}

/// Memory that is touched as asked.
struct PageTouch {
    arena: Vec<u8>,
    pages: usize,
}

impl PageTouch {
    fn new(mib: usize, seed: u64) -> Self {
        let mut arena = vec![0_u8; mib << 20];
        let pages = arena.len() / PAGE;
        for (number, page) in arena.chunks_exact_mut(PAGE).enumerate() {
            page[..8].copy_from_slice(&mix(seed ^ number as u64).to_le_bytes());
        }
        Self { arena, pages }
    }

    /// Speaks the protocol until the input ends; the exit code.
    fn serve(mut self) -> i32 {
        let mut answers = std::io::stdout();
        let pid = std::process::id();
        let ready = json!({ "ready": true, "function": "page-touch", "pid": pid, "threads": 1 });
        let mut say = |line: &Value| writeln!(answers, "{line}").and_then(|()| answers.flush()).is_ok();
        if !say(&ready) {
            return 1;
        }
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return 1 };
            if line.trim().is_empty() {
                continue;
            }
            let request: Value = serde_json::from_str(&line).unwrap_or_default();
            let began = Instant::now();
            let answer = match self.touch(&request["input"]) {
                Ok(output) => {
                    let us = began.elapsed().as_micros() as u64;
                    json!({ "id": request["id"], "ok": true, "output": output, "us": us })
                }
                Err(error) => json!({ "id": request["id"], "ok": false, "error": error }),
            };
            if !say(&answer) {
                return 0;
            }
        }
        0
    }

    fn touch(&mut self, input: &Value) -> Result<Value, String> {
        let number = |key: &str| input[key].as_u64().ok_or_else(|| format!("the input has no number {key}"));
        let (pages, seed, writes) = (number("pages")? as usize, number("seed")?, number("writes")? as usize);
        if pages > self.pages || writes > pages {
            return Err(format!("{writes} of {pages} pages cannot be written: there are {}", self.pages));
        }
        let mut order: Vec<u32> = (0..self.pages as u32).collect();
        let (mut state, mut sum) = (seed, 0_u64);
        for k in 0..pages {
            let drawn = mix(state);
            state = state.wrapping_add(STEP);
            order.swap(k, k + (drawn % (self.pages - k) as u64) as usize);
            let page = &mut self.arena[order[k] as usize * PAGE..][..PAGE];
            let word = u64::from_le_bytes(page[..8].try_into().expect("eight bytes"));
            sum = sum.wrapping_add((k as u64 + 1).wrapping_mul(word));
            if k < writes {
                page[8..16].copy_from_slice(&drawn.to_le_bytes());
            }
        }
        Ok(json!({ "pages": pages, "written": writes, "sum": format!("{sum:016x}") }))
    }
}

/// The step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64 from this state: its next number.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_depend_on_pages_order_and_content_and_not_on_what_was_before() {
        let mut one = PageTouch::new(1, 7);
        let ask = |touch: &mut PageTouch, pages: u64, seed: u64, writes: u64| {
            touch.touch(&json!({ "pages": pages, "seed": seed, "writes": writes }))
        };
        let first = ask(&mut one, 16, 1, 4).unwrap();
        assert_eq!(ask(&mut one, 16, 1, 4).unwrap(), first);
        for other in [(15, 1), (16, 2)] {
            assert_ne!(ask(&mut one, other.0, other.1, 4).unwrap()["sum"], first["sum"]);
        }
        assert_ne!(ask(&mut PageTouch::new(1, 8), 16, 1, 4).unwrap()["sum"], first["sum"]);
        assert!(ask(&mut one, 257, 1, 0).unwrap_err().contains("there are 256"));
        assert!(one.touch(&json!({ "pages": 1 })).unwrap_err().contains("no number seed"));
    }

    /// The first numbers that the reference implementation draws from the state 1234567.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
        assert_eq!(mix(1_234_567_u64.wrapping_add(STEP)), 3_203_168_211_198_807_973);
    }
}
