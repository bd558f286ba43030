//! What the function can be asked to do.

mod attempt;
mod cgroup;
mod leave;
mod leave_routing;
mod look;
mod use_up;

use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// A named action: its argument, and its answer or why not.
type Action = fn(&Value) -> Result<Value, String>;

/// Every action by name.
fn find(name: &str) -> Option<Action> {
    [leave::ACTIONS, leave_routing::ACTIONS, look::ACTIONS, attempt::ACTIONS, use_up::ACTIONS]
        .into_iter()
        .flatten()
        .find(|(known, _)| *known == name)
        .map(|(_, action)| *action)
}

/// Serves requests until the channel closes; the exit code.
pub fn serve(args: &[String]) -> i32 {
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let memory = Memory::new(number(0) as usize, number(1));
    let mut answers = std::io::stdout();
    let ready = json!({ "ready": true, "touched": memory.touched() });
    if writeln!(answers, "{ready}").and_then(|()| answers.flush()).is_err() {
        return 1;
    }
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return 0 };
        let Ok(request) = serde_json::from_str::<Value>(&line) else { continue };
        let input = &request["input"];
        let result = match input["action"].as_str() {
            None | Some("echo") => Ok(input.clone()),
            Some(name) => find(name)
                .ok_or_else(|| format!("no action {name}"))
                .and_then(|action| action(&input["with"])),
        };
        let answer = match result {
            Ok(output) => json!({ "id": request["id"], "ok": true, "output": output }),
            Err(error) => json!({ "id": request["id"], "ok": false, "error": error }),
        };
        if writeln!(answers, "{answer}").and_then(|()| answers.flush()).is_err() {
            return 0;
        }
    }
    0
}

/// Memory touched in a seeded order, one byte a page.
struct Memory {
    bytes: Vec<u8>,
    pages: usize,
}

const PAGE: usize = 4096;

impl Memory {
    fn new(size: usize, seed: u64) -> Self {
        let mut bytes = vec![0; size];
        let pages = size / PAGE;
        let mut state = seed | 1;
        let mut order: Vec<usize> = (0..pages).collect();
        for at in (1..pages).rev() {
            // xorshift64: portable, and good enough to mix up pages.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(at, (state % (at as u64 + 1)) as usize);
        }
        for (nth, page) in order.into_iter().enumerate() {
            bytes[page * PAGE] = nth as u8 | 1;
        }
        Self { bytes, pages }
    }

    fn touched(&self) -> usize {
        (0..self.pages).filter(|page| self.bytes[page * PAGE] != 0).count()
    }
}

/// The error number of the last call, as text that tests compare.
fn last_errno() -> String {
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    name_of(errno)
}

fn name_of(errno: i32) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EROFS, "EROFS"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINVAL, "EINVAL"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EBADF, "EBADF"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENOTDIR, "ENOTDIR"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or(format!("errno {errno}"), |(_, name)| (*name).into())
}

/// The result of a raw call: its value, or its error by name.
fn done(result: libc::c_long) -> Result<Value, String> {
    if result < 0 { Err(last_errno()) } else { Ok(json!(result)) }
}

fn text<'a>(with: &'a Value, key: &str) -> Result<&'a str, String> {
    with[key].as_str().ok_or_else(|| format!("{key} is missing"))
}
