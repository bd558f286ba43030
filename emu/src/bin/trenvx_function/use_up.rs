//! Using up what there is, to meet a limit.

use std::io::Write;

use serde_json::{Value, json};

use super::{Action, last_errno, text};

pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("fork-bomb", |with| Ok(fork_bomb(with["most"].as_u64().unwrap_or(u64::MAX)))),
    ("memory-bomb", |with| Ok(memory(with["bytes"].as_u64().unwrap_or(u64::MAX)))),
    ("disk-filler", disk),
    ("output-flood", |_| flood()),
    ("log-flood", |_| Ok(log_flood())),
    ("never-end", |_| never_end()),
    ("spin", |with| Ok(spin(with["ms"].as_u64().unwrap_or(100)))),
];

/// Forks until that fails or `most` are made, ends the children, and tells how many there were.
fn fork_bomb(most: u64) -> Value {
    let mut children = Vec::new();
    let mut error = String::new();
    while (children.len() as u64) < most {
        // SAFETY: this program has one thread; the child only waits for its end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        if child < 0 {
            error = last_errno();
            break;
        }
        children.push(child);
    }
    let made = children.len();
    for child in children {
        // SAFETY: our own child, not waited for yet.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    json!({ "made": made, "error": error })
}

/// Touches memory piece by piece.
fn memory(most: u64) -> Value {
    const PIECE: usize = 4 << 20;
    let mut pieces = Vec::new();
    while (pieces.len() * PIECE) < usize::try_from(most).unwrap_or(usize::MAX) {
        pieces.push(vec![1_u8; PIECE]);
    }
    json!({ "bytes": std::hint::black_box(&pieces).len() * PIECE })
}

/// Writes until there is no room.
fn disk(with: &Value) -> Result<Value, String> {
    let mut file = std::fs::File::create(text(with, "path")?).map_err(|error| error.to_string())?;
    let piece = vec![0_u8; 1 << 20];
    let mut written = 0_u64;
    loop {
        match file.write(&piece) {
            Ok(more) => written += more as u64,
            Err(error) => {
                let name = super::name_of(error.raw_os_error().unwrap_or(0));
                return Ok(json!({ "written": written, "error": name }));
            }
        }
    }
}

/// Writes to the channel without an end of line, as long as somebody takes it.
fn flood() -> Result<Value, String> {
    let piece = vec![b'x'; 1 << 16];
    let mut out = std::io::stdout();
    loop {
        out.write_all(&piece).map_err(|error| error.to_string())?;
    }
}

/// Writes to descriptor 2 until that fails.
fn log_flood() -> Value {
    let piece = vec![b'y'; 1 << 12];
    let mut written = 0;
    loop {
        match std::io::stderr().write(&piece) {
            Ok(more) => written += more,
            Err(error) => {
                let name = super::name_of(error.raw_os_error().unwrap_or(0));
                return json!({ "written": written, "error": name });
            }
        }
    }
}

fn never_end() -> Result<Value, String> {
    loop {
        std::hint::spin_loop();
    }
}

/// Computes for so long by the clock; how much was done.
fn spin(ms: u64) -> Value {
    let end = std::time::Instant::now() + std::time::Duration::from_millis(ms);
    let mut turns = 0_u64;
    while std::time::Instant::now() < end {
        turns += 1;
    }
    json!(turns)
}
