//! Completions that shells accept and that complete, and manual pages for every subcommand.

use std::fs;
use std::process::{Command, Stdio};

fn trenvx(arguments: &[&str]) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_trenvx")).args(arguments).output().expect("the command starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text")
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        emu::doctor::skip(&format!("no {program} here"));
    }
    found
}

#[test]
fn bash_completes_subcommands_and_values() {
    if !has("bash") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("trenvx");
    fs::write(&file, trenvx(&["completions", "bash"])).expect("a file");
    let complete = |words: &str, last: usize| {
        let script = format!(
            "source '{}'; COMP_WORDS=({words}); COMP_CWORD={last}; _trenvx trenvx \"${{COMP_WORDS[{last}]}}\" \
             \"${{COMP_WORDS[{}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            last - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).output().expect("bash starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(complete("trenvx rep", 1).split_whitespace().collect::<Vec<_>>(), ["report", "reproduce"]);
    assert_eq!(complete("trenvx run e04 --tier ki", 4).trim(), "kick");
}

#[test]
fn zsh_and_fish_have_every_subcommand() {
    for (shell, word) in [("zsh", "reproduce:"), ("fish", "-a \"reproduce\"")] {
        let text = trenvx(&["completions", shell]);
        assert!(text.contains(word), "{shell}: no reproduce");
        assert!(text.contains("compare") && text.contains("completions"), "{shell}");
    }
}

#[test]
fn every_subcommand_has_a_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    trenvx(&["man", &folder.path().display().to_string()]);
    let help = trenvx(&["--help"]);
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let names: Vec<&str> = listed
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 12, "{names:?}");
    for name in names {
        let page = fs::read_to_string(folder.path().join(format!("trenvx-{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("trenvx-{name}.1: {error}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "trenvx-{name}.1");
    }
}
