//! What builds the testbed itself.

use super::tool::{numbers, version};
use super::{Finding, Host};

/// The oldest Rust that builds it, from the workspace's manifest.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// A Rust compiler and Cargo that are new enough. Only building needs them.
pub(super) fn find(host: &Host) -> Finding {
    let fix = format!("scripts/setup installs Rust {MINIMUM} or later");
    for name in ["cargo", "rustc"] {
        let found = host.program(&[name]).and_then(|program| version(host, &program, &["--version"]));
        match found {
            None => return Finding::missing(format!("no {name} that runs"), fix),
            Some(found) if numbers(&found) < numbers(MINIMUM) => {
                return Finding::missing(format!("{name} {found} is older than {MINIMUM}"), fix);
            }
            Some(found) if name == "rustc" => return Finding::ok(format!("Rust {found}")),
            Some(_) => {}
        }
    }
    unreachable!("the loop ends at rustc")
}
