//! `trenvx systems` and `trenvx policies` show every entry with its source, and help with a slip of the
//! finger.

use platform::policy::keep_alive::KEEP_ALIVES;
use platform::policy::placement::PLACEMENTS;
use platform::system::SYSTEMS;
use std::process::{Command, Output};

fn trenvx(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trenvx")).args(arguments).output().expect("the command starts")
}

fn said(arguments: &[&str]) -> String {
    let output = trenvx(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn every_system_is_listed_with_its_source() {
    let text = said(&["systems"]);
    for entry in SYSTEMS {
        assert!(text.lines().any(|line| line == entry.name), "no {}", entry.name);
        assert!(text.contains(&format!("source: {}\n", entry.source)), "no source of {}", entry.name);
    }
    assert_eq!(text.matches("    source: ").count(), SYSTEMS.len());
}

#[test]
fn every_policy_is_listed_with_its_source() {
    let text = said(&["policies"]);
    for entry in KEEP_ALIVES.iter().chain(PLACEMENTS) {
        let is_named = |line: &str| line.split_whitespace().next() == Some(entry.name);
        assert!(text.lines().any(is_named), "no {}", entry.name);
        assert!(text.contains(&format!("source: {}\n", entry.source)), "no source of {}", entry.name);
    }
    assert_eq!(text.matches("source: ").count(), KEEP_ALIVES.len() + PLACEMENTS.len());
}

#[test]
fn only_what_is_named_is_shown() {
    let text = said(&["systems", "t-cxl", "criu"]);
    let names: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).collect();
    assert_eq!(names.len(), 2, "{text}");
    assert!(names.contains(&"criu") && names.contains(&"t-cxl"));
    let text = said(&["policies", "oracle"]);
    assert!(text.starts_with("keep-alive\n  oracle") && !text.contains("placement\n"), "{text}");
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    for (arguments, expected) in [
        (["systems", "t-clx"], "no system \"t-clx\": did you mean \"t-cxl\"?"),
        (["policies", "landlrod"], "no policy \"landlrod\": did you mean \"landlord\"?"),
        (["policies", "round-robbin"], "no policy \"round-robbin\": did you mean \"round-robin\"?"),
        (["systems", "kubernetes"], "no system \"kubernetes\": known are "),
    ] {
        let output = trenvx(&arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}
