//! A small function for tests and measurements, and a launcher for sandboxes of tests.
//!
//! `trenvx-function serve [BYTES SEED]` speaks the protocol of functions: it touches pages of `BYTES` of memory in
//! an order drawn from `SEED` and answers each request by name (see `actions`). `trenvx-function serve-pages SOCKET
//! SOURCE` is a page server until it is killed.

#[path = "trenvx_function/mod.rs"]
mod actions;

use emu::sandbox::{Entries, Inside, ROUTINES, Routine};

/// Routines that a sandbox can call instead of executing a file.
const ENTRIES: Entries = &[
    ("serve", Routine::plain(serve)),
    ("sign", Routine::plain(sign)),
    ROUTINES[0],
    ROUTINES[1],
    ROUTINES[2],
];

fn serve(inside: &mut Inside<'_>) -> i32 {
    actions::serve(inside.args)
}

/// Leaves a sign that it was started, in the file that it was given.
fn sign(_: &mut Inside<'_>) -> i32 {
    // SAFETY: a routine that is given a file finds it under this number.
    let given = unsafe { std::os::fd::BorrowedFd::borrow_raw(emu::sandbox::GIVEN) };
    rustix::io::write(given, b"started").map_or(1, |_| 0)
}

/// Serves page faults of whoever connects; ends only by being killed, or with the reason why it cannot.
fn serve_pages(socket: &str, source: &str) -> Result<std::convert::Infallible, Box<dyn std::error::Error>> {
    use emu::pager::source::spec::SourceSpec;
    let source = std::sync::Arc::new(source.parse::<SourceSpec>()?);
    let _server = emu::pager::Server::start(emu::pager::Config::new(socket.into(), vec![source]))?;
    loop {
        std::thread::park();
    }
}

fn main() {
    emu::sandbox::enter_if_asked(ENTRIES);
    emu::functions::built_in::enter_if_asked();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first() {
        Some((first, rest)) if first == "serve" => std::process::exit(actions::serve(rest)),
        Some((first, [socket, source])) if first == "serve-pages" => {
            let Err(error) = serve_pages(socket, source);
            eprintln!("cannot serve pages at {socket}: {error}");
            std::process::exit(1);
        }
        _ => {
            eprintln!("usage: trenvx-function serve [BYTES SEED] | serve-pages SOCKET SOURCE");
            std::process::exit(2);
        }
    }
}
