//! A small function for tests and measurements, and a launcher for sandboxes of tests.
//!
//! `trenvx-function serve [BYTES SEED]` speaks the protocol of functions: it touches pages of `BYTES` of memory in
//! an order drawn from `SEED` and answers each request by name (see `actions`).

#[path = "trenvx_function/mod.rs"]
mod actions;

use emu::sandbox::{Entries, Inside, ROUTINES, Routine};

/// Routines that a sandbox can call instead of executing a file.
const ENTRIES: Entries = &[("serve", Routine::plain(serve)), ROUTINES[0], ROUTINES[1], ROUTINES[2]];

fn serve(inside: &mut Inside<'_>) -> i32 {
    actions::serve(inside.args)
}

fn main() {
    emu::sandbox::enter_if_asked(ENTRIES);
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "serve" => std::process::exit(actions::serve(rest)),
        _ => {
            eprintln!("usage: trenvx-function serve [BYTES SEED]");
            std::process::exit(2);
        }
    }
}
